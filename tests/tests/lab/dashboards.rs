//! The committed dashboards and rules in a real Prometheus that scrapes the real agent through an outage: every query
//! returns data, and the alert fires and resolves.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use netmon_tests::agent::{Agent, Start, Witness};
use netmon_tests::dashboards::{Answer, Choice, Dashboard, Panel, Span, draw, folder};
use netmon_tests::lab::{
    Bulk, Place, SERVER_V4, SERVER_V6, Way, What, World, abort_connections, find_program, refused_connections,
};
use netmon_tests::prometheus::Prometheus;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::Scenario;

pub const SCENARIOS: &[Scenario] =
    &[("dashboards::every_panel_has_data_through_an_outage_and_the_alert_fires_and_resolves", outage)];

/// Far beyond what any step may take on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
/// Where drawings of the dashboards go, when they are wanted.
const PLOTS: &str = "NETMON_PLOTS";
const WEB: u16 = 8443;
/// Queries that may find nothing here, by a part of their expressions, and why.
const MAY_BE_EMPTY: [(&str, &str); 2] = [
    ("netmon_link_speed_bytes", "virtual devices have no speed"),
    ("node_nf_conntrack_entries", "the kernel's module nf_conntrack may not be loaded"),
];
/// What a person would look at where one target is to be chosen: between them they have all that a target can tell.
const TARGETS: [&str; 3] = ["8.8.8.8", "dns-10.77.1.1", "web"];

/// A program that ends with its owner.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Result<Self> {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(quiet.spawn().context("starting a program")?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn outage() -> Result<()> {
    let world = World::new()?;
    let start = Start::new(&world)?;
    let certificate = start.folder().join("web.pem");
    let _web = web(&world, &certificate)?;
    let trusted = format!("SSL_CERT_FILE={}", certificate.display());
    let config = configuration(&world, start.folder());
    let agent = start.config(&config).behind(&["env", &trusted]).start()?;
    let exporter = find_program("prometheus-node-exporter")
        .context("prometheus-node-exporter is not installed: apt-get install prometheus-node-exporter")?;
    let _exporter = Program::start(&mut world.node.command(exporter))?;
    let mut holder = world.node.command(env!("CARGO_BIN_EXE_netmon-holder"));
    let _holder =
        Program::start(holder.args([&format!("{SERVER_V4}:7"), "lab"]).env("NETMON_SOCKET", &agent.socket))?;
    let prometheus = prometheus(&world, &agent)?;
    Witness::new(&agent)?.up(LONG)?;
    // It begins to scrape five seconds after its start.
    for job in ["netmon", "node"] {
        prometheus.await_one(&format!("up{{job=\"{job}\"}} == 1"), LONG)?;
    }
    let from = now();
    traffic(&world)?;

    let mut waiter = agent.cli_spawn(&["wait", "--state", "down", "--timeout", "60s"])?;
    // One who came too late would be answered too, but not be woken.
    agent.await_waiters(1)?;
    let down = r#"ALERTS{alertname="NetmonNetworkDown", alertstate="firing", instance="node-a:9817"}"#;
    ensure!(prometheus.query(down)?.is_empty(), "it fires before there is an outage");
    world.carrier_down(0)?;
    prometheus.await_one(down, LONG)?;
    let at = now();
    let targets = r#"ALERTS{alertname="NetmonTargetDown", alertstate="firing"}"#;
    ensure!(prometheus.query(targets)?.is_empty(), "targets are alerts of their own while the node is down");
    ensure!(waiter.wait()?.success(), "who waited for it was not released");
    thread::sleep(Duration::from_secs(1));
    world.carrier_up(0)?;
    prometheus.await_none(down, LONG)?;
    // What was sent again before keeps it degraded.
    ensure!(agent.cli_code(&["wait", "--state", "usable", "--timeout", "60s"])? == 0, "{}", agent.status()?);
    thread::sleep(Duration::from_secs(3));

    rules_are_evaluated(&prometheus)?;
    let span = Span { from, to: now(), at };
    let mut empty = Vec::new();
    for dashboard in Dashboard::all()? {
        let asked = ask(&prometheus, &dashboard, span, &mut empty)?;
        if let Some(folder) = env::var_os(PLOTS).map(PathBuf::from) {
            fs::create_dir_all(&folder)?;
            let drawing = draw(&dashboard.name, &asked, span);
            fs::write(folder.join(format!("{}.svg", dashboard.name)), drawing)?;
        }
    }
    ensure!(empty.is_empty(), "no data: {}", empty.join("; "));
    Ok(())
}

/// The default targets, two that are named after nodes, and one of HTTPS; everything that has metrics is on.
fn configuration(world: &World, folder: &std::path::Path) -> String {
    let gateway = world.gateway_address(0, netmon_tests::lab::Family::V4);
    format!(
        r#"
        [kernel]
        drop_reasons = ["NO_SOCKET"]
        [history]
        path = "{}"
        [[notify.command]]
        command = ["/bin/true"]
        [[target]]
        name = "node-a"
        host = "{gateway}"
        scope = "nodes"
        [[target]]
        name = "node-b"
        host = "{SERVER_V4}"
        scope = "nodes"
        [[target]]
        name = "web"
        url = "https://{SERVER_V4}:{WEB}/"
        scope = "web"
        "#,
        folder.join("history.db").display()
    )
}

