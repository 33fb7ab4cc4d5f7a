//! Which rows a pane has, and in which order: places in what the agent told.

use std::{cmp::Ordering, collections::VecDeque};

use netmon_client::{
    State,
    wire::{Change, Device, Reason, Target},
};

/// What devices or targets are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// What is worst first.
    #[default]
    State,
    /// By name.
    Name,
    /// The most lost first; of a device, the most sent again.
    Loss,
    /// The slowest first, by the median.
    P50,
    /// By the 99th percentile.
    P99,
    /// The most jitter first.
    Jitter,
}

impl Sort {
    /// Those of targets, in the order that the key goes through.
    pub(super) const OF_TARGETS: &[Self] =
        &[Self::State, Self::Name, Self::Loss, Self::P50, Self::P99, Self::Jitter];
    /// Those of devices.
    pub(super) const OF_DEVICES: &[Self] = &[Self::State, Self::Name, Self::Loss];

    /// The next of `all`.
    pub(super) fn next(self, all: &[Self]) -> Self {
        let at = all.iter().position(|sort| *sort == self).unwrap_or_default();
        all[(at + 1) % all.len()]
    }

    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Name => "name",
            Self::Loss => "loss",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Jitter => "jitter",
        }
    }
}

/// The order of a pane's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Order {
    /// By what.
    pub(super) sort: Sort,
    /// The other way round.
    pub(super) reverse: bool,
}

/// Words that a row must have, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// As typed.
    pub(super) text: String,
}

impl Filter {
    /// Whether the row of these texts passes.
    fn passes(&self, texts: &[&str]) -> bool {
        // In one, so that a word never matches over two; a line feed stands in no word that is typed.
        self.text.trim().is_empty() || {
            let whole = texts.join("\n").to_lowercase();
            self.text.to_lowercase().split_whitespace().all(|word| whole.contains(word))
        }
    }
}

/// The worst figures of a target's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Worst {
    /// Lost of the last minute, 0–1.
    pub(super) loss: Option<f64>,
    /// Median, nanoseconds.
    pub(super) p50: Option<u64>,
    /// 99th percentile, nanoseconds.
    pub(super) p99: Option<u64>,
    /// Jitter, nanoseconds.
    pub(super) jitter: Option<u64>,
}

impl Worst {
    /// Of a target.
    pub(super) fn of(target: &Target) -> Self {
        let all = &target.addresses;
        Self {
            loss: all.iter().filter_map(|a| a.loss_ratio).max_by(f64::total_cmp),
            p50: all.iter().filter_map(|a| a.rtt.p50_ns).max(),
            p99: all.iter().filter_map(|a| a.rtt.p99_ns).max(),
            jitter: all.iter().filter_map(|a| a.jitter_ns).max(),
        }
    }
}

/// Segments sent again of a device, 0–1.
pub(super) fn sent_again(device: &Device) -> Option<f64> {
    device.tcp.as_ref().and_then(|tcp| tcp.retransmit_ratio)
}

/// Rows of the devices.
pub(super) fn devices(all: &[Device], filter: &Filter, order: Order) -> Vec<usize> {
    let passes = |d: &Device| {
        let mut texts = vec![d.name.as_str(), d.state.as_str()];
        texts.extend(d.addresses.iter().map(String::as_str));
        texts.extend(said(&d.reasons));
        filter.passes(&texts)
    };
    let compare = |a: &Device, b: &Device| match order.sort {
        Sort::Name => natural(&a.name, &b.name),
        Sort::Loss => most_first(sent_again(a), sent_again(b)),
        _ => badness(b.state).cmp(&badness(a.state)),
    };
    sorted(all, passes, compare, order.reverse)
}

/// Rows of the targets.
pub(super) fn targets(all: &[Target], filter: &Filter, order: Order) -> Vec<usize> {
    let passes = |t: &Target| {
        let mut texts = vec![t.name.as_str(), &t.host, &t.scope, &t.probe, t.state.as_str()];
        texts.extend(t.addresses.iter().map(|a| a.address.as_str()));
        texts.extend(said(&t.reasons));
        filter.passes(&texts)
    };
    let figure = |t: &Target| {
        let worst = Worst::of(t);
        match order.sort {
            Sort::Loss => worst.loss,
            Sort::P50 => worst.p50.map(|ns| ns as f64),
            Sort::P99 => worst.p99.map(|ns| ns as f64),
            _ => worst.jitter.map(|ns| ns as f64),
        }
    };
    let compare = |a: &Target, b: &Target| match order.sort {
        Sort::State => badness(b.state).cmp(&badness(a.state)),
        Sort::Name => natural(&a.name, &b.name),
        _ => most_first(figure(a), figure(b)),
    };
    sorted(all, passes, compare, order.reverse)
}

