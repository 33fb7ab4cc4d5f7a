//! Where what stands on the screen.

use ratatui::layout::Rect;

/// A pane that can be walked through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// The devices.
    Devices,
    /// The targets.
    #[default]
    Targets,
    /// The last changes.
    Events,
}

impl Pane {
    /// All, from top to bottom.
    pub(super) const ALL: [Self; 3] = [Self::Devices, Self::Targets, Self::Events];

    /// The one below; below the last is the first.
    pub(super) fn next(self) -> Self {
        Self::ALL[(self as usize + 1) % 3]
    }

    /// The one above.
    pub(super) fn previous(self) -> Self {
        Self::ALL[(self as usize + 2) % 3]
    }
}

/// How many lines each part would fill.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// The state with its reasons.
    pub(super) header: usize,
    /// Rows of the panes, in their order, without their titles.
    pub(super) rows: [usize; 3],
}

/// The parts of the screen. None of them is outside it; one without room has no height.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The state with its reasons.
    pub(super) header: Rect,
    /// Title and rows of each pane.
    pub(super) panes: [Rect; 3],
    /// Words on what is selected.
    pub(super) words: Rect,
    /// Keys, or what is typed.
    pub(super) footer: Rect,
}

impl Parts {
    /// Rows of a pane, without its title.
    pub(super) fn rows(&self, pane: Pane) -> usize {
        usize::from(self.panes[pane as usize].height.saturating_sub(1))
    }
}

/// Lines that a pane needs to be of use: its title, and a row with another to tell that there are more.
const LEAST: u16 = 3;

/// Divides the screen.
pub(super) fn parts(area: Rect, wanted: Wanted, focus: Pane) -> Parts {
    let height = area.height;
    let footer = u16::from(height >= 3);
    let header = lines(wanted.header).clamp(1, 4).min(1 + height / 6).min(height);
    let words = match height {
        0..8 => 0,
        8..16 => 1,
        _ => 2,
    };
    let room = height.saturating_sub(header + footer + words);
    let shares = if room < 3 * LEAST {
        let mut shares = [0; 3];
        shares[focus as usize] = room;
        shares
    } else {
        shared(room, wanted.rows.map(|rows| lines(rows).saturating_add(1).max(2)), focus)
    };
    let mut y = area.y;
    let mut next = |height: u16| {
        let part = Rect { y, height, ..area };
        y += height;
        part
    };
    let header = next(header);
    let panes = shares.map(&mut next);
    Parts { header, panes, words: next(words), footer: next(footer) }
}

/// A quarter for each, as far as it is wanted; the rest to the one in use, then to the targets.
fn shared(room: u16, wanted: [u16; 3], focus: Pane) -> [u16; 3] {
    let mut shares = wanted.map(|lines| lines.min((room / 4).max(LEAST)));
    let mut left = room.saturating_sub(shares.iter().sum());
    for pane in [focus, Pane::Targets, Pane::Events, Pane::Devices] {
        let more = (wanted[pane as usize] - shares[pane as usize]).min(left);
        shares[pane as usize] += more;
        left -= more;
    }
    shares[Pane::Events as usize] += left;
    shares
}

fn lines(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_usual_screen_has_room_for_all() {
        let wanted = Wanted { header: 2, rows: [2, 5, 3] };
        let parts = parts(Rect::new(0, 0, 80, 24), wanted, Pane::Targets);
        assert_eq!(parts.panes.map(|pane| pane.height), [3, 6, 10]);
        assert_eq!((parts.header.height, parts.words.height, parts.footer.y), (2, 2, 23));
        let many = Wanted { header: 2, rows: [2, 10_000, 300] };
        let of = |focus| super::parts(Rect::new(0, 0, 80, 24), many, focus).panes.map(|pane| pane.height);
        assert_eq!(of(Pane::Targets), [3, 12, 4]);
        assert_eq!(of(Pane::Events), [3, 4, 12]);
        assert_eq!(of(Pane::Devices), [3, 12, 4]);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_screen(
            (width, height) in (0_u16..300, 0_u16..120),
            header in 0_usize..20,
            rows in prop::array::uniform3(0_usize..20_000),
            focus in prop::sample::select(Pane::ALL.to_vec()),
        ) {
            let area = Rect::new(0, 0, width, height);
            let parts = parts(area, Wanted { header, rows }, focus);
            let [a, b, c] = parts.panes;
            let mut y = 0;
            for part in [parts.header, a, b, c, parts.words, parts.footer] {
                prop_assert_eq!((part.y, part.width), (y, width));
                y += part.height;
            }
            prop_assert_eq!(y, height);
            prop_assert!(height < 5 || parts.rows(focus) > 0, "what is in use has a row");
        }
    }
}
