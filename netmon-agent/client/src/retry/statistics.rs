use std::{ops::Sub, time::Duration};

/// What one operation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Attempts that were started.
    pub attempts: u32,
    /// Of these, how many an outage cut, at no charge.
    pub refunds: u32,
    /// Of these, how many began without knowledge of the network: no agent, or no verdict.
    pub blind_attempts: u32,
    /// Outages that it met.
    pub outages: u32,
    /// Time that it was held back by these, the release included.
    pub paused: Duration,
    /// Time between attempts for other reasons.
    pub backed_off: Duration,
    /// Time within attempts.
    pub running: Duration,
}

impl Statistics {
    /// Attempts after the first.
    pub fn retries(&self) -> u32 {
        self.attempts.saturating_sub(1)
    }

    /// Time from the beginning to the latest news.
    pub fn elapsed(&self) -> Duration {
        self.paused + self.backed_off + self.running
    }
}

impl Sub for Statistics {
    type Output = Self;

    /// What was added since an earlier reading.
    fn sub(self, earlier: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_sub(earlier.attempts),
            refunds: self.refunds.saturating_sub(earlier.refunds),
            blind_attempts: self.blind_attempts.saturating_sub(earlier.blind_attempts),
            outages: self.outages.saturating_sub(earlier.outages),
            paused: self.paused.saturating_sub(earlier.paused),
            backed_off: self.backed_off.saturating_sub(earlier.backed_off),
            running: self.running.saturating_sub(earlier.running),
        }
    }
}
