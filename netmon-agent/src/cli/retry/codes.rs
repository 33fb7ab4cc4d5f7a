//! What an exit code says (pure).

use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

use nix::sys::signal::Signal;

use super::profile::Profile;

/// Codes that tell of wrong usage or of something only a person can mend: a program that ends with one of them would do
/// so again. 126 and 127: not executable, not found (POSIX, 2.8.2); 2: usage, by the habit of shells and getopt; 64, 77
/// and 78: usage, no permission, configuration (sysexits(3)).
const NEVER: [u8; 6] = [2, 64, 77, 78, 126, 127];
/// `EX_TEMPFAIL` of sysexits(3): come again later.
pub(super) const TEMPFAIL: u8 = 75;
/// What timeout(1) ends with when the time was over.
pub(super) const TIMED_OUT: u8 = 124;

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// Of this signal.
    Signal(i32),
}

impl Exit {
    /// As a shell tells it: a death by signal `n` is 128 + `n`.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(u8::try_from(signal).unwrap_or(127)),
        }
    }

    /// Whether that is how a command ends for a ^C or a ^\ that was typed at it, whether it dies of the signal or catches
    /// it to tidy up first.
    pub(super) fn is_typed(self) -> bool {
        [Signal::SIGINT, Signal::SIGQUIT].into_iter().any(|s| self.code() == Self::Signal(s as i32).code())
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code as u8),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// What an exit means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// The work is done.
    Success,
    /// Another attempt may do better.
    Retry,
    /// The other side asked to come later.
    Later,
    /// Another attempt may do better if the network was down within this one.
    IfOutage,
    /// Another attempt would end the same way.
    Never,
}

/// Which exits are tried again.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) retry_on: Codes,
    pub(super) give_up_on: Codes,
    pub(super) profile: Option<&'static Profile>,
}

impl Rules {
    /// In this order: success; SIGINT and SIGTERM, which somebody sent; the command line's `--give-up-on`; wrong usage,
    /// but where the profile knows that the program means something else by the code; `--retry-on`; the profile; 75 and
    /// 124. Of all others an outage decides.
    pub(super) fn judge(&self, exit: Exit) -> Judgement {
        let code = exit.code();
        let profile = |of: fn(&Profile) -> &'static [u8]| self.profile.is_some_and(|p| of(p).contains(&code));
        match exit {
            Exit::Code(0) => return Judgement::Success,
            Exit::Signal(s) if s == Signal::SIGINT as i32 || s == Signal::SIGTERM as i32 => {
                return Judgement::Never;
            }
            _ => {}
        }
        let usage = NEVER.contains(&code) && !profile(|p| p.if_outage);
        if self.give_up_on.contains(code) || usage {
            Judgement::Never
        } else if self.retry_on.contains(code) {
            Judgement::Retry
        } else if profile(|p| p.never) {
            Judgement::Never
        } else if profile(|p| p.retry) {
            Judgement::Retry
        } else {
            match code {
                TEMPFAIL => Judgement::Later,
                TIMED_OUT => Judgement::Retry,
                _ => Judgement::IfOutage,
            }
        }
    }
}

/// A set of exit codes, as in `1,10-12,255`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Codes(Vec<(u8, u8)>);

impl Codes {
    fn contains(&self, code: u8) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&code))
    }

    /// Codes that are named one by one, and are never tried again whoever names them.
    pub(super) fn in_vain(&self) -> impl Iterator<Item = u8> {
        self.0.iter().filter(|(first, last)| first == last && NEVER.contains(first)).map(|(code, _)| *code)
    }
}

impl std::str::FromStr for Codes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let code: Option<u8> = text.trim().parse().ok().filter(|code| *code > 0);
            code.ok_or_else(|| format!("{text:?} is no exit code: write 1 to 255, as in 1,10-12,255"))
        };
        let range = |piece: &str| {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{piece:?} is empty: write it as {last}-{first}"));
            }
            Ok((first, last))
        };
        text.split(',').map(range).collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(retry_on: &str, give_up_on: &str, profile: &str) -> Rules {
        let codes = |text: &str| if text.is_empty() { Codes::default() } else { text.parse().unwrap() };
        Rules { retry_on: codes(retry_on), give_up_on: codes(give_up_on), profile: Profile::named(profile) }
    }

    #[test]
    fn without_options_an_outage_decides_on_most_codes() {
        let plain = rules("", "", "");
        for code in 0..=255u8 {
            let expected = match code {
                0 => Judgement::Success,
                75 => Judgement::Later,
                124 => Judgement::Retry,
                2 | 64 | 77 | 78 | 126 | 127 => Judgement::Never,
                _ => Judgement::IfOutage,
            };
            assert_eq!(plain.judge(Exit::Code(code)), expected, "{code}");
        }
        for (signal, expected) in [
            (Signal::SIGINT, Judgement::Never),
            (Signal::SIGTERM, Judgement::Never),
            (Signal::SIGKILL, Judgement::IfOutage),
            (Signal::SIGPIPE, Judgement::IfOutage),
        ] {
            assert_eq!(plain.judge(Exit::Signal(signal as i32)), expected, "{signal}");
        }
    }

    #[test]
    fn options_go_before_profiles_and_usage_before_both() {
        let judge = |rules: &Rules, code| rules.judge(Exit::Code(code));
        let wide = rules("1-255", "", "");
        assert_eq!(judge(&wide, 1), Judgement::Retry);
        assert_eq!(judge(&wide, 255), Judgement::Retry);
        for code in NEVER {
            assert_eq!(judge(&wide, code), Judgement::Never, "{code}");
        }
        assert_eq!(wide.judge(Exit::Signal(9)), Judgement::Retry, "137");
        assert_eq!(wide.judge(Exit::Signal(15)), Judgement::Never);
        let both = rules("1-9", "3,75", "");
        assert_eq!(judge(&both, 3), Judgement::Never, "who gives up goes first");
        assert_eq!(judge(&both, 75), Judgement::Never);
        assert_eq!(judge(&rules("6", "", "rclone"), 6), Judgement::Retry, "over the profile's word");
        assert_eq!(judge(&rules("", "5", "rclone"), 5), Judgement::Never);
        let vain: Vec<u8> = rules("1,2,100-130,127", "", "").retry_on.in_vain().collect();
        assert_eq!(vain, [2, 127]);
    }

    #[test]
    fn codes_are_lists_and_ranges() {
        let codes: Codes = "1, 10-12,255".parse().unwrap();
        let all: Vec<u8> = (0..=255).filter(|code| codes.contains(*code)).collect();
        assert_eq!(all, [1, 10, 11, 12, 255]);
        for (text, word) in [
            ("", "no exit code"),
            ("0", "no exit code"),
            ("256", "1 to 255"),
            ("1,,2", "no exit code"),
            ("12-10", "10-12"),
            ("-5", "no exit code"),
            ("a", "\"a\""),
        ] {
            let said = text.parse::<Codes>().unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
        }
    }

    #[test]
    fn a_death_is_told_as_a_shell_does() {
        assert_eq!(Exit::Signal(9).code(), 137);
        assert_eq!(Exit::Signal(64).code(), 192);
        assert!(
            [Exit::Code(130), Exit::Code(131), Exit::Signal(2), Exit::Signal(3)].iter().all(|e| e.is_typed())
        );
        assert!(![Exit::Code(129), Exit::Code(2), Exit::Signal(15)].iter().any(|e| e.is_typed()));
        assert_eq!(Exit::from(ExitStatus::from_raw(15)), Exit::Signal(15));
        assert_eq!(Exit::from(ExitStatus::from_raw(0x2a00)), Exit::Code(42));
    }
}
