//! Kernel modules for a guest: those it wants and all that they need, uncompressed, in the order of loading.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

/// What the suites need of a kernel that need not be built in.
const WANTED: [&str; 16] = [
    "veth",
    "dummy",
    "bridge",
    "8021q",
    "bonding",
    "vrf",
    "sch_netem",
    "nf_tables",
    "nft_numgen",
    "nft_counter",
    "nft_reject",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_reject_inet",
    "inet_diag",
    "tcp_diag",
];
/// Part of `nf_tables` itself from 5.16 on.
const ABSORBED: [&str; 1] = ["nft_counter"];

/// A module as the guest loads it.
#[derive(Debug)]
pub struct Module {
    pub name: String,
    pub data: Vec<u8>,
}

/// The modules for a guest out of `folder`, a `lib/modules/RELEASE`.
///
/// # Errors
/// When the kernel has one of them neither as a module nor built in, or one can't be read.
pub fn collect(folder: &Path) -> Result<Vec<Module>> {
    let builtin = fs::read_to_string(folder.join("modules.builtin")).context("modules.builtin")?;
    let builtin: BTreeSet<_> = builtin.lines().filter_map(|path| name_of(Path::new(path))).collect();
    let mut files = BTreeMap::new();
    find(folder, &mut files)?;
    let mut collection = Collection { files, builtin, seen: BTreeSet::new(), modules: Vec::new() };
    for name in WANTED {
        let there = collection.files.contains_key(name) || collection.builtin.contains(name);
        if there || !ABSORBED.contains(&name) {
            collection.add(name)?;
        }
    }
    Ok(collection.modules)
}

struct Collection {
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    seen: BTreeSet<String>,
    modules: Vec<Module>,
}

impl Collection {
    fn add(&mut self, name: &str) -> Result<()> {
        if self.builtin.contains(name) || !self.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let path = self.files.get(name).with_context(|| format!("this kernel has no module {name}"))?.clone();
        let data = uncompressed(&path)?;
        for needed in dependencies(&data).with_context(|| path.display().to_string())? {
            self.add(&needed)?;
        }
        self.modules.push(Module { name: name.to_owned(), data });
        Ok(())
    }
}

/// Every module below `folder`, by the name that other modules call it by.
fn find(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            find(&entry.path(), files)?;
        } else if kind.is_file()
            && let Some(name) = name_of(&entry.path())
        {
            files.insert(name, entry.path());
        }
    }
    Ok(())
}

/// `nft-numgen.ko.xz` is `nft_numgen`; what is no module has none.
fn name_of(path: &Path) -> Option<String> {
    let (name, ending) = path.file_name()?.to_str()?.split_once('.')?;
    matches!(ending, "ko" | "ko.xz" | "ko.zst" | "ko.gz").then(|| name.replace('-', "_"))
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    let (program, package) = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => ("xz", "xz-utils"),
        Some("zst") => ("zstd", "zstd"),
        Some("gz") => ("gzip", "gzip"),
        _ => return fs::read(path).with_context(|| path.display().to_string()),
    };
    let output = Command::new(program).arg("-dc").arg(path).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("no `{program}`: apt-get install {package}"))?;
    ensure!(output.status.success(), "{program} -dc {}: {}", path.display(), output.status);
    Ok(output.stdout)
}

/// `depends=a,b` in `.modinfo`, a section of strings that end with a zero byte.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("no .modinfo: not a module")?;
    for line in section.data()?.split(|byte| *byte == 0) {
        if let Some(names) = line.strip_prefix(b"depends=") {
            let names = std::str::from_utf8(names)?.split(',').filter(|name| !name.is_empty());
            return Ok(names.map(|name| name.replace('-', "_")).collect());
        }
    }
    bail!("its .modinfo does not say what it depends on")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_known_by_the_name_others_call_it_by() {
        assert_eq!(
            name_of(Path::new("kernel/net/netfilter/nft-numgen.ko.xz")).as_deref(),
            Some("nft_numgen")
        );
        assert_eq!(name_of(Path::new("veth.ko")).as_deref(), Some("veth"));
        assert_eq!(name_of(Path::new("modules.dep")), None);
        assert_eq!(name_of(Path::new("veth.kobject")), None);
    }
}
