//! What has been found and still holds.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    evidence::Evident,
    place::{Diagnosis, Finding},
};
use crate::{observation::TargetId, time::Boot};

/// Findings that new ones are compared with: an outage of many targets is one finding, kept once.
const RECENT: usize = 8;

/// The places of all faults there are.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Of the verdict over all.
    pub whole: Option<Diagnosis>,
    targets: HashMap<TargetId, Diagnosis>,
    recent: VecDeque<Arc<Finding>>,
}

impl Known {
    /// Of a target.
    pub fn target(&self, id: TargetId) -> Option<&Diagnosis> {
        self.targets.get(&id)
    }

    /// Of all targets that have a fault whose place is known.
    pub fn targets(&self) -> impl Iterator<Item = (TargetId, &Diagnosis)> {
        self.targets.iter().map(|(id, d)| (*id, d))
    }

    /// Takes what is now said of a target; none where it has no fault any more.
    pub fn put(&mut self, id: TargetId, found: Option<Diagnosis>) {
        match found {
            Some(diagnosis) => drop(self.targets.insert(id, diagnosis)),
            None => drop(self.targets.remove(&id)),
        }
    }

    /// Forgets targets that are no more.
    pub fn retain(&mut self, mut is_there: impl FnMut(TargetId) -> bool) {
        self.targets.retain(|id, _| is_there(*id));
    }

    /// A diagnosis from the evidence in hand.
    pub fn in_hand(&mut self, at: Boot, evident: Evident) -> Diagnosis {
        let same = |f: &&Arc<Finding>| {
            f.place == evident.place && f.detail == evident.detail && f.took == Duration::ZERO
        };
        if let Some(finding) = self.recent.iter().find(same) {
            return Diagnosis { at, finding: Arc::clone(finding) };
        }
        let finding = Arc::new(Finding::in_hand(evident.place, evident.detail));
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arc::clone(&finding));
        Diagnosis { at, finding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Place;

    #[test]
    fn one_finding_serves_all_who_share_it() {
        let mut known = Known::default();
        let mut found = |detail: &str| {
            let evident = Evident { place: Place::Path, detail: detail.to_owned(), open: None };
            known.in_hand(Boot::from_nanos(1), evident).finding
        };
        let first = found("a");
        assert!(Arc::ptr_eq(&first, &found("a")) && !Arc::ptr_eq(&first, &found("b")));
        for i in 0..RECENT {
            found(&i.to_string());
        }
        assert!(!Arc::ptr_eq(&first, &found("a")), "only the last few are compared with");
    }
}
