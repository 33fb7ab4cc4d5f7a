//! Proves that the committed object is what the source gives.

use std::{collections::BTreeSet, env, fs};

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

use super::{
    Options,
    build::compile,
    committed_object,
    note::{self, Note},
    root,
    toolchain::{self, run},
};

/// Compares a fresh build with the committed object: byte by byte if the compiler is the recorded one; otherwise
/// by programs, maps and licence, and then the fresh one must pass in the kernel what the committed one passes.
///
/// # Errors
/// When they differ, or when there is no toolchain to find out.
pub fn verify(options: &Options) -> Result<()> {
    let note = Note::read()?;
    let path = committed_object();
    let committed = fs::read(&path).with_context(|| path.display().to_string())?;
    ensure!(note::hash(&committed)? == note.object, "{} is not the object of its note", path.display());
    ensure!(
        note::source_hash()? == note.source,
        "netmon-ebpf has changed since its object was built: `cargo xtask build-ebpf`"
    );

    let toolchain = toolchain::find(options.install)?;
    let fresh = compile(&toolchain)?;
    if (&toolchain.compiler_name, &toolchain.linker_name) == (&note.compiler, &note.linker) {
        ensure!(fresh == committed, "the same compiler gives other bytes: `cargo xtask build-ebpf`");
        println!("identical: {} bytes, {}, {}", fresh.len(), note.compiler, note.linker);
        return Ok(());
    }
    let (fresh_shape, committed_shape) = (shape(&fresh)?, shape(&committed)?);
    ensure!(
        fresh_shape == committed_shape,
        "a fresh build differs: {:?}",
        fresh_shape.symmetric_difference(&committed_shape).collect::<Vec<_>>()
    );
    load(&fresh)?;
    println!("equivalent: built by {}, committed one by {}", toolchain.compiler_name, note.compiler);
    Ok(())
}

/// What others see of an object: each program with its section, each map and global with its size, the licence.
fn shape(bytes: &[u8]) -> Result<BTreeSet<String>> {
    let file = object::File::parse(bytes)?;
    let mut shape = BTreeSet::new();
    for symbol in file.symbols().filter(|symbol| symbol.is_global()) {
        let Some(section) = symbol.section_index() else { continue };
        let section = file.section_by_index(section)?;
        // Helpers that the compiler adds are its own affair.
        if section.name()? == ".text" {
            continue;
        }
        let size = if symbol.kind() == SymbolKind::Text { 0 } else { symbol.size() };
        shape.insert(format!("{} in {} of {size} bytes", symbol.name()?, section.name()?));
    }
    let licence = file.section_by_name("license").context("no licence")?;
    shape.insert(format!("licence {:?}", String::from_utf8_lossy(licence.data()?)));
    Ok(shape)
}

/// Has the agent's own test load every program of this object into the running kernel.
fn load(object: &[u8]) -> Result<()> {
    let path = root().join("target/ebpf/fresh.bpf.o");
    fs::write(&path, object)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    run(std::process::Command::new(cargo)
        .current_dir(root())
        .args([
            "test",
            "--quiet",
            "--package",
            "netmon-agent",
            "--lib",
            "the_running_kernel_takes_every_program",
        ])
        .env("NETMON_BPF_OBJECT", path)
        .env("NETMON_REQUIRE_KERNEL", "1"))
    .context("a fresh build does not load")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_names_programs_maps_and_licence() {
        let shape = shape(&fs::read(committed_object()).unwrap()).unwrap();
        for part in [
            "tcp_retransmit_skb in raw_tp/tcp_retransmit_skb of 0 bytes",
            "COUNTERS in .maps of 40 bytes",
            "OFFSETS in .rodata of 108 bytes",
            "licence \"Dual MIT/GPL\\0\"",
        ] {
            assert!(shape.contains(part), "{part} is not in {shape:?}");
        }
    }
}
