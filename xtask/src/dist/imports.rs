//! What the program wants of the C library: names that glibc has had since the one that packages promise. A program that is
//! built where it is tested links against a newer one, and says nothing of a function that an old system lacks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSymbol};

use super::binary::GLIBC;

/// Functions that the packaged program has had, one a line. Each is in glibc 2.17: `cargo xtask dist` links against that.
const KNOWN: &str = include_str!("imports.txt");

/// Holds the functions that this program can't do without against those that are known.
///
/// # Errors
/// It can't be read, or wants another one.
pub fn check(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| program.display().to_string())?;
    let new = new(&bytes, KNOWN).with_context(|| program.display().to_string())?;
    ensure!(
        new.is_empty(),
        "{} wants of the C library what it did not before: {}; if `cargo xtask dist` links with glibc {GLIBC}, add it to \
         xtask/src/dist/imports.txt",
        program.display(),
        new.join(", ")
    );
    println!("every function of the C library that {} wants is in glibc {GLIBC}", program.display());
    Ok(())
}

/// What a program wants that is not known.
fn new(program: &[u8], known: &str) -> Result<Vec<String>> {
    let wanted = wanted(program)?;
    ensure!(!wanted.is_empty(), "it wants nothing of any library, so it is not as it is packaged");
    let known: BTreeSet<&str> = known.lines().collect();
    Ok(wanted.into_iter().filter(|name| !known.contains(name.as_str())).collect())
}

/// Names of undefined symbols. Weak ones can be missing: who calls them looks first.
fn wanted(program: &[u8]) -> Result<BTreeSet<String>> {
    let file = object::File::parse(program)?;
    let strong = file.dynamic_symbols().filter(|symbol| symbol.is_undefined() && !symbol.is_weak());
    let names = strong.map(|symbol| Ok(symbol.name()?.to_owned())).collect::<Result<BTreeSet<_>>>()?;
    // The compiler's own library comes along with every system's.
    Ok(names.into_iter().filter(|name| !name.is_empty() && !name.starts_with("_Unwind_")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_once() {
        let lines: Vec<_> = KNOWN.lines().collect();
        assert!(lines.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn what_is_new_is_named() {
        let own = fs::read("/proc/self/exe").unwrap();
        let all = new(&own, "").unwrap();
        assert!(all.contains(&"malloc".to_owned()));
        let but_one: Vec<_> = all.iter().map(String::as_str).filter(|name| *name != "malloc").collect();
        assert_eq!(new(&own, &but_one.join("\n")).unwrap(), ["malloc"]);
    }
}
