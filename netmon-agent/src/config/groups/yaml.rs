//! The YAML form. The parser gives events; here they become nodes that aliases share, so that a document of aliases to
//! aliases is no larger than it is written, and the nodes become groups.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    str::CharIndices,
};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::{Fault, Gatherer, Group, NO_GROUP, NO_LIST, NO_LIST_HINT, Word, unknown_key};

/// A document of groups is four deep. Nodes are dropped by recursion, so this is a bound for the stack, too.
const MAX_DEPTH: usize = 8;

pub(super) fn parse(text: &str) -> Result<Vec<Group>, Fault> {
    let root = read(text)?.ok_or_else(|| Fault::at(0..0, NO_LIST).hint(NO_LIST_HINT))?;
    groups(&root)
}

/// The nodes of a document; none, where nothing is written. Bounded in depth and number.
///
/// # Errors
/// It is no YAML, has a second document, or more than any that is meant here.
pub(in crate::config) fn read(text: &str) -> Result<Option<Rc<Node>>, Fault> {
    // The parser is others' and what it reads may be anybody's: should it panic, this document was a bad one.
    let root = catch_unwind(AssertUnwindSafe(|| tree(text)));
    root.unwrap_or_else(|_| Err(Fault::at(0..0, "the YAML parser broke over this document")))
}

/// Lists, maps and texts of a document: a node of two bytes takes fifty times as much while it is read.
const MAX_EVENTS: usize = 3_000_000;

/// A node of a document, and where it begins, in bytes.
#[derive(Debug)]
pub(in crate::config) struct Node {
    pub(in crate::config) at: usize,
    depth: usize,
    pub(in crate::config) what: What,
}

/// What a node is.
#[derive(Debug)]
pub(in crate::config) enum What {
    /// A text, and whether it stands for nothing.
    Scalar(String, bool),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// A list or map that is not closed yet.
struct Open {
    at: usize,
    anchor: usize,
    depth: usize,
    items: Vec<Rc<Node>>,
    is_map: bool,
}

fn tree(text: &str) -> Result<Option<Rc<Node>>, Fault> {
    let mut places = Places::new(text);
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut root: Option<Rc<Node>> = None;
    for (number, event) in Parser::new_from_str(text).enumerate() {
        let (event, span) = event.map_err(|e| broken(&e, &mut places))?;
        let at = places.of(span.start);
        if number > MAX_EVENTS {
            return Err(Fault::at(at..at, "more lists, maps and texts than any such document has"));
        }
        let (anchor, node) = match event {
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Fault::at(at..at, "a second document").hint("all groups are one list"));
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) if open.len() < MAX_DEPTH => {
                let is_map = matches!(event, Event::MappingStart(..));
                open.push(Open { at, anchor, depth: 1, items: Vec::new(), is_map });
                continue;
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => return Err(too_deep(at)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { at, anchor, depth, items, is_map }) = open.pop() else { continue };
                let what = match is_map {
                    true => What::Map(pairs(items)),
                    false => What::List(items),
                };
                (anchor, Rc::new(Node { at, depth, what }))
            }
            Event::Scalar(text, style, anchor, _) => {
                let null = matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let what = What::Scalar(text.into_owned(), style == ScalarStyle::Plain && null);
                (anchor, Rc::new(Node { at, depth: 1, what }))
            }
            Event::Alias(anchor) => match anchors.get(&anchor) {
                Some(node) => (0, Rc::clone(node)),
                None => return Err(Fault::at(at..at, "an alias to what is not written before it")),
            },
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, Rc::clone(&node));
        }
        match open.last_mut() {
            Some(parent) => {
                parent.depth = parent.depth.max(node.depth + 1);
                if parent.depth > MAX_DEPTH {
                    return Err(too_deep(at));
                }
                parent.items.push(node);
            }
            None => root = Some(node),
        }
    }
    Ok(root)
}

fn too_deep(at: usize) -> Fault {
    Fault::at(at..at, "nested deeper than any such document")
}

/// Keys and values come by turns; the parser gives an empty value where none is written.
fn pairs(items: Vec<Rc<Node>>) -> Vec<(Rc<Node>, Rc<Node>)> {
    let mut items = items.into_iter();
    let mut all = Vec::with_capacity(items.len() / 2);
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        all.push((key, value));
    }
    all
}

fn broken(error: &ScanError, places: &mut Places<'_>) -> Fault {
    let at = places.of(*error.marker());
    Fault::at(at..at + 1, format!("no YAML: {}", error.info()))
}

fn groups(root: &Node) -> Result<Vec<Group>, Fault> {
    let list = match &root.what {
        What::List(list) => list,
        What::Scalar(_, true) => {
            return Err(Fault::at(root.at..root.at, "the document is empty")
                .hint("no targets at all are written as []"));
        }
        _ => return Err(Fault::at(root.at..root.at, NO_LIST).hint(NO_LIST_HINT)),
    };
    let mut out = Gatherer::default();
    for node in list {
        out.group(node.at)?;
        let What::Map(members) = &node.what else {
            return Err(Fault::at(node.at..node.at, NO_GROUP).hint(NO_LIST_HINT));
        };
        let mut seen = [false; 2];
        for (key, value) in members {
            let name = key.text("a key")?;
            let which = match name.text.as_str() {
                "targets" => 0,
                "labels" => 1,
                other => return Err(unknown_key(other, name.at)),
            };
            if std::mem::replace(&mut seen[which], true) {
                return Err(name.fault(format!("`{}` is there twice", name.text)));
            }
            match (which, &value.what) {
                (_, What::Scalar(_, true)) => {}
                (0, What::List(targets)) => {
                    for target in targets {
                        out.target(target.text("a target")?)?;
                    }
                }
                (1, What::Map(labels)) => self::labels(labels, &mut out)?,
                (0, _) => return Err(Fault::at(value.at..value.at, "`targets` is a list of texts")),
                _ => return Err(Fault::at(value.at..value.at, "`labels` is a map of texts")),
            }
        }
    }
    Ok(out.groups)
}

fn labels(all: &[(Rc<Node>, Rc<Node>)], out: &mut Gatherer) -> Result<(), Fault> {
    for (label, value) in all {
        let What::Scalar(name, _) = &label.what else {
            return Err(Fault::at(label.at..label.at, "a label's name is a text"));
        };
        if out.is_ours(name, label.at)? {
            out.label(label.text("a label")?, value.text("a label")?)?;
        }
    }
    Ok(())
}

impl Node {
    /// A number is taken as it is written.
    pub(in crate::config) fn text(&self, what: &str) -> Result<Word, Fault> {
        match &self.what {
            What::Scalar(text, false) => Ok(Word { text: text.clone(), at: self.at..self.at + text.len() }),
            _ => Err(Fault::at(self.at..self.at, format!("{what} is a text"))),
        }
    }
}

/// Places in bytes of those that the parser counts in characters. They mostly come in order.
struct Places<'a> {
    text: &'a str,
    chars: CharIndices<'a>,
    index: usize,
    is_ascii: bool,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, chars: text.char_indices(), index: 0, is_ascii: text.is_ascii() }
    }

    fn of(&mut self, marker: Marker) -> usize {
        if self.is_ascii {
            return marker.index().min(self.text.len());
        }
        if marker.index() < self.index {
            (self.chars, self.index) = (self.text.char_indices(), 0);
        }
        while self.index < marker.index() && self.chars.next().is_some() {
            self.index += 1;
        }
        self.chars.offset()
    }
}
