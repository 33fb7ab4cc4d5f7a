//! What libFuzzer drives: the target that `NETMON_FUZZ_TARGET` names, of those in `targets.toml`.
#![no_main]

use std::sync::LazyLock;

use netmon_fuzz::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("NETMON_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("NETMON_FUZZ_TARGET={name:?} is no target; `cargo xtask fuzz` sets it"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET.run(bytes));
