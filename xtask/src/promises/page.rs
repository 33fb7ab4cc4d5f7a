//! The page, `docs/PROMISES.md`.

use std::fmt::Write;

use super::figures::Figures;
use super::list::{List, Promise};

const HEAD: &str = "\
# What netmon promises

Each promise, what proves it, and the figure that came of it last. `cargo xtask promises` runs the proofs that take no long
time and writes this page, `cargo xtask promises NAME` one of them, `--all` every one; `--from LOG` takes the figures out of
what `cargo xtask test` printed. The list is `tests/promises.toml`, a few lines a promise; every test run holds this page
against it, and the list against the tests that there are. A figure is that of the machine named beside it, which was busy
with other work; *holds* is that of a test that passes or fails, and has no other.

Rows marked † take minutes or more, and are run by name.
";

/// The whole page.
pub fn render(list: &List, figures: &Figures) -> String {
    let mut page = HEAD.to_owned();
    let mut areas: Vec<&str> = Vec::new();
    for promise in &list.promises {
        if !areas.contains(&promise.area.as_str()) {
            areas.push(&promise.area);
        }
    }
    for area in areas {
        // Writing to a String can't fail.
        let _ = write!(page, "\n## {area}\n\n| promise | proof | figure |\n|---|---|---|\n");
        for promise in list.promises.iter().filter(|p| p.area == area) {
            page.push_str(&row(promise, figures));
        }
    }
    page
}

fn row(promise: &Promise, figures: &Figures) -> String {
    let Promise { id, words, long, .. } = promise;
    let proof = match promise.proof.test_name() {
        Some(name) => format!("`{name}`"),
        None => format!("`{}`", promise.proof.command().join(" ")),
    };
    let figure = match figures.get(id) {
        Some(known) => format!("{} ({})", known.figure, known.place),
        None => "not measured yet".to_owned(),
    };
    let mark = if *long || promise.proof.is_slow() { " †" } else { "" };
    format!("| **{id}** {} | {proof}{mark} | {} |\n", cell(words), cell(&figure))
}

/// As text of a table's cell.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_come_in_their_order_and_cells_stay_whole() {
        let list: List = toml::from_str(
            "[[promise]]\nid = \"a\"\narea = \"Second\"\nwords = \"A | b.\"\nproof = { task = \"bench x\" }\nlong = true\n\
             [[promise]]\nid = \"b\"\narea = \"First\"\nwords = \"C.\"\nproof = { lab = \"x::y\" }\n\
             [[promise]]\nid = \"c\"\narea = \"Second\"\nwords = \"D.\"\nproof = { lab = \"x::z\" }\n",
        )
        .unwrap();
        let figures: Figures = toml::from_str("[b]\nfigure = \"1 < 2\"\nplace = \"here\"\n").unwrap();
        let page = render(&list, &figures);
        let tables = page.split_once("\n## ").unwrap().1;
        assert_eq!(
            tables,
            "Second\n\n| promise | proof | figure |\n|---|---|---|\n\
             | **a** A \\| b. | `cargo xtask bench x` † | not measured yet |\n\
             | **c** D. | `x::z` | not measured yet |\n\n\
             ## First\n\n| promise | proof | figure |\n|---|---|---|\n\
             | **b** C. | `x::y` | 1 &lt; 2 (here) |\n"
        );
    }
}
