//! Repository tasks.

use clap::Parser;

mod ebpf;

#[derive(Parser)]
#[command(about = "Repository tasks of netmon")]
enum Task {
    /// Builds the kernel object and its note anew, in netmon-ebpf/prebuilt.
    BuildEbpf(ebpf::Options),
    /// Proves that the committed kernel object is what the source gives.
    VerifyEbpf(ebpf::Options),
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::BuildEbpf(options) => ebpf::build(&options),
        Task::VerifyEbpf(options) => ebpf::verify(&options),
    }
}
