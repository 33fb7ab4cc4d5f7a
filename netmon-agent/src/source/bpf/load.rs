//! The object into the kernel: the running kernel's layout, the settings, the sizes of the maps.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use aya::{Ebpf, EbpfLoader};
use netmon_ebpf::{
    DROPS, FORMAT_GLOBAL, MAX_DROP_REASON, OFFSETS_GLOBAL, OTHERS, Offsets, SETTINGS_GLOBAL, Settings,
    program,
};

use super::{
    abi::Raw,
    btf::Btf,
    error::{LoadError, check_permission, read_btf},
    format,
    hooks::{self, Hook},
    kernel::Options,
    offsets,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETMON_BPF_OBJECT"));

/// The kernel's `enum skb_drop_reason`, and what its names begin with.
const DROP_REASONS: (&str, &str) = ("skb_drop_reason", "SKB_DROP_REASON_");

/// What is in the kernel now.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) hooks: Vec<Hook>,
    /// Drop reasons that are counted, by number and name.
    pub(super) reasons: Vec<(u32, String)>,
    /// Those that were asked for and this kernel does not have.
    pub(super) unknown_reasons: Vec<String>,
}

/// Loads the object and attaches each program on its own.
///
/// # Errors
/// When nothing can be loaded at all.
pub(super) fn load(options: &Options) -> Result<Loaded, LoadError> {
    if cfg!(target_endian = "big") {
        return Err(LoadError::Endian);
    }
    check_permission()?;
    let own_netns = own_netns();
    // Programs that count for nobody would look as if there were nothing to count.
    if own_netns == 0 {
        return Err(LoadError::NoNamespace);
    }
    let btf = read_btf(options.btf.as_deref()).and_then(|bytes| Ok(Btf::parse(bytes)?));
    let offsets = btf.as_ref().map_or(Offsets::ABSENT, offsets::resolve);
    let format = format::resolve();
    let (reasons, unknown_reasons) = drop_reasons(btf.as_ref().ok(), &options.drop_reasons);
    let mut settings =
        Settings { own_netns, all_namespaces: options.all_namespaces.into(), ..Settings::DEFAULT };
    for (reason, _) in &reasons {
        settings.drop_reasons[*reason as usize / 64] |= 1 << (reason % 64);
    }
    let mut ebpf = load_object(options, &offsets, &Raw(format), &Raw(settings))?;
    let kernel = hooks::Kernel { btf: btf.as_ref(), offsets: &offsets, format: &format };
    let hooks = hooks::attach_all(&mut ebpf, &kernel, |name| options.wants(name));
    Ok(Loaded { ebpf, hooks, reasons, unknown_reasons })
}

fn load_object(
    options: &Options,
    offsets: &Offsets,
    format: &Raw<netmon_ebpf::Format>,
    settings: &Raw<Settings>,
) -> Result<Ebpf, LoadError> {
    let log_level = if options.log { aya_log::Level::Debug as u8 } else { 0 };
    let offsets = Raw(*offsets);
    let mut loader = EbpfLoader::new();
    loader
        .override_global(OFFSETS_GLOBAL, &offsets, true)
        .override_global(FORMAT_GLOBAL, format, true)
        .override_global(SETTINGS_GLOBAL, settings, true)
        .override_global(aya_log::LEVEL, &log_level, true)
        // The object carries no relocations against the kernel's types; its own offsets do that work.
        .btf(None);
    // What is not wanted takes the least memory that a map can have.
    if !options.log {
        // One page is the least of a ring buffer.
        loader.map_max_entries("AYA_LOGS", 4096);
    }
    for (table, is_wanted) in [(OTHERS, options.all_namespaces), (DROPS, options.wants(program::DROP))] {
        if !is_wanted {
            for map in [table.rows, table.index, table.free] {
                loader.map_max_entries(map, 1);
            }
        }
    }
    Ok(loader.load(OBJECT)?)
}

/// The inode number of the calling thread's network namespace; 0 when /proc does not tell.
pub(super) fn own_netns() -> u32 {
    fs::metadata(Path::new("/proc/thread-self/ns/net")).map_or(0, |file| file.ino() as u32)
}

/// The numbers of the reasons asked for, and the reasons that this kernel does not have.
fn drop_reasons(btf: Option<&Btf>, wanted: &[String]) -> (Vec<(u32, String)>, Vec<String>) {
    let (name, prefix) = DROP_REASONS;
    let known = btf.and_then(|btf| btf.enumerators(name).ok()).unwrap_or_default();
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for reason in wanted {
        let number = known.iter().find(|(name, _)| name.strip_prefix(prefix) == Some(reason));
        match number {
            Some((_, number)) if *number < MAX_DROP_REASON => found.push((*number, reason.clone())),
            _ => unknown.push(reason.clone()),
        }
    }
    (found, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_reason_is_found_by_its_name() {
        let Ok(bytes) = read_btf(None) else { return println!("skipped: this kernel has no BTF") };
        let btf = Btf::parse(bytes).unwrap();
        let wanted = ["TCP_CSUM".to_owned(), "NO_SUCH_REASON".to_owned()];
        let (found, unknown) = drop_reasons(Some(&btf), &wanted);
        assert_eq!(unknown, ["NO_SUCH_REASON"]);
        assert!(matches!(&found[..], [(number, name)] if *number > 0 && name == "TCP_CSUM"), "{found:?}");
        assert_eq!(drop_reasons(None, &wanted).1.len(), 2);
    }
}
