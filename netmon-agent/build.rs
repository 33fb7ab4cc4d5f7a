//! Chooses the kernel object to embed: the committed one, or the file that `NETMON_BPF_OBJECT` names.

use std::{env, path::PathBuf};

fn main() {
    let committed = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default())
        .join("../netmon-ebpf/prebuilt/netmon.bpf.o");
    let object = env::var_os("NETMON_BPF_OBJECT").map_or(committed, PathBuf::from);
    println!("cargo::rerun-if-env-changed=NETMON_BPF_OBJECT");
    println!("cargo::rerun-if-changed={}", object.display());
    match object.canonicalize() {
        Ok(path) => println!("cargo::rustc-env=NETMON_BPF_OBJECT={}", path.display()),
        Err(error) => println!(
            "cargo::error=no kernel object at {} ({error}): `cargo xtask build-ebpf` makes it",
            object.display()
        ),
    }
}
