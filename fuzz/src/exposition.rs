//! A reader of Prometheus' text format 0.0.4 and of the part of OpenMetrics 1.0 that is common to both, strict, and written
//! by their grammars alone: what the agent's writer means by a name is not asked.

use std::collections::BTreeMap;

/// A series: its name and its labels.
pub type Series = (String, BTreeMap<String, String>);

/// Everything of an exposition.
///
/// # Errors
/// The line that is none, or comes twice.
pub fn read(text: &str, open_metrics: bool) -> Result<BTreeMap<Series, f64>, String> {
    let mut samples = BTreeMap::new();
    let mut families = BTreeMap::<String, ()>::new();
    let text = match open_metrics {
        true => text.strip_suffix("# EOF\n").ok_or("no # EOF at its end")?,
        false => text,
    };
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line has no end".to_owned());
    }
    // Only a line feed ends a line: a carriage return within a label is a part of it.
    for line in text.split_terminator('\n') {
        match line.strip_prefix("# ") {
            Some(comment) => {
                if let Some(rest) = comment.strip_prefix("TYPE ") {
                    let name = rest.split(' ').next().unwrap_or_default();
                    if families.insert(name.to_owned(), ()).is_some() {
                        return Err(format!("family {name} twice"));
                    }
                }
            }
            None => {
                let (series, value) = sample(line).ok_or_else(|| format!("no sample: {line:?}"))?;
                if samples.insert(series, value).is_some() {
                    return Err(format!("twice: {line:?}"));
                }
            }
        }
    }
    Ok(samples)
}

fn sample(line: &str) -> Option<(Series, f64)> {
    let (name, mut rest) = word(line, ":")?;
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = word(rest, "")?;
            let (value, after) = quoted(after.strip_prefix("=\"")?)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = match after.strip_prefix(',') {
                Some(more) if !more.starts_with('}') => more,
                Some(_) => return None,
                None if after.starts_with('}') => after,
                None => return None,
            };
        }
    }
    let value = rest.strip_prefix(' ').filter(|value| !value.contains([' ', '_']))?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number if number.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
            number.parse().ok()?
        }
        _ => return None,
    };
    Some(((name.to_owned(), labels), value))
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`, with what may stand in it besides.
fn word<'a>(text: &'a str, besides: &str) -> Option<(&'a str, &'a str)> {
    let is_of = |c: char| c.is_ascii_alphanumeric() || c == '_' || besides.contains(c);
    let end = text.find(|c| !is_of(c)).unwrap_or(text.len());
    let begins_well = text.starts_with(|c: char| is_of(c) && !c.is_ascii_digit());
    begins_well.then(|| text.split_at(end))
}

/// A label's value up to the quote at its end; three characters are written as escapes, and no others.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            (_, c) => value.push(c),
        }
    }
}
