//! What of Markdown these tests need: code, links and headings. Of the standard library alone, for xtask shares it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A document of the repository.
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    /// Lines of code, fenced or indented, with their numbers from 1 and the word behind the fence.
    pub(crate) code: Vec<(usize, String, String)>,
    /// Everything else, fences left out.
    prose: Vec<(usize, String)>,
}

/// Every document below `root` but those of builds.
pub(crate) fn all(root: &Path) -> Vec<Document> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for path in entries.map(|entry| entry.expect("a folder can be read on").path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                found.push(Document::read(path, &text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

impl Document {
    pub(crate) fn read(path: PathBuf, text: &str) -> Self {
        let (mut code, mut prose) = (Vec::new(), Vec::new());
        let mut fence: Option<String> = None;
        // Four spaces make code after an empty line, or after code.
        let mut may_be_code = true;
        for (number, line) in (1..).zip(text.lines()) {
            let indented = line.strip_prefix("    ");
            match (line.trim_start().strip_prefix("```"), &fence, indented) {
                (Some(_), Some(_), _) => fence = None,
                (Some(kind), None, _) => fence = Some(kind.trim().to_owned()),
                (None, Some(kind), _) => code.push((number, kind.clone(), line.to_owned())),
                (None, None, Some(line)) if may_be_code => {
                    code.push((number, String::new(), line.to_owned()));
                    continue;
                }
                _ => prose.push((number, line.to_owned())),
            }
            may_be_code = line.trim().is_empty();
        }
        Self { path, code, prose }
    }

    /// Blocks of fenced code of this kind.
    pub(crate) fn blocks(&self, kind: &str) -> Vec<String> {
        let mut blocks: Vec<String> = Vec::new();
        let mut last = None;
        for (number, _, line) in self.code.iter().filter(|(_, k, _)| k == kind) {
            match blocks.last_mut().filter(|_| last == Some(number - 1)) {
                Some(block) => block.extend([line, "\n"]),
                None => blocks.push(format!("{line}\n")),
            }
            last = Some(*number);
        }
        blocks
    }

    /// The prose with its code spans, and the number of the line in which each stands. A span may go over the end of a
    /// line.
    fn spans(&self) -> Vec<(usize, bool, String)> {
        let mut spans = vec![(1, false, String::new())];
        let mut before = 0;
        for (number, line) in &self.prose {
            // An empty line, a heading or code ends a paragraph, and with it a span that was no span.
            let goes_on = *number == before + 1 && !line.trim().is_empty();
            before = *number;
            if !goes_on {
                spans.push((*number, false, String::new()));
            }
            for (i, piece) in line.split('`').enumerate() {
                if i > 0 {
                    let code = spans.last().is_some_and(|(_, code, _)| *code);
                    spans.push((*number, !code, String::new()));
                }
                if let Some((_, _, text)) = spans.last_mut() {
                    text.extend([if i == 0 && !text.is_empty() { " " } else { "" }, piece]);
                }
            }
        }
        spans
    }

    /// What stands in backticks.
    pub(crate) fn inline_code(&self) -> impl Iterator<Item = (usize, String)> {
        self.spans().into_iter().filter(|(_, code, _)| *code).map(|(number, _, text)| (number, text))
    }

    /// Where its links and images lead.
    pub(crate) fn links(&self) -> Vec<(usize, String)> {
        // Without code spans, whose text may look like links; what is linked may itself be code.
        let text = self.spans().into_iter().filter(|(_, code, _)| !code);
        let one = |(number, _, text): (usize, bool, String)| {
            let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            targets.map(|(target, _)| (number, target.to_owned())).collect::<Vec<_>>()
        };
        text.flat_map(one).collect()
    }

    /// What a link to a heading is called.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let headings = self.prose.iter().filter_map(|(_, line)| {
            let text = line.trim_start_matches('#');
            (text.len() < line.len()).then(|| text.strip_prefix(' ').map(slug)).flatten()
        });
        let mut anchors: Vec<String> = Vec::new();
        for slug in headings {
            let same = anchors.iter().filter(|a| **a == slug).count();
            anchors.push(if same == 0 { slug } else { format!("{slug}-{same}") });
        }
        anchors
    }
}

/// The anchor that GitHub and GitLab make of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(|c| if c == ' ' { '-' } else { c }.to_lowercase()).collect()
}

/// The words of a shell's line, and the signs that end a command. Comments are left out.
pub(crate) fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, '#') if word.is_none() => break,
            (None, '&' | '|' | ';' | '>' | '<') => {
                words.extend(word.take());
                words.push(c.to_string());
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Commands of a shell's line that begin with `name`, each with its arguments. What an ellipsis stands for is left out.
pub(crate) fn commands(line: &str, name: &[&str]) -> Vec<Vec<String>> {
    let words = words(line);
    let of_one = words.split(|word| ["&", "|", ";", ">", "<"].contains(&&**word));
    let one = |command: &[String]| {
        // What stands before it: a prompt, variables, what a unit runs.
        let is_before = |word: &str| {
            ["$", "sudo", "if", "while", "then", "do", "!", "time"].contains(&word)
                || word
                    .split_once('=')
                    .is_some_and(|(n, _)| n.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        };
        let mut rest = command;
        while let Some((_, after)) = rest.split_first().filter(|(word, _)| is_before(word)) {
            rest = after;
        }
        let is_named = rest.len() >= name.len()
            && rest
                .iter()
                .zip(name)
                .all(|(word, name)| word == name || word.strip_prefix("ExecCondition=") == Some(name));
        is_named.then(|| rest[name.len()..].iter().filter(|word| *word != "…").cloned().collect())
    };
    of_one.filter_map(one).collect()
}
