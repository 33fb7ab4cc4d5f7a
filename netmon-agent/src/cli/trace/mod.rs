//! `netmon trace`: the way to a host, and the largest packet that passes, without an agent and without privileges.

mod report;

use std::{
    io::{self, Write},
    net::SocketAddr,
    ops::ControlFlow,
    process::ExitCode,
    time::Duration,
};

use super::{
    busy::Busy,
    probe::{address_of, duration},
    text::{printable, quiet_pipe, say},
};
use crate::source::trace::{self, Choice, Method, Options, Path, Progress, TraceError};

/// Unknown host, no socket, no route.
const EXIT_ERROR: u8 = 2;

/// Show the way to a host, hop by hop, where it ends, and the largest packet that passes
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 the host was reached, 1 it was not, 2 error.")]
pub struct TraceArgs {
    /// Name or address
    #[arg(value_name = "HOST")]
    pub host: String,
    /// ICMP echo, and nothing in its place (by default UDP stands in where ICMP is closed)
    #[arg(long, group = "method")]
    pub icmp: bool,
    /// UDP to ports from 33434 on
    #[arg(long, group = "method")]
    pub udp: bool,
    /// TCP connect to this port
    #[arg(long, value_name = "PORT", group = "method", value_parser = clap::value_parser!(u16).range(1..))]
    pub tcp: Option<u16>,
    /// The farthest hop asked
    #[arg(short = 'm', long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub max_hops: u8,
    /// Probes for each hop
    #[arg(short = 'q', long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub probes: u8,
    /// Time to wait for an answer, as 1s, 200ms or seconds
    #[arg(short = 'W', long, value_name = "T", default_value = "1s", value_parser = duration)]
    pub timeout: Duration,
    /// Do not search for the largest packet that passes
    #[arg(long)]
    pub no_mtu: bool,
    /// One JSON object, when all is known
    #[arg(long)]
    pub json: bool,
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    pub ipv6: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// When the report could not be written.
pub fn run(args: &TraceArgs) -> anyhow::Result<ExitCode> {
    let busy = Busy::new(&format!("looking up {}", args.host));
    let address = match address_of(&args.host, args.ipv4, args.ipv6) {
        Ok(address) => address,
        Err(e) => {
            drop(busy);
            say(format_args!("netmon trace: {}: {}", printable(&args.host), super::told(&e)));
            return Ok(ExitCode::from(EXIT_ERROR));
        }
    };
    let mut written = Ok(());
    let traced = follow(args, address, &busy, &mut written);
    drop(busy);
    let path = match traced {
        Ok(path) => path,
        Err(e) => {
            say(format_args!("netmon trace: {e}"));
            return Ok(ExitCode::from(EXIT_ERROR));
        }
    };
    match written.and_then(|()| close(args, &path)) {
        Ok(()) if path.reached() => Ok(ExitCode::SUCCESS),
        Ok(()) => Ok(ExitCode::from(1)),
        other => quiet_pipe(other),
    }
}

/// Traces, and prints each hop as it becomes known; stops when that fails.
fn follow(
    args: &TraceArgs,
    address: SocketAddr,
    busy: &Busy,
    written: &mut io::Result<()>,
) -> Result<Path, TraceError> {
    let destination = address.ip();
    trace::run(&args.options(), address, |progress| {
        busy.say(&match &progress {
            Progress::Hop(hop) if hop.addresses().contains(&destination) => {
                "searching for the largest packet that passes".to_owned()
            }
            Progress::Hop(hop) => format!("waiting for what is beyond hop {}", hop.ttl),
            Progress::Started { .. } => "waiting for the first hop".to_owned(),
        });
        let line = match progress {
            Progress::Started { method, in_place_of_icmp } => {
                if let Some(why) = in_place_of_icmp {
                    say(format_args!("netmon trace: ICMP: {why}; asking by {method} instead"));
                }
                report::title(&args.host, destination, method, args.max_hops)
            }
            Progress::Hop(hop) => report::hop(&hop),
        };
        if !args.json {
            let mut out = io::stdout().lock();
            *written = writeln!(out, "{line}").and_then(|()| out.flush());
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}

fn close(args: &TraceArgs, path: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", report::object(&args.host, path))?;
    } else {
        for line in report::closing(path, args.options().mtu) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}

impl TraceArgs {
    fn options(&self) -> Options {
        let method = match (self.tcp, self.udp, self.icmp) {
            (Some(port), ..) => Choice::Only(Method::Tcp { port }),
            (None, true, _) => Choice::Only(Method::Udp),
            (None, false, true) => Choice::Only(Method::Icmp),
            (None, false, false) => Choice::Any,
        };
        Options {
            method,
            max_hops: self.max_hops,
            probes: self.probes,
            timeout: self.timeout,
            mtu: !self.no_mtu,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        trace: TraceArgs,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("trace").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.trace.options())
    }

    #[test]
    fn a_bare_host_has_the_librarys_defaults() {
        assert_eq!(parse("h").unwrap(), Options::default());
    }

    #[test]
    fn the_method_is_one_of_three_and_figures_have_bounds() {
        let only = |line: &str| parse(line).unwrap().method;
        assert_eq!(only("h --icmp"), Choice::Only(Method::Icmp));
        assert_eq!(only("--udp h"), Choice::Only(Method::Udp));
        assert_eq!(only("h --tcp 443"), Choice::Only(Method::Tcp { port: 443 }));
        let some = parse("h -m 5 -q 1 -W 0.2 --no-mtu").unwrap();
        let timeout = Duration::from_millis(200);
        assert_eq!(some, Options { max_hops: 5, probes: 1, timeout, mtu: false, ..Options::default() });
        let wrong =
            ["", "a b", "h --tcp 0", "h --udp --icmp", "h -m 0", "h -m 255", "h -q 11", "h -4 -6", "h -W 0"];
        for line in wrong {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}
