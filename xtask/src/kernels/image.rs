//! The guest's first file system, a cpio archive in the form of `Documentation/driver-api/early-userspace/
//! buffer-format.rst`: our program, the system's tools with the libraries they need, and the kernel's modules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::modules::Module;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive that grows.
#[derive(Debug, Default)]
pub struct Image {
    bytes: Vec<u8>,
    entries: u32,
    present: BTreeSet<PathBuf>,
}

impl Image {
    /// Adds a program of this machine as `path`, with its libraries and its loader where it looks for them.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn program(&mut self, path: &str, file: &Path) -> Result<()> {
        self.copy(Path::new(path), file)?;
        for library in libraries(file)? {
            self.copy(&library, &library)?;
        }
        Ok(())
    }

    /// Adds the modules, with `/modules/order` that names them in the order of loading.
    pub fn modules(&mut self, modules: &[Module]) {
        for module in modules {
            self.file(Path::new(&format!("/modules/{}.ko", module.name)), &module.data);
        }
        let order: Vec<_> = modules.iter().map(|m| m.name.as_str()).collect();
        self.file(Path::new("/modules/order"), order.join("\n").as_bytes());
    }

    /// Adds a file of this machine.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn copy(&mut self, path: &Path, file: &Path) -> Result<()> {
        if !self.present.contains(path) {
            self.file(path, &fs::read(file).with_context(|| file.display().to_string())?);
        }
        Ok(())
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn file(&mut self, path: &Path, data: &[u8]) {
        path.parent().into_iter().for_each(|folder| self.folder(folder));
        if self.present.insert(path.to_owned()) {
            self.entry(&name(path), PROGRAM, data);
        }
    }

    fn folder(&mut self, path: &Path) {
        if path.parent().is_some() && self.present.insert(path.to_owned()) {
            path.parent().into_iter().for_each(|parent| self.folder(parent));
            self.entry(&name(path), DIRECTORY, &[]);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let (size, length) = (data.len(), name.len() + 1);
        // Magic; then inode, mode, user, group, links, time, size, four of devices, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size as u32, 0, 0, 0, 0, length as u32, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.align();
        self.bytes.extend(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

fn name(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// The shared libraries of a program and its loader, as the loader itself finds them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd can't be run")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let static_one = String::from_utf8_lossy(&output.stderr).contains("not a dynamic executable");
        ensure!(static_one || text.contains("statically linked"), "ldd {}: {text}", program.display());
        return Ok(Vec::new());
    }
    libraries_in(&text).with_context(|| program.display().to_string())
}

fn libraries_in(text: &str) -> Result<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in text.lines() {
        // `libc.so.6 => /lib/libc.so.6 (0x…)`, `/lib64/ld-linux.so.2 (0x…)`, `linux-vdso.so.1 (0x…)`.
        let place = line.split_once(" => ").map_or(line, |(_, place)| place).trim();
        ensure!(!place.starts_with("not found"), "a library is missing: {}", line.trim());
        let path = place.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            libraries.push(PathBuf::from(path));
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_library_and_the_loader_are_found() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\t/lib64/ld.so.2 (0x3)\n";
        let found = libraries_in(text).unwrap();
        assert_eq!(found, [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        assert!(libraries_in("\tlibz.so => not found\n").is_err());
    }

    /// Held against what `cpio` would say: six of magic, 13 fields of eight, names and data on multiples of four.
    #[test]
    fn folders_come_before_their_files_and_all_is_aligned() {
        let mut image = Image::default();
        image.file(Path::new("/a/b/c"), b"12345");
        image.file(Path::new("/a/b/d"), b"");
        let bytes = image.finish();
        assert_eq!(bytes.len() % 4, 0);
        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[at + 6 + 8 * n..at + 14 + 8 * n]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, length) = (field(6), field(11));
            names.push(String::from_utf8(bytes[at + 110..at + 110 + length - 1].to_vec()).unwrap());
            at = (at + 110 + length).next_multiple_of(4);
            at = (at + size).next_multiple_of(4);
        }
        assert_eq!(names, ["a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
    }
}
