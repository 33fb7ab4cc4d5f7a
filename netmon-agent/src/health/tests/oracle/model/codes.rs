//! Sets of reason codes, and what is expected of a verdict.

use std::fmt;

use crate::health::{ReasonCode, State, Verdict};

/// A set of codes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Codes(u64);

impl Codes {
    pub fn of(codes: &[ReasonCode]) -> Self {
        codes.iter().fold(Self::default(), |all, code| all.with(*code))
    }

    pub fn said(verdict: &Verdict) -> Self {
        verdict.reasons.iter().fold(Self::default(), |all, r| all.with(r.code))
    }

    #[must_use]
    pub fn with(self, code: ReasonCode) -> Self {
        Self(self.0 | 1 << code as u64)
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn has(self, code: ReasonCode) -> bool {
        self.0 & 1 << code as u64 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

impl fmt::Debug for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(ReasonCode::ALL.iter().filter(|c| self.has(**c)).map(|c| c.as_str())).finish()
    }
}

/// What a verdict has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    pub state: State,
    /// The codes that it lists; with `some`, none but these.
    pub codes: Codes,
    /// The code that comes first is one of these.
    pub main: Codes,
    pub some: bool,
}

impl Expect {
    /// With these codes, any of which may come first.
    pub fn new(state: State, codes: Codes) -> Self {
        Self { state, codes, main: codes, some: false }
    }

    /// With this code before the others.
    pub fn led_by(state: State, main: ReasonCode, codes: Codes) -> Self {
        Self { state, codes: codes.with(main), main: Codes::default().with(main), some: false }
    }

    pub fn is_met_by(&self, verdict: &Verdict) -> bool {
        let said = Codes::said(verdict);
        let listed = if self.some { said.is_within(self.codes) } else { said == self.codes };
        let led = verdict.reasons.first().map_or(self.main.is_empty(), |r| self.main.has(r.code));
        self.state == verdict.state && listed && led
    }
}

#[test]
fn every_code_stands_at_its_place() {
    for (i, code) in ReasonCode::ALL.into_iter().enumerate() {
        assert_eq!(code as usize, i, "{code}");
    }
    assert_eq!(ReasonCode::NoEvidence as usize + 1, ReasonCode::ALL.len());
}
