//! The licences of what the program contains: every crate with its terms, and the texts that came with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use super::crates;

/// How files that carry terms are named.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];

/// A text with the terms of every crate of others; a text that several share stands there once.
///
/// # Errors
/// When cargo can't tell what the program is made of, or a file can't be read.
pub fn texts(source: &Path) -> Result<String> {
    let mut out =
        String::from("netmon contains these crates, under the terms named, whose texts follow.\n\n");
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    for ((name, version), one) in crates::of_agent(source)? {
        if one.own {
            continue;
        }
        let _ = writeln!(out, "{name} {version}: {}", one.licence);
        for text in files(&one.folder)? {
            texts.entry(text).or_default().push(format!("{name} {version}"));
        }
    }
    for (text, of) in texts {
        let _ = write!(out, "\n{}\n{}\n\n{}\n", "-".repeat(78), of.join(", "), text.trim_end());
    }
    Ok(out)
}

/// The texts in a crate's folder, by the names of their files.
fn files(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|known| name.starts_with(known)) {
            found.push(path);
        }
    }
    found.sort();
    found.iter().map(|path| Ok(String::from_utf8_lossy(&fs::read(path)?).replace('\r', ""))).collect()
}
