//! The kernel object: built from source, and proved to be what the source gives.

mod build;
mod note;
mod toolchain;
mod verify;

use std::path::{Path, PathBuf};

pub use build::build;
pub use verify::verify;

/// How to come by the tools.
#[derive(clap::Args, Debug, Default)]
pub struct Options {
    /// Install the Debian packages that are missing (needs root).
    #[arg(long)]
    pub install: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

fn committed_object() -> PathBuf {
    root().join("netmon-ebpf/prebuilt/netmon.bpf.o")
}
