//! Boot and attach: does this kernel take the object, and do events reach the programs?

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use caps::CapSet;
use netmon_agent::observation::{IfIndex, TcpCounters};
use netmon_agent::source::bpf::{Kernel, Options};
use netmon_agent::time::Mono;
use netmon_tests::lab::{Netns, unique};

use crate::init::is_guest;
use crate::report::{Case, Line, say};

/// Loads and attaches everything there is, tells every capability, and has one connect refused, and another that is read
/// without privilege; then the same as for a kernel without types of its own.
pub fn suite() -> Result<()> {
    let netns = Netns::create(&unique("attach"))?;
    // The figures are those of the namespace of the process's first thread, which this is.
    netns.enter()?;
    let everything = Options {
        log: true,
        all_namespaces: true,
        rtt_samples: true,
        drop_reasons: vec!["TCP_CSUM".to_owned()],
        ..Options::default()
    };
    let before = Mono::now();
    let mut kernel = Kernel::load(&everything);
    let load = Mono::now().since(before).as_secs_f64();
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    say(&Line::Attached { release, uptime: uptime()?, load });
    tell(&kernel, "");
    one_refused(&mut kernel, "one connect is refused", |counters| counters.refused_connects)?;
    without_privilege(kernel)?;

    let mut kernel = Kernel::load(&Options { btf: Some("/dev/null".into()), ..Options::default() });
    tell(&kernel, "without BTF: ");
    one_refused(&mut kernel, "one connect is refused, without BTF", |counters| counters.failed_connects)
}

/// The counters are read with every capability gone, and bpf(2) closed to those who have none, as distributions have it.
fn without_privilege(mut kernel: Kernel) -> Result<()> {
    if is_guest() {
        fs::write("/proc/sys/kernel/unprivileged_bpf_disabled", "1")?;
    }
    // Capabilities are a thread's own.
    let reading = thread::spawn(move || -> Result<()> {
        for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
            caps::clear(None, set)?;
        }
        let name = "one connect is refused, read without a capability";
        one_refused(&mut kernel, name, |counters| counters.refused_connects)
    });
    reading.join().map_err(|_| anyhow!("reading without a capability panicked"))?
}

fn tell(kernel: &Kernel, prefix: &str) {
    for c in kernel.capabilities() {
        say(&Line::Capability { name: format!("{prefix}{}", c.name), ok: c.ok, detail: c.detail.clone() });
    }
}

fn one_refused(kernel: &mut Kernel, name: &str, of: fn(&TcpCounters) -> u64) -> Result<()> {
    let mut figures = || -> Result<(u64, u64)> {
        let reading = kernel.read(false, |_| Some(IfIndex(1)));
        let ours = reading.devices.values().map(of).sum();
        Ok((reading.totals.context("no /proc/net/snmp")?.failed_connects, ours))
    };
    let before = figures()?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {}
        other => bail!("a connect to a closed port: {other:?}"),
    }
    let after = figures()?;
    let mut case = Case {
        suite: "attach",
        case: name.to_owned(),
        figure: "AttemptFails",
        kernel: after.0 - before.0,
        ours: after.1 - before.1,
        ..Case::default()
    };
    if (case.kernel, case.ours) != (1, 1) {
        case.wrong = "the programs do not see events".to_owned();
    }
    say(&Line::Case(case));
    Ok(())
}

fn uptime() -> Result<f64> {
    let text = fs::read_to_string("/proc/uptime")?;
    text.split_whitespace().next().and_then(|s| s.parse().ok()).context("/proc/uptime")
}
