//! The largest packet that passes, searched by size.
//!
//! Every packet forbids its fragmentation and starts as large as there are any; this host's own device refuses it and
//! says what it takes. From there on routers say what they take (RFC 1191, RFC 8201), and what they say is tried. Where
//! a size only vanishes, the search goes on between what passed and what did not, over sizes that are common first (as
//! RFC 4821 has it, for where those messages are filtered). Silence counts only when it was met twice, and at the
//! border twice again. Then each hop is asked with the smallest size that vanishes: the last that answers is the last
//! before the black hole.

use std::{collections::BTreeMap, net::IpAddr};

use super::path::{Limit, PathMtu};

/// Bytes of a probe that passes everywhere: the narrowest links there are take 296 (SLIP), though RFC 791 lets a link of
/// IPv4 take 68; of IPv6 none takes less than 1280.
pub(super) const SMALL: u32 = 80;
/// The largest IP packet.
pub(super) const LARGEST: u32 = 65_535;
/// So many answers are waited for in vain before a size is too big.
const TRIES: u8 = 2;
/// So many sizes that routers tell are tried as they are: one a hop would be many. Whoever tells one byte less each time
/// would be asked for all sizes there are.
const BELIEVED: usize = 32;
/// Sizes that links have: tunnels of all kinds below 1500; FDDI; jumbo frames (RFC 1191 section 7.1, and practice).
const COMMON: [u32; 20] = [
    296, 508, 576, 1006, 1280, 1320, 1360, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500, 2002,
    4352, 9000,
];

/// Where the answers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// The destination, asked with this time to live.
    Destination(u8),
    /// A router, by letting the time to live run out there.
    Hop(u8),
}

impl Anchor {
    fn ttl(self) -> u8 {
        match self {
            Self::Destination(ttl) | Self::Hop(ttl) => ttl,
        }
    }
}

/// What is asked: whether this much comes this far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) ttl: u8,
    pub(super) size: u32,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It came there.
    Passed,
    /// Somebody on the way refused it; `None` for this host. 0 bytes where the MTU was not told.
    TooBig { by: Option<IpAddr>, bytes: u32 },
    /// Nothing was heard of it.
    Silent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// This host's own. `exact`: it told this very border, else only that the size tried was too big.
    Device {
        exact: bool,
    },
    Told {
        by: IpAddr,
        exact: bool,
    },
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Does the anchor answer at all?
    Anchor,
    Search,
    /// The hops at `low` (if any) and before are reached by what vanishes further on; those from `high` on are not.
    Locate {
        low: usize,
        high: usize,
    },
    Done,
}

#[derive(Debug)]
pub(super) struct Search {
    /// The least MTU a link may have: what is told below it is not believed.
    least: u32,
    anchors: Vec<Anchor>,
    /// Distances of the routers that answered, from the near ones on.
    routers: Vec<u8>,
    stage: Stage,
    passed: u32,
    /// By the smallest size refused.
    refused: BTreeMap<u32, Refusal>,
    /// A border at which silence was met again.
    confirmed: Option<u32>,
    silences: u8,
}

impl Search {
    /// `anchors`: in order of preference. `routers`: distances that answered.
    pub(super) fn new(v6: bool, anchors: Vec<Anchor>, routers: Vec<u8>) -> Self {
        Self {
            least: if v6 { 1280 } else { 68 },
            stage: if anchors.is_empty() { Stage::Done } else { Stage::Anchor },
            anchors,
            routers,
            passed: 0,
            refused: BTreeMap::new(),
            confirmed: None,
            silences: 0,
        }
    }

    /// What is to be asked now; `None` when all is known that can be.
    pub(super) fn question(&self) -> Option<Question> {
        if self.done() {
            return None;
        }
        let anchor = self.anchors.first()?.ttl();
        match self.stage {
            Stage::Anchor => Some(Question { ttl: anchor, size: SMALL }),
            Stage::Search => Some(Question { ttl: anchor, size: self.next_size()? }),
            Stage::Locate { low, high } => {
                Some(Question { ttl: self.routers[(low + high) / 2], size: self.border() })
            }
            Stage::Done => None,
        }
    }

    /// Takes what came of a question, be it the last or an earlier one.
    pub(super) fn learn(&mut self, question: Question, outcome: Outcome) {
        let asked = self.question();
        let current = asked == Some(question);
        let to_anchor = self.anchors.first().is_some_and(|a| a.ttl() == question.ttl);
        match outcome {
            Outcome::Silent if !current => return,
            Outcome::Silent => {
                self.silences += 1;
                if self.silences < TRIES {
                    return;
                }
                self.silent(question.size);
            }
            Outcome::Passed if to_anchor => self.passes(question.size),
            Outcome::Passed if current => self.arrives(),
            Outcome::Passed => return,
            Outcome::TooBig { .. } if self.stage == Stage::Anchor && current => self.silent(question.size),
            Outcome::TooBig { by, bytes } => self.refuse(question.size, by, bytes),
        }
        self.go_on();
        // An answer to an earlier question says nothing of this one: whoever repeats his would keep it open for ever.
        if current || self.question() != asked {
            self.silences = 0;
        }
    }

    /// What was found; `None` if nobody answered.
    pub(super) fn result(&self, hop_of: impl Fn(IpAddr) -> Option<u8>) -> Option<PathMtu> {
        if self.passed == 0 {
            return None;
        }
        let of_device = |(_, refusal): &(&u32, &Refusal)| matches!(refusal, Refusal::Device { .. });
        let device = self.refused.iter().find(of_device).map(|(size, _)| size - 1);
        Some(PathMtu {
            bytes: self.passed,
            as_far_as: match self.anchors.first()? {
                Anchor::Destination(_) => None,
                Anchor::Hop(ttl) => Some(*ttl),
            },
            device,
            limits: self.limits(hop_of),
        })
    }

