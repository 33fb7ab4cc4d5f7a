//! What the last probe of an address told beside its round trip: phases, status, certificate.

use crate::observation::{ProbeDetail, ProbeOutcome};

/// Of one address. Nothing in it is judged; it is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastDetail(Option<Box<(u64, ProbeDetail)>>);

impl LastDetail {
    /// What is known; all of it none where nothing is.
    pub fn get(&self) -> ProbeDetail {
        self.0.as_ref().map(|last| last.1.clone()).unwrap_or_default()
    }

    /// Takes what became of a probe. One that failed and told nothing leaves nothing of the one before, but for the
    /// date of the certificate: that was not given another one.
    pub(super) fn record(&mut self, seq: u64, outcome: &ProbeOutcome) {
        let detail = match outcome {
            ProbeOutcome::Detail(detail) => (**detail).clone(),
            ProbeOutcome::Failed { .. } if self.0.as_ref().is_some_and(|last| last.0 < seq) => {
                ProbeDetail::default()
            }
            _ => return,
        };
        let before = self.0.as_ref().and_then(|last| last.1.certificate_expires);
        let certificate_expires = detail.certificate_expires.or(before);
        self.0 = Some(Box::new((seq, ProbeDetail { certificate_expires, ..detail })));
    }

    #[cfg(test)]
    pub(super) fn heap(&self) -> usize {
        self.0.as_ref().map_or(0, |_| size_of::<(u64, ProbeDetail)>())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{observation::FailureReason, time::Wall};

    const EXPIRES: Option<Wall> = Some(Wall::from_nanos(7));

    fn detail(connect: u64, expires: Option<Wall>) -> ProbeDetail {
        let connect = Some(Duration::from_millis(connect));
        ProbeDetail { connect, certificate_expires: expires, ..ProbeDetail::default() }
    }

    fn told(last: &mut LastDetail, seq: u64, detail: ProbeDetail) {
        last.record(seq, &ProbeOutcome::Detail(Box::new(detail)));
    }

    fn failed() -> ProbeOutcome {
        ProbeOutcome::Failed { reason: FailureReason::Refused, reporter: None }
    }

    #[test]
    fn the_last_word_counts_and_a_failure_keeps_its_own() {
        let mut last = LastDetail::default();
        assert_eq!(last.get(), ProbeDetail::default());
        told(&mut last, 1, detail(1, EXPIRES));
        told(&mut last, 2, detail(2, EXPIRES));
        for outcome in [failed(), ProbeOutcome::Sent, ProbeOutcome::Duplicate] {
            last.record(2, &outcome);
            assert_eq!(last.get(), detail(2, EXPIRES));
        }
        // An earlier one's time ran out: it is not the last.
        last.record(1, &failed());
        assert_eq!(last.get(), detail(2, EXPIRES));
    }

    #[test]
    fn a_failure_that_tells_nothing_leaves_the_certificate_alone() {
        let mut last = LastDetail::default();
        last.record(1, &failed());
        assert_eq!(last, LastDetail::default());
        told(&mut last, 1, detail(1, EXPIRES));
        last.record(2, &failed());
        assert_eq!(last.get(), ProbeDetail { certificate_expires: EXPIRES, ..ProbeDetail::default() });
        told(&mut last, 3, detail(3, None));
        assert_eq!(last.get(), detail(3, EXPIRES));
        told(&mut last, 4, detail(4, Some(Wall::from_nanos(9))));
        assert_eq!(last.get().certificate_expires, Some(Wall::from_nanos(9)));
    }
}