/// A web server in the internet, with a certificate that goes to `path`, to be trusted.
fn web(world: &World, path: &std::path::Path) -> Result<Program> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([SERVER_V4.to_string()])?;
    params.not_after = date_time_ymd(2049, 1, 1);
    let certificate = params.self_signed(&key)?;
    fs::write(path, certificate.pem())?;
    let key_path = path.with_extension("key");
    fs::write(&key_path, key.serialize_pem())?;
    let program = format!(
        "import http.server as h, ssl\n\
         s = h.ThreadingHTTPServer(('', {WEB}), h.SimpleHTTPRequestHandler)\n\
         c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         c.load_cert_chain({:?}, {:?})\n\
         s.socket = c.wrap_socket(s.socket, server_side=True)\n\
         s.serve_forever()\n",
        path.display().to_string(),
        key_path.display().to_string()
    );
    let python = find_program("python3").context("python3 is not installed: apt-get install python3")?;
    Program::start(
        world.internet.command(python).args(["-c", &program]).current_dir(path.parent().context("a folder")?),
    )
}

/// Prometheus with the committed rules, evaluated each second and with short `for`s. The one agent is scraped as two nodes,
/// which its targets are named after: a fleet as the dashboards see it.
fn prometheus<'a>(world: &'a World, agent: &Agent<'_>) -> Result<Prometheus<'a>> {
    let mut files = Vec::new();
    for name in ["netmon.yml", "recording.yml"] {
        let text = fs::read_to_string(folder().join("rules").join(name))?;
        let short = |line: &str| match line.split_once("for: ") {
            Some((indent, _)) if indent.trim().is_empty() => format!("{indent}for: 2s\n"),
            _ => format!("{line}\n"),
        };
        let path = agent.folder().join(name);
        fs::write(&path, text.lines().map(short).collect::<String>())?;
        files.push(path.display().to_string());
    }
    let node = |name: &str, port: u16| {
        format!("  - targets: ['127.0.0.1:{port}']\n    labels: {{instance: '{name}:{port}'}}\n")
    };
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
         rule_files: [{}]\n\
         scrape_configs:\n\
         - job_name: netmon\n  static_configs:\n{}{}\
         - job_name: node\n  static_configs:\n{}",
        files.join(", "),
        node("node-a", 9817),
        node("node-b", 9817),
        node("node-a", 9100),
    );
    Prometheus::start(&world.node, agent.folder(), &config)
}

/// What the kernel's counters are made to grow with; the agent reads what was sent every five seconds.
fn traffic(world: &World) -> Result<()> {
    let fault = world.lose(Place::Uplink(0), Way::FromNode, What::Loss(3.0))?;
    let hosts = [SERVER_V4.into(), SERVER_V6.into(), [8, 8, 8, 8].into(), [1, 1, 1, 1].into()];
    let bulk = Bulk::start(world, &hosts)?;
    abort_connections(world, 20)?;
    refused_connections(world, 20)?;
    thread::sleep(Duration::from_secs(6));
    bulk.stop();
    fault.mend()
}

/// No rule failed at any evaluation.
fn rules_are_evaluated(prometheus: &Prometheus<'_>) -> Result<()> {
    let data = prometheus.get("/api/v1/rules")?;
    let groups = data["groups"].as_array().context("groups")?;
    let rules: Vec<_> = groups.iter().flat_map(|g| g["rules"].as_array().into_iter().flatten()).collect();
    ensure!(rules.len() >= 40, "{} rules", rules.len());
    let failed: Vec<_> = rules.iter().filter(|r| r["health"] != "ok").collect();
    ensure!(failed.is_empty(), "rules that can't be evaluated: {failed:?}");
    Ok(())
}

/// Asks all that a dashboard asks, over the time of the trial. What is answered by nothing at all is added to `empty`.
fn ask(
    prometheus: &Prometheus<'_>,
    dashboard: &Dashboard,
    span: Span,
    empty: &mut Vec<String>,
) -> Result<Vec<(Panel, Vec<Answer>)>> {
    let choice = |target| Choice {
        job: "netmon",
        instance: "node-a:9817",
        host: "node-a",
        target,
        rate: "4s",
        range: "20s",
    };
    let answer = |expression: &str, target: &'static str| {
        let chosen = dashboard.chosen(expression, choice(target));
        let answered = prometheus.range(&chosen, span.from, span.to);
        answered.with_context(|| format!("{}: {chosen}", dashboard.name))
    };
    for (what, expression) in dashboard.other_queries(choice(TARGETS[0])) {
        if prometheus.range(&expression, span.from, span.to)?.is_empty() {
            empty.push(format!("{}: {what}: {expression}", dashboard.name));
        }
    }
    let mut asked = Vec::new();
    for panel in dashboard.panels() {
        let mut answers = Vec::new();
        for (expression, legend) in panel.queries() {
            // Where a target has to be chosen, one after the other.
            let tried = if expression.contains("$target") { &TARGETS[..] } else { &TARGETS[..1] };
            let mut series = Vec::new();
            for target in tried {
                series = answer(&expression, target)?;
                if !series.is_empty() {
                    break;
                }
            }
            let allowed = MAY_BE_EMPTY.iter().any(|(part, _)| expression.contains(part));
            if series.is_empty() && !allowed {
                empty.push(format!("{}: {}: {expression}", dashboard.name, panel.title()));
            }
            answers.push(Answer { legend, series });
        }
        asked.push((panel, answers));
    }
    Ok(asked)
}

/// The wall clock, as Prometheus has it: seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "Prometheus' own time is meant, not the agent's")]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
