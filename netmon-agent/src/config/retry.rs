//! The retry budget, `[retry]`.

use std::{fmt::Display, ops::RangeInclusive};

use super::{error::Fault, file, spanned::Spanned};
use crate::budget::Settings;

pub(super) fn settings(r: &file::Retry) -> Result<Settings, Fault> {
    let usual = Settings::default();
    let settings = Settings {
        tokens: within(&r.tokens, usual.tokens, 1..=1_000_000, "tokens")?,
        transient: within(&r.transient, usual.transient, 1..=1_000_000, "transient")?,
        throttle: within(&r.throttle, usual.throttle, 1..=1_000_000, "throttle")?,
        per_second: within(&r.per_second, usual.per_second, 0.001..=10_000.0, "per_second")?,
    };
    for (name, cost, written) in
        [("transient", settings.transient, &r.transient), ("throttle", settings.throttle, &r.throttle)]
    {
        if cost > settings.tokens {
            let tokens = settings.tokens;
            let message = format!("{name} = {cost} is more than the {tokens} tokens of a full bucket");
            let span = written.as_ref().or(r.tokens.as_ref()).map(Spanned::span);
            let hint = "no retry would ever be granted: raise tokens, or lower the cost";
            return Err(Fault::of(span, message, hint));
        }
    }
    Ok(settings)
}

fn within<T: Copy + PartialOrd + Display>(
    written: &Option<Spanned<T>>,
    usual: T,
    range: RangeInclusive<T>,
    name: &str,
) -> Result<T, Fault> {
    match written {
        None => Ok(usual),
        Some(n) if range.contains(n.get_ref()) => Ok(*n.get_ref()),
        Some(n) => {
            let (least, most) = (range.start(), range.end());
            Err(Fault::at(n.span(), format!("{name} is between {least} and {most}, not {}", n.get_ref())))
        }
    }
}
