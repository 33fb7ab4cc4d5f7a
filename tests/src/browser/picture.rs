//! A picture of the status page, for those who have not seen it: the real agent in a world where something is wrong.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_agent::health::{State, Subject};
use netmon_agent::history::{self, Batch, Change, Sign, ThisRun, Waits};
use netmon_agent::time::{Boot, Wall};
use netmon_client::wire::{Diagnosis, Reason};

use super::Browser;
use crate::agent::Start;
use crate::lab::{Options, SERVER_V4, World};

const SIZE: (u32, u32) = (1280, 1524);
/// Far beyond what any step may take on a loaded machine.
const LONG: Duration = Duration::from_secs(120);
const MINUTE: u64 = 60;
const DAY: u64 = 86_400;

/// Writes the page as PNG to `path`, and a dark one beside it (`-dark`). A week of outages is made up; the rest is as the
/// agent finds it: of two uplinks, one of whose targets loses packets, one is not there at all.
///
/// # Errors
/// Where the world or the browser can't be had, or the page does not come to what is to be seen.
pub fn take(path: &Path) -> Result<()> {
    let world = World::with(Options { uplinks: 2, ipv6: false, ..Options::default() })?;
    world.internet.nft(
        "table inet shot { chain in { type filter hook input priority 0; policy accept; \
         ip daddr 8.8.4.4 numgen random mod 100 < 14 drop; }; }",
    )?;
    let start = Start::new(&world)?;
    let ledger = start.folder().join("history.db");
    past(&ledger)?;
    let config = configuration(&ledger);
    // The name is the machine's own, as far as the agent sees.
    let named = "echo node1.example.net > /proc/sys/kernel/hostname; exec \"$@\"";
    let agent = start.config(&config).behind(&["unshare", "--uts", "sh", "-c", named, "sh"]).start()?;
    let browser = Browser::start(&world.node, agent.folder())?;
    browser.resize(SIZE.0, SIZE.1, 1.0)?;
    browser.go("http://127.0.0.1:9817/")?;
    browser.until(LONG, "live.dataset.state === 'degraded' || live.dataset.state === 'down'")?;
    // A minute of probes, to be drawn.
    thread::sleep(Duration::from_secs(130));
    browser.until(LONG, "document.querySelectorAll('.days svg').length > 5")?;
    for (dark, path) in [(false, path.to_owned()), (true, path.with_extension("dark.png"))] {
        browser.dark(dark)?;
        fs::write(&path, browser.shot(SIZE.0, SIZE.1)?).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    let told = browser.console()?;
    ensure!(told.is_empty(), "the console: {told:?}");
    Ok(())
}

fn configuration(ledger: &Path) -> String {
    let target = |name: &str, host: &str, scope: &str, more: &str| {
        format!("[[target]]\nname = \"{name}\"\nhost = \"{host}\"\nscope = \"{scope}\"\n{more}\n")
    };
    let server = SERVER_V4.to_string();
    [
        format!("[history]\npath = \"{}\"\n", ledger.display()),
        target("backup.example.net", &server, "backup", "probe = \"tcp\"\nport = 7"),
        target("vcenter.example.net", &server, "office", "probe = \"tcp\"\nport = 8443"),
        target("file-server", &server, "office", ""),
    ]
    .concat()
}

/// A week in which little went wrong.
fn past(path: &Path) -> Result<()> {
    let now = Wall::now().as_nanos() / 1_000_000_000;
    let begun = now - 7 * DAY;
    let offset = (begun * 1_000_000_000) as i64;
    let at = |second: u64| Boot::from_nanos(second * 1_000_000_000);
    let sign = |second: u64| Sign { seen: at(second), offset };
    let run = ThisRun { boot: "made up".to_owned(), started: Boot::default() };
    let mut store = history::open(path, &run, sign(0))?;
    let (network, eth0) = (Subject::Network, Subject::Device("eth0".to_owned()));
    let target = |name: &str| Subject::Target(name.to_owned());
    let link = ("no_carrier", "eth0", "eth0 has no carrier", "link", "eth0 has no carrier");
    let loss = (
        "loss",
        "8.8.4.4",
        "8.8.4.4: 9 of 60 probes lost (15 %)",
        "path",
        "hop 3 and all beyond it lose packets",
    );
    let silent = (
        "scope_down",
        "internet",
        "3 of 3 targets of scope internet are down",
        "path",
        "everything beyond gateway 10.77.1.1 is silent, the gateway answers",
    );
    let all = [
        (DAY / 2, 4 * MINUTE + 12, State::Down, &network, link),
        (DAY / 2, 4 * MINUTE + 12, State::Down, &eth0, link),
        (2 * DAY + 9000, 96 * MINUTE, State::Degraded, &target("8.8.4.4"), loss),
        (2 * DAY + 9000, 96 * MINUTE, State::Degraded, &network, loss),
        (4 * DAY + 31_000, 21 * MINUTE + 40, State::Down, &network, silent),
        (6 * DAY + 5000, 11 * MINUTE, State::Degraded, &network, loss),
    ];
    let mut changes = vec![change(offset, 0, &network, State::Unknown, State::Up, None)];
    for (from, length, state, subject, why) in all {
        changes.push(change(offset, from, subject, State::Up, state, Some(why)));
        changes.push(change(offset, from + length, subject, state, State::Up, None));
    }
    changes.sort_by_key(|c| c.at);
    let waits = Waits {
        run: 0,
        subject: network.clone(),
        job: "restic backup".to_owned(),
        uid: 0,
        count: 1,
        from: at(4 * DAY + 31_100),
        to: at(4 * DAY + 31_000 + 21 * MINUTE + 40),
        total: Duration::from_secs(20 * MINUTE),
        longest: Duration::from_secs(20 * MINUTE),
    };
    store.append(&Batch { changes, waits: vec![waits], ..Batch::default() }, sign(7 * DAY - 30))?;
    store.close()?;
    Ok(())
}

type Why = (&'static str, &'static str, &'static str, &'static str, &'static str);

fn change(
    offset: i64,
    second: u64,
    subject: &Subject,
    previous: State,
    state: State,
    why: Option<Why>,
) -> Change {
    let reasons = why.map(|(code, subject, detail, ..)| {
        vec![Reason { code: code.into(), subject: subject.into(), detail: detail.into(), rule: None }]
    });
    let place = why.map(|(.., place, detail)| Diagnosis {
        place: place.into(),
        detail: detail.into(),
        ..Diagnosis::default()
    });
    Change {
        run: 0,
        seq: second,
        at: Boot::from_nanos(second * 1_000_000_000),
        told: Wall::from_nanos(second * 1_000_000_000 + offset as u64),
        subject: subject.clone(),
        previous,
        state,
        reasons: reasons.and_then(|r| serde_json::to_string(&r).ok()).unwrap_or_default(),
        diagnosis: place.and_then(|d| serde_json::to_string(&d).ok()),
    }
}