/// Rows of the changes: the newest first, always.
pub(super) fn changes(all: &VecDeque<Change>, filter: &Filter) -> Vec<usize> {
    let passes = |c: &Change| {
        let mut texts = vec![c.kind.as_str(), &c.subject, c.state.as_str()];
        texts.extend(said(&c.reasons));
        texts.extend(c.diagnosis.iter().map(|d| d.place.as_str()));
        filter.passes(&texts)
    };
    all.iter().enumerate().filter(|(_, c)| passes(c)).map(|(i, _)| i).collect()
}

fn said(reasons: &[Reason]) -> impl Iterator<Item = &str> {
    reasons.iter().flat_map(|r| [r.code.as_str(), r.detail.as_str()])
}

/// Of what is equal, the agent's order stays.
fn sorted<T>(
    all: &[T],
    passes: impl Fn(&T) -> bool,
    compare: impl Fn(&T, &T) -> Ordering,
    reverse: bool,
) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..all.len()).filter(|i| passes(&all[*i])).collect();
    rows.sort_by(|a, b| {
        let order = compare(&all[*a], &all[*b]);
        if reverse { order.reverse() } else { order }
    });
    rows
}

fn badness(state: State) -> u8 {
    match state {
        State::Up => 0,
        State::Unknown => 1,
        State::Degraded => 2,
        State::Down => 3,
    }
}

/// What has no figure comes last.
fn most_first(a: Option<f64>, b: Option<f64>) -> Ordering {
    let of = |figure: Option<f64>| figure.unwrap_or(f64::NEG_INFINITY);
    of(b).total_cmp(&of(a))
}

/// `eth2` before `eth10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (na, nb) = (digits(a), digits(b));
        if na > 0 && nb > 0 {
            let (x, y) = (a[..na].trim_start_matches('0'), b[..nb].trim_start_matches('0'));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[na..], &b[nb..]);
            continue;
        }
        let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
        match (rest_a.next(), rest_b.next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (rest_a.as_str(), rest_b.as_str()),
            (x, y) => return x.cmp(&y),
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use netmon_client::wire::{Rtt, TargetAddress};
    use proptest::prelude::*;

    use super::*;

    fn target(name: &str, state: State, loss: Option<f64>, p50_ns: Option<u64>) -> Target {
        let rtt = Rtt { p50_ns, ..Rtt::default() };
        let address = TargetAddress { loss_ratio: loss, rtt, ..TargetAddress::default() };
        Target { name: name.into(), state, addresses: vec![address], ..Target::default() }
    }

    fn three() -> [Target; 3] {
        [
            target("t10", State::Up, Some(0.1), None),
            target("t9", State::Down, Some(1.0), Some(5)),
            target("t1", State::Up, None, Some(9)),
        ]
    }

    #[test]
    fn rows_are_ordered_by_what_was_asked_for() {
        let by = |sort, reverse| targets(&three(), &Filter::default(), Order { sort, reverse });
        assert_eq!(by(Sort::State, false), [1, 0, 2]);
        assert_eq!(by(Sort::State, true), [0, 2, 1], "equals stay in the agent's order");
        assert_eq!(by(Sort::Name, false), [2, 1, 0]);
        assert_eq!(by(Sort::Loss, false), [1, 0, 2]);
        assert_eq!(by(Sort::P50, false), [2, 1, 0]);
        assert_eq!(Sort::Jitter.next(Sort::OF_TARGETS), Sort::State);
        assert_eq!(Sort::Jitter.next(Sort::OF_DEVICES), Sort::Name, "of what is not there, the first's next");
    }

    #[test]
    fn a_filter_wants_all_its_words_somewhere() {
        let mut all = three();
        all[2].reasons =
            vec![Reason { code: "loss".into(), detail: "Half of it".into(), ..Reason::default() }];
        let by = |text: &str| targets(&all, &Filter { text: text.into() }, Order::default());
        assert_eq!(by("  "), [1, 0, 2]);
        assert_eq!(by("UP t1"), [0, 2]);
        assert_eq!(by("half loss"), [2]);
        assert_eq!(by("t1up"), [0_usize; 0]);
    }

    proptest! {
        #[test]
        fn names_have_one_order(a in "[a-c0-3]{0,6}", b in "[a-c0-3]{0,6}", c in "[a-c0-3]{0,6}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert!(natural(&a, &b).is_gt() || natural(&b, &c).is_gt() || natural(&a, &c).is_le());
        }
    }
}
