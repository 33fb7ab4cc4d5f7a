//! `netmon probe`: probes now, without an agent, by the agent's own engine.

mod report;
mod summary;

use std::{
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use self::report::{Format, Host, Report};
pub(super) use self::summary::millis;
use super::text::{printable, say};
use crate::{
    observation::{Method, Observation, TargetId},
    source::probe::{Access, Capabilities, Engine, Options, Sockets, TargetSpec},
};

/// Tried in ICMP's place where no ICMP socket can be had.
const FALLBACK_PORTS: [u16; 2] = [53, 443];
/// Unknown host, no permission.
const EXIT_ERROR: u8 = 2;

/// Probe hosts now, without an agent: loss, round-trip percentiles, jitter, with kernel timestamps
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 every host answered at least once, 1 some host did not, 2 error.")]
pub struct ProbeArgs {
    /// Names or addresses, all probed at once
    #[arg(required = true, value_name = "HOST")]
    pub hosts: Vec<String>,
    /// ICMP echo, and nothing in its place (by default TCP 53 and 443 stand in where ICMP is closed)
    #[arg(long, group = "method")]
    pub icmp: bool,
    /// TCP connect to this port
    #[arg(long, value_name = "PORT", group = "method", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp: Option<u16>,
    /// DNS query over UDP, for resolvers
    #[arg(long, group = "method")]
    pub dns: bool,
    /// Probes for each host; without it until interrupted
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Time between two probes of a host, as 1s, 200ms or seconds
    #[arg(short = 'i', long, value_name = "T", default_value = "1s", value_parser = duration)]
    pub interval: Duration,
    /// Time to wait for an answer
    #[arg(short = 'W', long, value_name = "T", default_value = "1s", value_parser = duration)]
    pub timeout: Duration,
    /// One JSON object a probe, then a summary
    #[arg(long)]
    pub json: bool,
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    pub ipv6: bool,
}

/// Runs the subcommand, until the last probe is settled or Ctrl-C.
///
/// # Errors
/// When no probe could be made at all; the caller prints it and exits with 2.
pub fn run(args: &ProbeArgs) -> anyhow::Result<ExitCode> {
    let method = args.method();
    let (mut addresses, mut unknown) = (Vec::new(), false);
    for name in &args.hosts {
        match resolve(name, args) {
            Ok(address) => addresses.push((name.clone(), address)),
            Err(e) => {
                say(format_args!("netmon probe: {}: {e}", printable(name)));
                unknown = true;
            }
        }
    }
    if addresses.is_empty() {
        return Ok(ExitCode::from(EXIT_ERROR));
    }
    let sockets = Sockets::open();
    if method == Method::Icmp {
        check_icmp(sockets.capabilities(), &addresses, args.icmp)?;
    }
    let hosts = addresses
        .iter()
        .map(|(name, address)| {
            Host::new(name, address.ip(), how(&method, address, sockets.capabilities()), args.count)
        })
        .collect();
    let targets = addresses.iter().enumerate().map(|(i, (_, address))| args.target(i, address)).collect();

    let (sender, mut observations) = mpsc::unbounded_channel();
    let engine = Engine::start(sockets, Options { jitter: 0.0 }, move |seen| {
        // The receiver goes only when the command is over.
        let _ = sender.send(seen);
    })?;
    engine.set_targets(targets);
    let format = if args.json { Format::Json } else { Format::Text };
    let report = Report::new(hosts, format);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let report = match runtime.block_on(follow(report, &mut observations)) {
        // Whoever read the output has gone: as with other tools, that is the end, and no error.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        other => other.context("cannot write the report")?,
    };
    engine.stop();
    Ok(match (unknown, report.all_answered()) {
        (true, _) => ExitCode::from(EXIT_ERROR),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::from(1),
    })
}

async fn follow(
    mut report: Report,
    observations: &mut mpsc::UnboundedReceiver<Vec<Observation>>,
) -> io::Result<Report> {
    let mut out = io::stdout().lock();
    report.begin(&mut out)?;
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    while !report.is_complete() {
        tokio::select! {
            _ = &mut interrupt => break,
            seen = observations.recv() => {
                let Some(seen) = seen else { break };
                for observation in &seen {
                    report.take(observation, &mut out)?;
                }
                out.flush()?;
            }
        }
    }
    report.end(&mut out)?;
    out.flush()?;
    Ok(report)
}

impl ProbeArgs {
    fn method(&self) -> Method {
        match (self.tcp, self.dns) {
            (Some(port), _) => Method::Tcp { port },
            (None, true) => Method::dns(53),
            (None, false) => Method::Icmp,
        }
    }

    fn target(&self, i: usize, address: &SocketAddr) -> TargetSpec {
        TargetSpec {
            fallback_ports: if self.icmp { Vec::new() } else { FALLBACK_PORTS.to_vec() },
            interval: self.interval,
            timeout: self.timeout,
            count: self.count,
            scope: match address {
                SocketAddr::V6(a) => a.scope_id(),
                SocketAddr::V4(_) => 0,
            },
            ..TargetSpec::new(TargetId(i as u32), vec![address.ip()], self.method())
        }
    }
}

fn resolve(name: &str, args: &ProbeArgs) -> anyhow::Result<SocketAddr> {
    address_of(name, args.ipv4, args.ipv6)
}

/// The first address of a name, of the one family if any is asked for.
pub(super) fn address_of(name: &str, ipv4: bool, ipv6: bool) -> anyhow::Result<SocketAddr> {
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    let addresses = (bare, 0).to_socket_addrs().context("cannot resolve")?;
    let wanted = |a: &SocketAddr| !(ipv4 && a.is_ipv6() || ipv6 && a.is_ipv4());
    let family = if ipv4 { "IPv4 " } else { "IPv6 " };
    match addresses.into_iter().find(wanted) {
        Some(address) => Ok(address),
        None => bail!("no {}address", if ipv4 || ipv6 { family } else { "" }),
    }
}

fn access<'a>(capabilities: &'a Capabilities, address: &SocketAddr) -> &'a Access {
    if address.is_ipv4() { &capabilities.icmp4 } else { &capabilities.icmp6 }
}

