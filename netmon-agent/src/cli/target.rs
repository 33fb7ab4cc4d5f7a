//! `netmon target`: targets are added to a running agent, and removed again.

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use clap::{Args, Subcommand};
use netmon_client::{
    Client, Error,
    wire::{AddedTarget, TargetChange, TargetSpec},
};

use super::text::{failed, printable, quiet_pipe};

/// What to do with targets. Exit codes: 0 done; 2 usage, an impossible target, an unknown name; 69 no agent answers; 1
/// refused, and anything else.
#[derive(Debug, Subcommand)]
pub enum TargetCommand {
    /// Add a target to the running agent, or change one that was added; it is gone with the agent unless --persist
    Add(Box<AddArgs>),
    /// Remove a target that was added
    #[command(visible_alias = "rm")]
    Remove {
        /// Its name
        name: String,
    },
    /// List the targets that were added
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A target: the same keys as in the configuration.
#[derive(Clone, Debug, Args)]
pub struct AddArgs {
    /// Its name in states, metrics and commands
    name: String,
    /// Host name or address, without a port
    #[arg(long, short = 'H', required_unless_present = "url")]
    host: Option<String>,
    /// How it is probed: icmp, tcp, udp, dns or http [default: icmp, or http with --url]
    #[arg(long, short)]
    probe: Option<String>,
    /// Port of a tcp, udp or dns target
    #[arg(long)]
    port: Option<u16>,
    /// What an http target is asked for
    #[arg(long)]
    url: Option<String>,
    /// The group whose targets are judged together [default: custom]
    #[arg(long)]
    scope: Option<String>,
    /// How often it is probed, such as 10s [default: as all others]
    #[arg(long, short, value_name = "DURATION")]
    interval: Option<String>,
    /// How long a reply may take [default: as all others]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// Keep it across restarts of the agent
    #[arg(long)]
    persist: bool,
    /// Source address of its packets
    #[arg(long, value_name = "ADDRESS", help_heading = WAY)]
    source: Option<String>,
    /// Device by which they leave
    #[arg(long, short = 'I', help_heading = WAY)]
    device: Option<String>,
    /// VRF that they belong to
    #[arg(long, conflicts_with = "device", help_heading = WAY)]
    vrf: Option<String>,
    /// Their firewall mark
    #[arg(long, help_heading = WAY)]
    mark: Option<u32>,
    /// Their time to live
    #[arg(long, help_heading = WAY)]
    ttl: Option<u8>,
    /// Their code point: 0 to 63, or a word such as EF, AF41, CS1
    #[arg(long, help_heading = WAY)]
    dscp: Option<String>,
    /// Bytes of payload of an icmp or udp probe
    #[arg(long, value_name = "BYTES", help_heading = WAY)]
    size: Option<u16>,
    /// Never fragment them
    #[arg(long, help_heading = WAY)]
    dont_fragment: bool,
    /// udp: echo or unreachable
    #[arg(long, help_heading = METHODS)]
    expect: Option<String>,
    /// dns: a name that has to exist
    #[arg(long, value_name = "NAME", help_heading = METHODS)]
    query: Option<String>,
    /// dns: the record type
    #[arg(long, value_name = "TYPE", help_heading = METHODS)]
    record: Option<String>,
    /// dns: udp or tcp
    #[arg(long, help_heading = METHODS)]
    transport: Option<String>,
    /// dns: response codes that are a success
    #[arg(long, value_name = "CODES", value_delimiter = ',', help_heading = METHODS)]
    accept: Option<Vec<String>>,
    /// http: HEAD instead of GET
    #[arg(long, help_heading = METHODS)]
    head: bool,
    /// http: statuses that are a success, as 2xx,404
    #[arg(long, value_name = "STATUSES", value_delimiter = ',', help_heading = METHODS)]
    status: Option<Vec<String>>,
    /// https: take any certificate
    #[arg(long, help_heading = METHODS)]
    no_verify: bool,
    /// https: the authorities to trust, a file of PEM
    #[arg(long, value_name = "FILE", help_heading = METHODS)]
    ca_file: Option<String>,
}

const WAY: &str = "The way of its packets";
const METHODS: &str = "Of one method alone";

impl From<AddArgs> for TargetSpec {
    fn from(a: AddArgs) -> Self {
        Self {
            host: a.host,
            probe: a.probe,
            port: a.port,
            scope: a.scope,
            interval: a.interval,
            timeout: a.timeout,
            source: a.source,
            device: a.device,
            vrf: a.vrf,
            mark: a.mark,
            ttl: a.ttl,
            dscp: a.dscp,
            size: a.size,
            dont_fragment: a.dont_fragment.then_some(true),
            expect: a.expect,
            query: a.query,
            record: a.record,
            transport: a.transport,
            accept: a.accept,
            url: a.url,
            head: a.head.then_some(true),
            status: a.status,
            verify: a.no_verify.then_some(false),
            ca_file: a.ca_file,
            persist: a.persist,
        }
    }
}

/// Runs the command against the agent at `socket`.
///
/// # Errors
/// When standard output can't be written.
pub fn run(command: TargetCommand, socket: &Path) -> anyhow::Result<ExitCode> {
    let agent = Client::new(socket);
    let done = match command {
        TargetCommand::Add(args) => {
            let name = args.name.clone();
            agent.put_target(&name, &(*args).into()).map(|change| told(&name, change))
        }
        TargetCommand::Remove { name } => {
            agent.delete_target(&name).map(|()| told(&name, TargetChange::Removed))
        }
        TargetCommand::List { json } => agent.added_targets().and_then(|all| list(&all, json)),
    };
    match done {
        Ok(text) => quiet_pipe(io::stdout().lock().write_all(text.as_bytes())),
        Err(error) => Ok(failed(&error)),
    }
}

fn told(name: &str, change: TargetChange) -> String {
    let word = match change {
        TargetChange::Added => "added",
        TargetChange::Changed => "changed",
        TargetChange::Unchanged => "there already",
        TargetChange::Removed => "removed",
    };
    format!("{}: {word}\n", printable(name))
}

fn list(all: &[AddedTarget], json: bool) -> Result<String, Error> {
    if json {
        let text = serde_json::to_string_pretty(all).map_err(|e| Error::Protocol(e.to_string()))?;
        return Ok(text + "\n");
    }
    if all.is_empty() {
        return Ok("no targets were added\n".to_owned());
    }
    let width = all.iter().map(|t| printable(&t.name).chars().count()).max().unwrap_or(0);
    let row = |t: &AddedTarget| {
        let keys: Vec<String> = t.keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let kept = if t.persist { "kept" } else { "    " };
        format!("{:width$}  {kept}  {}\n", printable(&t.name), printable(&keys.join(" ")))
    };
    Ok(all.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: TargetCommand,
    }

    fn spec(line: &str) -> Result<serde_json::Value, clap::Error> {
        match Line::try_parse_from(line.split(' '))?.command {
            TargetCommand::Add(args) => Ok(serde_json::to_value(TargetSpec::from(*args)).unwrap()),
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn a_line_says_what_the_configuration_would() {
        assert_eq!(
            spec("x add gw --host 10.0.0.1").unwrap(),
            json!({ "host": "10.0.0.1", "persist": false })
        );
        let line = "x add a --host h --probe tcp --port 443 --interval 10s --scope s --dscp EF --persist";
        let expected = json!({ "host": "h", "probe": "tcp", "port": 443, "interval": "10s", "scope": "s",
                               "dscp": "EF", "persist": true });
        assert_eq!(spec(line).unwrap(), expected);
        let line = "x add a --url https://h/ --status 2xx,404 --no-verify --head";
        let expected = json!({ "url": "https://h/", "status": ["2xx", "404"], "verify": false, "head": true,
                               "persist": false });
        assert_eq!(spec(line).unwrap(), expected);
        for bad in [
            "x add a",
            "x add --host h",
            "x add a --host h --port 70000",
            "x add a --host h --vrf r --device d",
        ] {
            assert!(spec(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_list_is_a_table_or_json_and_commands_no_terminal() {
        let keys = json!({ "host": "h\u{1b}", "port": 443 }).as_object().cloned().unwrap();
        let all = [
            AddedTarget { name: "a".into(), persist: true, keys },
            AddedTarget { name: "long".into(), ..AddedTarget::default() },
        ];
        let text = list(&all, false).unwrap();
        assert_eq!(text.lines().next().unwrap().trim_end(), "a     kept  host=\"h\\u001b\" port=443");
        assert_eq!(list(&[], false).unwrap(), "no targets were added\n");
        let json: serde_json::Value = serde_json::from_str(&list(&all, true).unwrap()).unwrap();
        assert_eq!(json[0]["host"], "h\u{1b}");
    }
}
