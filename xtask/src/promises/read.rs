//! The figure of a promise in what its proof printed.

use super::list::Promise;

/// What is told of a test that passed and has no figure.
const HOLDS: &str = "holds";

/// The last figure in what a promise's own proof printed; none where there is none.
pub fn figure(promise: &Promise, output: &str) -> Option<String> {
    marked(promise, output).or_else(|| match &promise.reads {
        Some(words) => output.lines().rev().find(|line| line.contains(words)).map(squeezed),
        None => holds(promise, output, true),
    })
}

/// The same in a log of everything: only what bears the promise's name, or its test's, is surely its own.
pub fn figure_of_log(promise: &Promise, log: &str) -> Option<String> {
    marked(promise, log).or_else(|| holds(promise, log, false).filter(|_| promise.reads.is_none()))
}

/// The line that names the promise.
fn marked(promise: &Promise, output: &str) -> Option<String> {
    let mark = format!("promise {}: ", promise.id);
    let mut figures = output.lines().filter_map(|line| line.split_once(&mark));
    figures.next_back().map(|(_, figure)| figure.trim().to_owned())
}

/// That the test passed. Run by itself it need not be named: a quiet runner tells only how many passed.
fn holds(promise: &Promise, output: &str, is_its_own: bool) -> Option<String> {
    let name = promise.proof.test_name()?;
    let passed = |line: &str| {
        let named = line.trim().strip_prefix("test ").and_then(|rest| rest.strip_prefix(name));
        named.is_some_and(|rest| rest.trim_start().starts_with("...") && rest.trim_end().ends_with("ok"))
    };
    let alone = is_its_own && output.contains("test result: ok. 1 passed") && !output.contains("FAILED");
    (alone || output.lines().any(passed)).then(|| HOLDS.to_owned())
}

/// Columns of a table become words of a sentence.
fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(more: &str) -> Promise {
        let text =
            format!("id = \"a\"\narea = \"A\"\nwords = \"So.\"\nproof = {{ lab = \"life::x\" }}\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn the_last_line_that_is_marked_counts_wherever_it_stands() {
        let output = "promise a: 1\ntest b ... promise a: 2 of 3\npromise ab: 9\ntest life::x ... ok\n";
        assert_eq!(figure(&promise(""), output).as_deref(), Some("2 of 3"));
    }

    #[test]
    fn a_line_may_be_named_by_its_words() {
        let output = "  scrape   12 ms,  3 MB\nother\n";
        assert_eq!(figure(&promise("reads = \"scrape\""), output).as_deref(), Some("scrape 12 ms, 3 MB"));
        assert_eq!(figure(&promise("reads = \"nothing\""), output), None);
    }

    #[test]
    fn a_test_that_passed_holds_and_no_other_is_taken_for_it() {
        let ok = "test life::x ... ok\ntest result: ok. 2 passed; 0 failed\n";
        let quiet = "test result: ok. 1 passed; 0 failed\n";
        for log in [figure(&promise(""), ok), figure_of_log(&promise(""), ok), figure(&promise(""), quiet)] {
            assert_eq!(log.as_deref(), Some("holds"));
        }
        assert_eq!(figure_of_log(&promise(""), quiet), None, "it may be any test");
        assert_eq!(figure_of_log(&promise("reads = \"test\""), ok), None, "it may be any test's line");
        for wrong in [
            "test life::x ... FAILED\ntest result: FAILED. 0 passed; 1 failed\n",
            "test life::xy ... ok\ntest result: ok. 2 passed\n",
            "test result: ok. 0 passed; 0 failed\n",
            "test y ... ok\ntest result: ok. 3 passed\n",
        ] {
            assert_eq!(figure(&promise(""), wrong), None, "{wrong}");
        }
    }
}