/// Says once a family what stands in for ICMP; refuses where the user wants nothing else.
fn check_icmp(
    capabilities: &Capabilities,
    hosts: &[(String, SocketAddr)],
    nothing_else: bool,
) -> anyhow::Result<()> {
    for v6 in [false, true] {
        let Some((_, address)) = hosts.iter().find(|(_, a)| a.is_ipv6() == v6) else { continue };
        if let Access::None { remedy } = access(capabilities, address) {
            let family = if v6 { "ICMPv6" } else { "ICMP" };
            if nothing_else {
                bail!("{family}: {remedy}");
            }
            let [a, b] = FALLBACK_PORTS;
            say(format_args!("netmon probe: {family}: {remedy}; trying TCP ports {a} and {b} instead"));
        }
    }
    Ok(())
}

/// How a host is probed, in a person's words.
fn how(method: &Method, address: &SocketAddr, capabilities: &Capabilities) -> String {
    match method {
        Method::Icmp => match access(capabilities, address) {
            Access::Datagram => "icmp".to_owned(),
            Access::Raw => "icmp, raw socket".to_owned(),
            Access::None { .. } => "tcp in place of icmp".to_owned(),
        },
        Method::Tcp { port } => format!("tcp port {port}"),
        other => other.as_str().to_owned(),
    }
}

/// Seconds, as ping takes them, or a number with a unit.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())?,
        Err(_) => humantime::parse_duration(text).map_err(|e| e.to_string())?,
    };
    if parsed < Duration::from_millis(1) || parsed > Duration::from_secs(3600) {
        return Err("must be between 1ms and 1h".to_owned());
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        probe: ProbeArgs,
    }

    fn parse(line: &str) -> Result<ProbeArgs, clap::Error> {
        Cli::try_parse_from(std::iter::once("probe").chain(line.split_whitespace())).map(|c| c.probe)
    }

    #[test]
    fn the_method_is_one_of_three() {
        assert_eq!(parse("h").unwrap().method(), Method::Icmp);
        assert_eq!(parse("h --tcp 443").unwrap().method(), Method::Tcp { port: 443 });
        assert_eq!(parse("--dns h").unwrap().method(), Method::dns(53));
        for line in ["h --tcp 1 --dns", "h --icmp --dns", "h --tcp 0", "", "h -c 0", "h -i 0", "h -4 -6"] {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn durations_come_as_seconds_or_with_a_unit() {
        assert_eq!(duration("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "x", "-1", "0", "NaN", "inf", "2h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_family_is_kept_to() {
        let args = |line: &str| parse(line).unwrap();
        assert!(resolve("127.0.0.1", &args("h -6")).is_err());
        assert!(resolve("::1", &args("h -4")).is_err());
        assert_eq!(resolve("[::1]", &args("h")).unwrap(), "[::1]:0".parse().unwrap());
    }

    #[test]
    fn icmp_alone_is_refused_where_it_is_closed() {
        let closed = Access::None { remedy: "mend it".to_owned() };
        let capabilities = Capabilities { icmp4: Access::Datagram, icmp6: closed };
        let hosts = |a: &str| vec![(a.to_owned(), a.parse().unwrap())];
        assert!(
            check_icmp(&capabilities, &hosts("[::1]:0"), true).unwrap_err().to_string().contains("mend it")
        );
        assert!(check_icmp(&capabilities, &hosts("[::1]:0"), false).is_ok());
        assert!(check_icmp(&capabilities, &hosts("127.0.0.1:0"), true).is_ok());
    }
}
