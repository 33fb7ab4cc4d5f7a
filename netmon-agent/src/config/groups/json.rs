//! The JSON form. serde_json reads it; texts are kept as written until they are looked at, because their place is where
//! they stand in the document.

use std::{collections::BTreeMap, fmt, marker::PhantomData, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Fault, Gatherer, Group, MAX_TARGETS, NO_GROUP, NO_LIST, NO_LIST_HINT, Word, unknown_key};

pub(super) fn parse(text: &str) -> Result<Vec<Group>, Fault> {
    let List(all) = match serde_json::from_str(text) {
        Ok(all) => all,
        Err(e) if is_long(&e) => return Err(Fault::at(0..0, format!("more than {MAX_TARGETS} groups"))),
        // A document that is JSON and no list.
        Err(e) if e.is_data() => return Err(Fault::at(0..0, NO_LIST).hint(NO_LIST_HINT)),
        Err(e) => return Err(located(&e, text, 0)),
    };
    let mut out = Gatherer::default();
    for raw in all {
        group(raw, text, &mut out)?;
    }
    Ok(out.groups)
}

fn group(raw: &RawValue, text: &str, out: &mut Gatherer) -> Result<(), Fault> {
    let at = place(raw, text);
    out.group(at.start)?;
    let Members(members) = match serde_json::from_str(raw.get()) {
        Ok(members) => members,
        Err(e) if is_long(&e) => {
            return Err(Fault::at(
                at.start..at.start,
                "a group has many more keys than `targets` and `labels`",
            ));
        }
        Err(_) => return Err(Fault::at(at.start..at.start, NO_GROUP).hint(NO_LIST_HINT)),
    };
    for (key, value) in members {
        let value_at = place(value, text);
        let fault = |what: &str| Fault::at(value_at.clone(), what);
        // As Prometheus' reader takes it, null is none.
        match key.as_str() {
            "targets" | "labels" if value.get() == "null" => {}
            "targets" => {
                let List(targets) = serde_json::from_str(value.get()).map_err(|e| match is_long(&e) {
                    true => fault(&format!("more than {MAX_TARGETS} targets")),
                    false => fault("`targets` is a list of texts"),
                })?;
                for target in targets {
                    out.target(word(target, text, "a target")?)?;
                }
            }
            "labels" => {
                // The last of two of one name counts, for every reader of JSON.
                let labels: BTreeMap<String, &RawValue> =
                    serde_json::from_str(value.get()).map_err(|_| fault("`labels` is an object of texts"))?;
                for (label, value) in labels {
                    if out.is_ours(&label, value_at.start)? {
                        let value = word(value, text, "a label")?;
                        out.label(Word { text: label, at: value.at.clone() }, value)?;
                    }
                }
            }
            _ => return Err(unknown_key(&key, at)),
        }
    }
    Ok(())
}

fn word(raw: &RawValue, text: &str, what: &str) -> Result<Word, Fault> {
    let at = place(raw, text);
    match serde_json::from_str(raw.get()) {
        Ok(text) => Ok(Word { text, at }),
        Err(_) => Err(Fault::at(at, format!("{what} is a text")).hint("write it in quotes")),
    }
}

/// Where it stands. It is a part of the document itself.
fn place(raw: &RawValue, text: &str) -> Range<usize> {
    let start = (raw.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    start..start + raw.get().len()
}

/// serde_json counts lines from 1, and columns in bytes.
fn located(error: &serde_json::Error, text: &str, from: usize) -> Fault {
    let line = text[from..].split_inclusive('\n').take(error.line().saturating_sub(1));
    let at = from + line.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    Fault::at(at..at + 1, format!("no JSON: {message}"))
}

/// What is said of a list or object with more in it than any document has. Each part takes eight times what it was
/// written in, so it is not gathered first and counted then.
const LONG: &str = "too long";
/// Members of a group at most; two are known.
const MAX_MEMBERS: usize = 16;

fn is_long(error: &serde_json::Error) -> bool {
    error.is_data() && error.to_string().starts_with(LONG)
}

/// The parts of a list, no more than there may be targets.
struct List<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct All<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for All<'a> {
            type Value = List<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(part) = list.next_element()? {
                    if all.len() >= MAX_TARGETS {
                        return Err(A::Error::custom(LONG));
                    }
                    all.push(part);
                }
                Ok(List(all))
            }
        }
        d.deserialize_seq(All(PhantomData))
    }
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct All<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for All<'a> {
            type Value = Members<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if all.len() >= MAX_MEMBERS {
                        return Err(A::Error::custom(LONG));
                    }
                    all.push(member);
                }
                Ok(Members(all))
            }
        }
        d.deserialize_map(All(PhantomData))
    }
}
