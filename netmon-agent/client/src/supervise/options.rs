use std::time::Duration;

use crate::retry::{Policy, PolicyError};

/// How a connection is kept.
///
/// ```
/// use std::time::Duration;
/// use netmon_client::supervise::SuperviseOptions;
///
/// let mut options = SuperviseOptions::default();
/// options.policy.max_delay = Duration::from_secs(300);
/// options.policy.attempts = Some(20);
/// options.validate()?;
/// # Ok::<(), netmon_client::supervise::OptionsError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SuperviseOptions {
    /// The pace of attempts: 1 s after the first failure, doubled up to `max_delay` (60 s by default, 5 min is as good
    /// for what is far away), with full jitter; without end. `attempt_timeout` is the longest that an attempt may
    /// take, 30 s. `attempts` counts those since the connection last worked, `max_refunds` and `hindsight` say which
    /// of them an outage pays for, `spread` whether its end is met at a random moment. `max_time` and `stable` are
    /// not used: what is kept has no end, and what is lost is tried at once.
    pub policy: Policy,
    /// From the end of one health check to the next. 30 s by default, not 0.
    pub check_interval: Duration,
    /// The longest that a health check may take. 10 s by default, not 0.
    pub check_timeout: Duration,
    /// The longest that it may take where the network is degraded or has just come back; at most `check_timeout`.
    /// 2.5 s by default, not 0.
    pub slow_check: Duration,
    /// How many health checks in a row have to fail on a healthy network before the connection is given up; the next
    /// comes a second after the one that failed. 2 by default, not 0.
    pub check_failures: u32,
}

impl Default for SuperviseOptions {
    fn default() -> Self {
        let attempt_timeout = Some(Duration::from_secs(30));
        Self {
            policy: Policy { attempts: None, max_time: None, attempt_timeout, ..Policy::default() },
            check_interval: Duration::from_secs(30),
            check_timeout: Duration::from_secs(10),
            slow_check: Duration::from_millis(2500),
            check_failures: 2,
        }
    }
}

/// Options that can't be, or a name that can't.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The policy can't be followed.
    #[error("policy: {0}")]
    Policy(#[from] PolicyError),
    /// A duration or a count is 0.
    #[error("{0}: 0 leaves nothing to do; give more")]
    Zero(&'static str),
    /// `slow_check` is longer than `check_timeout`.
    #[error("slow_check: longer than check_timeout, which would end it first; give at most as much")]
    SlowCheck,
    /// A name is empty, too long, or not printable.
    #[error("name {0:?}: a name has 1 to 64 bytes and no control characters")]
    Name(String),
    /// This supervisor keeps a connection of that name already.
    #[error("name {0:?}: a connection of that name is kept already; stop it first, or give another name")]
    Taken(String),
    /// The supervisor has been stopped.
    #[error("the supervisor has been stopped")]
    Stopped,
}

impl SuperviseOptions {
    /// Whether a connection can be kept so.
    ///
    /// # Errors
    /// The first field that can't be.
    pub fn validate(&self) -> Result<(), OptionsError> {
        self.policy.validate()?;
        for (name, value) in [
            ("check_interval", self.check_interval),
            ("check_timeout", self.check_timeout),
            ("slow_check", self.slow_check),
        ] {
            if value.is_zero() {
                return Err(OptionsError::Zero(name));
            }
        }
        if self.check_failures == 0 {
            return Err(OptionsError::Zero("check_failures"));
        }
        if self.slow_check > self.check_timeout {
            return Err(OptionsError::SlowCheck);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_nothing_to_do_is_refused() {
        let good = SuperviseOptions::default();
        good.validate().unwrap();
        let refused = |options: SuperviseOptions| options.validate().unwrap_err();
        let policy = Policy { attempts: Some(0), ..Policy::default() };
        assert_eq!(
            refused(SuperviseOptions { policy, ..good.clone() }),
            OptionsError::Policy(PolicyError::NoAttempts)
        );
        let zero = Duration::ZERO;
        for (options, name) in [
            (SuperviseOptions { check_interval: zero, ..good.clone() }, "check_interval"),
            (SuperviseOptions { check_timeout: zero, ..good.clone() }, "check_timeout"),
            (SuperviseOptions { slow_check: zero, ..good.clone() }, "slow_check"),
            (SuperviseOptions { check_failures: 0, ..good.clone() }, "check_failures"),
        ] {
            assert_eq!(refused(options), OptionsError::Zero(name));
        }
        let slow_check = Duration::from_secs(11);
        assert_eq!(refused(SuperviseOptions { slow_check, ..good }), OptionsError::SlowCheck);
    }
}
