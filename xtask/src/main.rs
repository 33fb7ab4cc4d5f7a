//! Repository tasks: `cargo xtask TASK`.

mod dashboards;
mod debian;
mod dist;
mod ebpf;
mod example;
mod fuzz;
mod kernels;
mod leftovers;
mod promises;
mod races;
mod sanitize;
mod step;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use step::{cargo, run};

/// Repository tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what the tests need, then lint, build and run all of them.
    Test,
    /// Formatting, clippy and the documentation, warnings being errors.
    Lint,
    /// Write Grafana's dashboards and the reference of metrics, made from the catalogue of families. With `--check` hold what
    /// is committed against them; with `--types` against Grafana's published types; with `--plot` draw every panel (root).
    Dashboards(dashboards::Options),
    /// Make what people install, in target/dist: a .deb, an .rpm, a container, a bill of materials, sums. With `--check` prove
    /// them (root); with `--twice` build again elsewhere and compare.
    Dist(dist::Options),
    /// Build the kernel object and its note anew, in netmon-ebpf/prebuilt.
    BuildEbpf(ebpf::Options),
    /// Prove that the committed kernel object is what the source gives.
    VerifyEbpf(ebpf::Options),
    /// Run what proves each promise of tests/promises.toml, and write docs/PROMISES.md with the figures. Names of promises run
    /// those alone; `--from LOG` takes the figures out of what `cargo xtask test` printed; `--check` proves that what is named
    /// is there.
    Promises(promises::Options),
    /// Boot other kernels under emulation and hold our figures against theirs (no root).
    Kernels(kernels::Options),
    /// Fuzz: hostile input by libFuzzer through the targets of fuzz/, each for a time; what was executed, and with `--coverage`
    /// how many regions of the files it is for were reached (no root, once a C++ compiler is there).
    Fuzz(fuzz::Options),
    /// Show it to a person: a world of namespaces, the agent in it, and one fault after another (root). With `--shot FILE`
    /// a picture of the status page is taken instead, in a browser. With `--scenarios [FILTER] --runs 20`
    /// every scenario file is played so often, and its verdicts are timed.
    Lab {
        /// Options of the lab; `--keep` leaves the world standing at the end, `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Play the tour of README.md: from the package in target/dist, or the program as it is built, to an alert of a real
    /// Prometheus that fires and resolves, in a root and a network of its own (root). Five minutes; with `--short`, one.
    Tour {
        /// `--short`, `--deb FILE`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Simulate: the health core's rules in virtual time, beside their bounds and what others would have said of the same
    /// probes; years in minutes (no root).
    Simulate {
        /// `loss`, `bursts`, `degraded`, `detection`, `latency`, `flaps`, `starvation`, or all of them; `--days N`, `--years N`,
        /// `--seed N`, `--threads N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Soak: the real agent under a load that wears months in hours, its memory, descriptors, threads, kernel objects and files
    /// sampled, their growth held against bounds (root). `--hours 72`, `--bin PATH`, `--csv FILE`; `--report FILE` judges
    /// samples that are there.
    Soak {
        /// Options of the soak; `--help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Races: models of what threads share, in the product's own files: every order of steps by loom, orders at random by
    /// shuttle (no root).
    Races(races::Options),
    /// Sanitize: unit tests, and trials of the lab with an agent (root), under AddressSanitizer and ThreadSanitizer, and unsafe
    /// code under Miri; each has to find a fault made on purpose first; what ran and what was found is printed. Hours.
    Sanitize(sanitize::Options),
    /// Build and run an example that is a package of its own, beside what it is measured against.
    #[command(subcommand)]
    Example(example::Which),
    /// Measure: flaps, idle, read, exact, kernel, churn, or all of them (root); `probes` for the cost and truth of probes
    /// beside other programs (root); `api` for waiters and scrapes by the thousand; `sockdiag` for a dump of TCP sockets
    /// beside `ss`; `handle` for what the core costs an observation; `history` for what a history costs; `targets` for the
    /// agent with up to 100,000 of them (root); `verdict` for how soon it is down and up again, and that hogs make it say
    /// neither (root); `wait` for crowds of waiters: how soon, at what cost, how many go on at once; `kills` for agents
    /// killed with waiters attached (root); `reload` for one of 10,000 targets that becomes another (root); `capacity` for what a
    /// target, a device and a probe take (root); `waits` for how soon who waits goes on, beside systemd-networkd (root); `retry` for what becomes of transfers that an outage cuts (root); `client` for
    /// what a read of the state and a change cost a program that embeds the client.
    Bench {
        /// Options of the bench; `--help` lists them. `api waiters [COUNT…]`, `api conditions [COUNT]`, `api scrape
        /// [TARGETS]`, `api page [TARGETS…]`, `api read`, `handle [TARGETS]`,
        /// `history [OUTAGES]`, `sockdiag [SOCKETS…]` need no root.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
}

fn main() -> ExitCode {
    if let Some(code) = fuzz::wrap() {
        return code;
    }
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    match task {
        Task::Test => test::test(),
        Task::Lint => test::lint(&mut step::Steps::default()),
        Task::Dashboards(options) => dashboards::perform(options),
        Task::Dist(options) => dist::perform(&options),
        Task::BuildEbpf(options) => ebpf::build(&options),
        Task::VerifyEbpf(options) => ebpf::verify(&options),
        Task::Promises(options) => promises::perform(&options),
        Task::Kernels(options) => kernels::perform(&options),
        Task::Fuzz(options) => fuzz::perform(&options),
        Task::Lab { options } => run(&mut tool("netmon-lab", &options)),
        Task::Tour { options } => {
            debian::provide()?;
            run(&mut tool("netmon-tour", &options))
        }
        Task::Simulate { options } => run(&mut tool("netmon-simulate", &options)),
        Task::Soak { options } => run(&mut tool("netmon-soak", &options)),
        Task::Races(options) => races::perform(&options),
        Task::Sanitize(options) => sanitize::perform(&options),
        Task::Example(which) => example::perform(&which),
        Task::Bench { options } => match options.split_first() {
            Some((bench, options)) if bench == "client" => {
                let bench = ["bench", "--quiet", "--package", "netmon-client", "--bench", "monitor", "--"];
                run(cargo(&bench).args(options))
            }
            Some((bench, options)) if ["api", "handle", "history", "sockdiag"].contains(&bench.as_str()) => {
                let bench = ["bench", "--quiet", "--package", "netmon-agent", "--bench", bench, "--"];
                run(cargo(&bench).args(options))
            }
            Some((bench, _)) if bench == "wait" => run(&mut cargo(&[
                "bench",
                "--quiet",
                "--package",
                "netmon-agent",
                "--bench",
                "api",
                "--",
                "wait",
            ])),
            first => {
                if first.is_some_and(|(bench, _)| bench == "probes") {
                    debian::provide_peers()?;
                }
                run(&mut tool("netmon-bench", &options))
            }
        },
    }
}

/// A program of the lab's package, optimised: it stands beside what it measures.
fn tool(name: &str, options: &[String]) -> std::process::Command {
    let mut command =
        cargo(&["run", "--quiet", "--release", "--package", "netmon-tests", "--bin", name, "--"]);
    command.args(options);
    command
}

#[cfg(test)]
#[path = "../../netmon-agent/src/cli/documents/markdown.rs"]
#[expect(dead_code, reason = "of what it reads, only code is looked at here")]
mod markdown;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_task_that_a_document_shows_is_one() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (mut seen, mut wrong) = (0, Vec::new());
        for document in markdown::all(&root) {
            let inline = document.inline_code().filter(|(_, code)| code.contains("cargo xtask "));
            let code = document.code.iter().map(|(number, _, line)| (*number, line.clone()));
            for (number, line) in code.chain(inline) {
                for words in markdown::commands(&line, &["cargo", "xtask"]) {
                    seen += 1;
                    if let Err(e) =
                        Arguments::try_parse_from([vec!["cargo xtask".to_owned()], words].concat())
                    {
                        wrong.push(format!("{}:{number}: {line}\n{e}", document.path.display()));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(seen >= 30, "{seen} tasks");
    }
}