    fn limits(&self, hop_of: impl Fn(IpAddr) -> Option<u8>) -> Vec<Limit> {
        let mut out = Vec::new();
        let above: Vec<(u32, Refusal)> =
            self.refused.range(self.passed + 1..).rev().map(|(s, r)| (*s, *r)).collect();
        for (i, (size, refusal)) in above.iter().enumerate() {
            let narrowest = i + 1 == above.len();
            let said_again = above.get(i + 1).is_some_and(|(_, next)| teller(next) == teller(refusal));
            match *refusal {
                Refusal::Told { by, .. } if !said_again => {
                    out.push(Limit::Told { by, hop: hop_of(by), bytes: size - 1 });
                }
                Refusal::Silence if narrowest => {
                    out.push(Limit::BlackHole { after: self.last_before_hole(), bytes: size - 1 });
                }
                Refusal::Told { .. } | Refusal::Silence | Refusal::Device { .. } => {}
            }
        }
        out
    }

    fn last_before_hole(&self) -> Option<u8> {
        match self.stage {
            Stage::Locate { low, .. } => low.checked_sub(1).map(|i| self.routers[i]),
            Stage::Anchor | Stage::Search | Stage::Done => None,
        }
    }

    /// The smallest size known not to pass.
    fn border(&self) -> u32 {
        self.refused.range(self.passed + 1..).next().map_or(LARGEST + 1, |(size, _)| *size)
    }

    fn next_size(&self) -> Option<u32> {
        let (low, high) = (self.passed, self.border());
        let refusal = self.refused.get(&high);
        if high == low + 1 {
            let unsure = refusal == Some(&Refusal::Silence) && self.confirmed != Some(high);
            return unsure.then_some(high);
        }
        match refusal {
            None | Some(Refusal::Device { exact: true } | Refusal::Told { exact: true, .. }) => {
                Some(high - 1)
            }
            Some(_) => Some(between(low, high)),
        }
    }

    fn passes(&mut self, size: u32) {
        self.passed = self.passed.max(size);
        // What vanished before was lost on other grounds.
        if self.refused.get(&size) == Some(&Refusal::Silence) {
            self.refused.remove(&size);
        }
    }

    fn refuse(&mut self, size: u32, by: Option<IpAddr>, bytes: u32) {
        let told = |refusal: &&Refusal| matches!(refusal, Refusal::Told { exact: true, .. });
        let believed = self.refused.values().filter(told).count() < BELIEVED;
        let exact = believed && bytes >= self.least && bytes > self.passed && bytes < size;
        let border = if exact { bytes + 1 } else { size };
        let refusal = by.map_or(Refusal::Device { exact }, |by| Refusal::Told { by, exact });
        if border > self.passed {
            self.refused.insert(border, refusal);
        }
    }

    fn silent(&mut self, size: u32) {
        match self.stage {
            Stage::Anchor => drop(self.anchors.remove(0)),
            Stage::Search => {
                if self.refused.contains_key(&size) {
                    self.confirmed = Some(size);
                }
                self.refused.entry(size).or_insert(Refusal::Silence);
            }
            Stage::Locate { low, high } => self.stage = Stage::Locate { low, high: (low + high) / 2 },
            Stage::Done => {}
        }
    }

    /// What vanishes further on came to the hop that was asked.
    fn arrives(&mut self) {
        if let Stage::Locate { low, high } = self.stage {
            self.stage = Stage::Locate { low: (low + high) / 2 + 1, high };
        }
    }

    fn go_on(&mut self) {
        match self.stage {
            Stage::Anchor if self.anchors.is_empty() => self.stage = Stage::Done,
            Stage::Anchor if self.passed > 0 => self.stage = Stage::Search,
            // A late answer moved the border.
            Stage::Locate { .. } if self.next_size().is_some() => self.stage = Stage::Search,
            // Or somebody said after all what is too big.
            Stage::Locate { .. } if !self.is_hole() => self.stage = Stage::Done,
            _ => {}
        }
        if self.stage == Stage::Search && self.next_size().is_none() {
            let hole = self.is_hole();
            let before = self.anchors.first().map_or(0, |a| a.ttl());
            let routers = self.routers.iter().filter(|ttl| **ttl < before).count();
            self.stage = if hole { Stage::Locate { low: 0, high: routers } } else { Stage::Done };
        }
    }

    fn is_hole(&self) -> bool {
        self.refused.get(&self.border()) == Some(&Refusal::Silence)
    }

    /// Whether the place of a black hole is known, or there is none.
    fn located(&self) -> bool {
        matches!(self.stage, Stage::Locate { low, high } if low == high)
    }

    /// Whether nothing is left to ask.
    pub(super) fn done(&self) -> bool {
        self.stage == Stage::Done || self.located()
    }
}

/// Whose word a refusal is.
fn teller(refusal: &Refusal) -> Option<IpAddr> {
    match refusal {
        Refusal::Told { by, .. } => Some(*by),
        Refusal::Device { .. } | Refusal::Silence => None,
    }
}

/// The size to try between one that passes and one that does not: a common one, or the one just above a common one,
/// else the middle.
fn between(low: u32, high: u32) -> u32 {
    let common: Vec<u32> = COMMON.into_iter().filter(|size| low < *size && *size < high).collect();
    match common.get(common.len() / 2) {
        Some(size) => *size,
        None if COMMON.contains(&low) => low + 1,
        None => low + (high - low) / 2,
    }
}
