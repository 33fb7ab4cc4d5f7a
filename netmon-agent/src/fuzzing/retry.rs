//! The rules of exit codes, and text on its way to a terminal.

use super::{
    codes::{Codes, Exit, Judgement, Rules},
    printable,
    profile::{ALL, Profile},
};

/// Signals that somebody sends to end a program: SIGINT and SIGTERM.
const SENT: [i32; 2] = [2, 15];
/// Codes of wrong usage and the like.
const NEVER: [u8; 6] = [2, 64, 77, 78, 126, 127];

/// Two lists of codes and a profile: each list is what its words say, and what is named goes before what is usual.
pub fn rules(retry_on: &str, give_up_on: &str, profile: u8) {
    let parsed = |text: &str| -> Option<Codes> {
        let codes = text.parse::<Codes>();
        if let Err(said) = &codes {
            assert!(!said.is_empty() && !said.contains('\n'), "{said:?}");
        }
        assert_eq!(codes.is_ok(), text.split(',').all(|word| range(word).is_some()), "{text:?}");
        codes.ok()
    };
    let (Some(retry), Some(give_up)) = (parsed(retry_on), parsed(give_up_on)) else { return };
    let profile: Option<&'static Profile> = ALL.get(usize::from(profile) % (ALL.len() + 1));
    let rules = Rules { retry_on: retry, give_up_on: give_up, profile };
    let known = |of: fn(&Profile) -> &'static [u8], code| profile.is_some_and(|p| of(p).contains(&code));
    for code in 0..=u8::MAX {
        let told = rules.judge(Exit::Code(code));
        let expected = match code {
            0 => Judgement::Success,
            _ if named(give_up_on, code) => Judgement::Never,
            _ if NEVER.contains(&code) && !known(|p| p.if_outage, code) => Judgement::Never,
            _ if named(retry_on, code) => Judgement::Retry,
            _ if known(|p| p.never, code) => Judgement::Never,
            _ if known(|p| p.retry, code) => Judgement::Retry,
            75 => Judgement::Later,
            124 => Judgement::Retry,
            _ => Judgement::IfOutage,
        };
        assert_eq!(told, expected, "{code} by {retry_on:?}, {give_up_on:?}");
    }
    for signal in 1..=64 {
        let told = rules.judge(Exit::Signal(signal));
        if SENT.contains(&signal) {
            assert_eq!(told, Judgement::Never, "signal {signal}");
        } else {
            assert_eq!(told, rules.judge(Exit::Code(128 + signal as u8)), "signal {signal}");
        }
    }
    for vain in rules.retry_on.in_vain() {
        assert!(NEVER.contains(&vain) && named(retry_on, vain));
    }
}

fn range(word: &str) -> Option<(u8, u8)> {
    let code = |text: &str| text.trim().parse().ok().filter(|code: &u8| *code > 0);
    let (first, last) = match word.find('-') {
        Some(at) => (code(&word[..at])?, code(&word[at + 1..])?),
        None => (code(word)?, code(word)?),
    };
    (first <= last).then_some((first, last))
}

fn named(list: &str, code: u8) -> bool {
    list.split(',').filter_map(range).any(|(first, last)| first <= code && code <= last)
}

/// Text for a terminal: one line that commands nothing.
pub fn terminal(text: &str) -> String {
    let told = printable(text);
    assert!(!told.chars().any(char::is_control), "{told:?}");
    assert_eq!(told.chars().count(), text.chars().count());
    told
}
