//! Which row is selected, and which rows are in sight.

/// A selection in a list whose rows come, go and change places. It stays with what was selected, not with the place.
#[derive(Clone, Debug)]
pub(super) struct Cursor<K> {
    at: usize,
    offset: usize,
    /// What was selected by hand; none: the first row, whatever stands there.
    anchor: Option<K>,
}

impl<K> Default for Cursor<K> {
    fn default() -> Self {
        Self { at: 0, offset: 0, anchor: None }
    }
}

impl<K> Cursor<K> {
    /// Number of the selected row; of no meaning where there is none.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The rows have changed: finds what was selected again among the `rows` there are; where it is gone, its place.
    pub(super) fn settle(&mut self, rows: usize, find: impl FnOnce(&K) -> Option<usize>) {
        self.at = match &self.anchor {
            Some(key) => find(key).unwrap_or(self.at),
            None => 0,
        };
        self.at = self.at.min(rows.saturating_sub(1));
    }

    /// Moves by so many rows, to an end at most. `key` names what stands in a row.
    pub(super) fn by(&mut self, steps: isize, rows: usize, key: impl FnOnce(usize) -> Option<K>) {
        self.to(self.at.saturating_add_signed(steps), rows, key);
    }

    /// Moves to a row, or to the last. On the first of all it stays there.
    pub(super) fn to(&mut self, row: usize, rows: usize, key: impl FnOnce(usize) -> Option<K>) {
        self.at = row.min(rows.saturating_sub(1));
        self.anchor = if self.at == 0 { None } else { key(self.at) };
    }

    /// The first row in sight where there is room for `height` of `rows`: as few rows away from the last one as keep the
    /// selected one in sight.
    pub(super) fn offset(&self, rows: usize, height: usize) -> usize {
        let lowest = (self.at + 1).saturating_sub(height);
        self.offset.min(rows.saturating_sub(height)).clamp(lowest, self.at.max(lowest))
    }

    /// Keeps the first row in sight for the next time.
    pub(super) fn scroll(&mut self, rows: usize, height: usize) {
        self.offset = self.offset(rows, height);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn find(rows: &[char]) -> impl Fn(&char) -> Option<usize> {
        |key| rows.iter().position(|row| row == key)
    }

    #[test]
    fn it_stays_with_what_was_selected() {
        let mut cursor = Cursor::default();
        let rows = ['a', 'b', 'c', 'd'];
        cursor.by(2, 4, |i| rows.get(i).copied());
        cursor.settle(4, find(&['c', 'd', 'a', 'b']));
        assert_eq!(cursor.at(), 0);
        cursor.settle(3, find(&['a', 'b', 'c']));
        assert_eq!(cursor.at(), 2);
        cursor.settle(2, find(&['a', 'b']));
        assert_eq!(cursor.at(), 1, "what was selected is gone");
        cursor.settle(0, find(&[]));
        assert_eq!(cursor.at(), 0);
    }

    #[test]
    fn the_first_row_is_a_place() {
        let mut cursor = Cursor::default();
        cursor.by(1, 2, |i| Some(['a', 'b'][i]));
        cursor.by(-1, 2, |i| Some(['a', 'b'][i]));
        cursor.settle(2, find(&['b', 'a']));
        assert_eq!(cursor.at(), 0);
    }

    proptest! {
        #[test]
        fn the_selected_row_is_in_sight(moves in prop::collection::vec((-30_isize..30, 0_usize..40, 0_usize..20), 1..40)) {
            let mut cursor = Cursor::default();
            for (steps, rows, height) in moves {
                cursor.settle(rows, |row| (*row < rows).then_some(*row));
                cursor.by(steps, rows, Some);
                cursor.scroll(rows, height);
                let first = cursor.offset(rows, height);
                prop_assert!(rows == 0 || cursor.at() < rows);
                prop_assert!(height == 0 || (first..first + height).contains(&cursor.at()));
                prop_assert!(height == 0 || first + height <= rows.max(height), "no empty rows below");
            }
        }
    }
}
