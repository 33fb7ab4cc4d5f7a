//! Links within the repository lead somewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use super::{documents, root};

/// The longest that a page may be. The lists of changes, metrics and alerts are as long as what they list.
const LINES: usize = 400;

/// A path without `.` and `..`, which need not exist.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

/// The links of each document within the repository: line, file and anchor.
fn links() -> BTreeMap<PathBuf, Vec<(usize, PathBuf, String)>> {
    let one = |document: super::Document| {
        let folder = document.path.parent().unwrap_or(Path::new("")).to_owned();
        let inside = document.links().into_iter().filter(|(_, target)| !target.contains("://"));
        let split = inside.map(|(number, target)| {
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let file = if file.is_empty() { document.path.clone() } else { plain(&folder.join(file)) };
            (number, file, anchor.to_owned())
        });
        (document.path.clone(), split.collect())
    };
    documents().into_iter().map(one).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let anchors: BTreeMap<PathBuf, Vec<String>> =
        documents().into_iter().map(|document| (document.path.clone(), document.anchors())).collect();
    let (mut seen, mut dead) = (0, Vec::new());
    for (document, links) in links() {
        for (number, file, anchor) in links {
            seen += 1;
            let leads = match anchors.get(&file) {
                Some(there) => anchor.is_empty() || there.contains(&anchor),
                None => file.starts_with(root()) && file.exists() && anchor.is_empty(),
            };
            if !leads {
                dead.push(format!("{}:{number}: {} #{anchor}", document.display(), file.display()));
            }
        }
    }
    assert!(dead.is_empty(), "these lead nowhere:\n{}", dead.join("\n"));
    assert!(seen >= 60, "{seen} links");
}

#[test]
fn the_readme_leads_to_every_page_and_no_page_is_long() {
    let links = links();
    let mut reached = BTreeSet::from([root().join("README.md")]);
    let mut next: Vec<PathBuf> = reached.iter().cloned().collect();
    while let Some(page) = next.pop() {
        for (_, file, _) in links.get(&page).into_iter().flatten() {
            if reached.insert(file.clone()) {
                next.push(file.clone());
            }
        }
    }
    let lost: Vec<&PathBuf> = links.keys().filter(|page| !reached.contains(*page)).collect();
    assert!(lost.is_empty(), "nothing leads from README.md to {lost:?}");
    let pages = links.keys().filter(|page| page.starts_with(root().join("docs")));
    for page in pages.chain([&root().join("README.md")]) {
        let lines = std::fs::read_to_string(page).expect("it was read before").lines().count();
        assert!(lines < LINES, "{} has {lines} lines", page.display());
    }
}
