//! Complete slots of a history, packed: numbers of seven bits a byte (LEB128), buckets by their distance from the one
//! before. A slot of a quiet link takes two bytes a bucket that has samples.

/// A stretch of time that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot<'a> {
    /// Number of its first minute.
    pub(super) minute: u32,
    /// Whether it is of five minutes, not one.
    pub(super) long: bool,
    /// Probes lost.
    pub(super) lost: u64,
    /// Longest RTT, ns.
    pub(super) max_ns: u64,
    /// Its whole packed form.
    pub(super) raw: &'a [u8],
    entries: &'a [u8],
}

impl<'a> Slot<'a> {
    /// Buckets with their counts, by bucket.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u16, u64)> + use<'a> {
        let (mut rest, mut bucket) = (self.entries, 0);
        std::iter::from_fn(move || {
            bucket = u16::try_from(number(&mut rest)?).ok()?.checked_add(bucket)?;
            Some((bucket, number(&mut rest)?))
        })
    }
}

/// Adds a slot to `out`. `entries` are in the order of their buckets, each bucket once.
pub(super) fn push(
    out: &mut Vec<u8>,
    (minute, long): (u32, bool),
    (lost, max_ns): (u64, u64),
    entries: impl Iterator<Item = (u16, u64)>,
) {
    put(out, u64::from(minute) << 1 | u64::from(long));
    put(out, lost);
    put(out, max_ns);
    let length_at = out.len();
    out.extend([0; 2]);
    let mut before = 0;
    for (bucket, count) in entries {
        put(out, u64::from(bucket - before));
        put(out, count);
        before = bucket;
    }
    // 3776 buckets of at most 2 + 10 bytes.
    let length = (out.len() - length_at - 2) as u16;
    out[length_at..length_at + 2].copy_from_slice(&length.to_le_bytes());
}

/// The slots of `bytes`, in the order in which they were added.
pub(super) fn slots(mut bytes: &[u8]) -> impl Iterator<Item = Slot<'_>> {
    std::iter::from_fn(move || {
        let whole = bytes;
        let head = number(&mut bytes)?;
        let (lost, max_ns) = (number(&mut bytes)?, number(&mut bytes)?);
        let (length, rest) = bytes.split_first_chunk()?;
        let (entries, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        bytes = rest;
        let raw = &whole[..whole.len() - rest.len()];
        Some(Slot { minute: (head >> 1) as u32, long: head & 1 == 1, lost, max_ns, raw, entries })
    })
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes one number from the front; none at the end.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back(
            all in prop::collection::vec(
                (any::<u32>(), any::<bool>(), any::<u64>(), any::<u64>(),
                    prop::collection::btree_map(0..3776u16, any::<u64>(), 0..300)),
                0..20,
            ),
        ) {
            let mut bytes = Vec::new();
            for (minute, long, lost, max, entries) in &all {
                push(&mut bytes, (*minute, *long), (*lost, *max), entries.iter().map(|(b, n)| (*b, *n)));
            }
            let back: Vec<_> = slots(&bytes)
                .map(|s| (s.minute, s.long, s.lost, s.max_ns, s.entries().collect::<BTreeMap<_, _>>()))
                .collect();
            prop_assert_eq!(back, all);
            prop_assert_eq!(slots(&bytes).flat_map(|s| s.raw.to_vec()).collect::<Vec<_>>(), bytes);
        }

        #[test]
        fn nonsense_ends_the_row(bytes: Vec<u8>) {
            slots(&bytes).for_each(|s| s.entries().for_each(drop));
        }
    }
}
