//! The last days by the ledger. Reading them takes a disk and some milliseconds, so what was read is shown for a while, and
//! never does a page wait for it: the state now comes first.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, ToSpan, Zoned, civil::Date, tz::TimeZone};
use netmon_client::wire::{History, Outage};
use tokio::{sync::Semaphore, time::timeout};

use super::{super::App, pick::rank};
use crate::{
    health::{State, Subject},
    history::{self, Clocks, Question, StoreError, Stretch, Whose},
    time::{Mono, Wall},
};

/// Days that are shown, today the last.
const DAYS: i64 = 7;
/// Outages of the whole network that are listed, and of single devices and targets.
const OUTAGES: (usize, usize) = (10, 15);
/// Rows that are read for a page. More would take tenths of a second; then it is one day, or none.
const ROWS: u64 = 20_000;
/// What was read is shown for so long at least, and for so many times what the reading took.
const KEPT: (Duration, u32) = (Duration::from_secs(5), 50);
/// What the first page waits for it.
const PATIENCE: Duration = Duration::from_millis(200);
/// Pieces that a day is drawn in.
pub(super) const CELLS: usize = 288;

/// A day in pieces of five minutes: the worst that was seen in each, none where nobody looked.
pub(super) type Cells = [Option<State>; CELLS];

/// What is known of the last days.
#[derive(Debug)]
pub(super) enum Past {
    /// This.
    Known(Box<Known>),
    /// Nothing, and why.
    No(String),
}

/// What the ledger tells.
#[derive(Debug)]
pub(super) struct Known {
    /// How many days.
    pub(super) days: i64,
    /// The figures of the whole network.
    pub(super) network: History,
    /// Its outages, and those of single devices and targets, the latest first.
    pub(super) outages: Vec<Outage>,
    /// How many more there were.
    pub(super) omitted: u64,
    /// What was seen of each day, by date.
    pub(super) cells: BTreeMap<String, Box<Cells>>,
}

/// What was read last.
#[derive(Debug)]
pub(in super::super) struct Cache {
    held: Mutex<Option<Held>>,
    reading: Arc<Semaphore>,
}

#[derive(Debug)]
struct Held {
    at: Mono,
    took: Duration,
    past: Arc<Past>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { held: Mutex::default(), reading: Arc::new(Semaphore::new(1)) }
    }
}

impl Cache {
    fn held(&self) -> (Option<Arc<Past>>, bool) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = |h: &Held| Mono::now().since(h.at) < KEPT.0.max(h.took * KEPT.1);
        (held.as_ref().map(|h| Arc::clone(&h.past)), held.as_ref().is_some_and(kept))
    }
}

/// What is known of the last days, as of some seconds ago; none while it is read for the first time.
pub(super) async fn past(app: &Arc<App>) -> Option<Arc<Past>> {
    let (held, fresh) = app.past.held();
    if fresh {
        return held;
    }
    let Ok(only) = Arc::clone(&app.past.reading).try_acquire_owned() else { return held };
    let reader = Arc::clone(app);
    let reading = tokio::spawn(async move {
        let _only = only;
        // Never closed, so this waits and does not fail.
        let permit = Arc::clone(&reader.histories).acquire_owned().await;
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let at = Mono::now();
            let past = Arc::new(read(&reader));
            let held = Held { at, took: Mono::now().since(at), past };
            *reader.past.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(held);
        });
        let _ = read.await;
    });
    if held.is_some() {
        return held;
    }
    let _ = timeout(PATIENCE, reading).await;
    app.past.held().0
}

fn read(app: &App) -> Past {
    let Some(ledger) = &app.ledger else {
        return Past::No("No history is kept: it is off in the configuration.".to_owned());
    };
    let reader = ledger.reader.clone().of_rows(ROWS);
    let (now, zone) = (Wall::now(), TimeZone::system());
    for days in [DAYS, 1] {
        let Some(from) = midnight(now, days - 1, &zone) else { continue };
        match reader.load_by(from, &Clocks::now()) {
            Ok(mut records) => {
                let seen = app.board.last_evaluated();
                let live = ledger.live.run().filter(|run| records.keep_alive(*run, seen));
                let window = Stretch { from, to: now };
                let about = |subject, limit| {
                    let question = Question { window, subject, limit, zone: zone.clone() };
                    history::answer(&records, &question, live)
                };
                let network = about(Some(Whose::Exactly(Subject::Network)), OUTAGES.0);
                let all = about(None, OUTAGES.0 + OUTAGES.1);
                let cells = cells(&history::seen(&records, window), &zone);
                return Past::Known(Box::new(known(days, network, all, cells)));
            }
            Err(StoreError::TooMuch(_)) => {}
            Err(StoreError::Missing(_)) => return Past::No("No history is kept here.".to_owned()),
            Err(error) => return Past::No(format!("The history can’t be read: {error}.")),
        }
    }
    Past::No("There is more history than fits a page: see netmon history.".to_owned())
}

fn known(days: i64, network: History, all: History, cells: BTreeMap<String, Box<Cells>>) -> Known {
    let total = all.outages.len() as u64 + all.omitted;
    let single = all.outages.into_iter().rev().filter(|o| o.kind != Subject::Network.kind()).take(OUTAGES.1);
    let mut outages: Vec<Outage> = network.outages.iter().cloned().chain(single).collect();
    // Of equal begins that of the network, which came first, explains the others.
    outages.sort_by(|a, b| b.start.cmp(&a.start));
    Known { days, omitted: total.saturating_sub(outages.len() as u64), network, outages, cells }
}

/// The begin of the day so many days before.
fn midnight(now: Wall, days: i64, zone: &TimeZone) -> Option<Wall> {
    let day = zoned(now, zone)?.date().checked_sub(days.days()).ok()?;
    let begin = day.to_zoned(zone.clone()).ok()?.timestamp().as_nanosecond();
    u64::try_from(begin).ok().map(Wall::from_nanos)
}

fn zoned(at: Wall, zone: &TimeZone) -> Option<Zoned> {
    Some(Zoned::new(Timestamp::from_nanosecond(i128::from(at.as_nanos())).ok()?, zone.clone()))
}

/// Stretches in pieces of days: however often it came and went, a day is no more to draw than this.
fn cells(seen: &[(Stretch, State)], zone: &TimeZone) -> BTreeMap<String, Box<Cells>> {
    const CELL: u64 = 86_400 * 1_000_000_000 / CELLS as u64;
    let mut days: BTreeMap<Date, Box<Cells>> = BTreeMap::new();
    for (stretch, state) in seen {
        // Zones are apart by whole quarters of an hour.
        let mut at = stretch.from.as_nanos() / CELL * CELL;
        while at < stretch.to.as_nanos() {
            if let Some(here) = zoned(Wall::from_nanos(at), zone) {
                let minute =
                    usize::from(here.hour().unsigned_abs()) * 60 + usize::from(here.minute().unsigned_abs());
                let day = days.entry(here.date()).or_insert_with(|| Box::new([None; CELLS]));
                let cell = &mut day[(minute * CELLS / 1440).min(CELLS - 1)];
                if cell.is_none_or(|known| rank(*state) < rank(known)) {
                    *cell = Some(*state);
                }
            }
            at += CELL;
        }
    }
    days.into_iter().map(|(date, cells)| (date.to_string(), cells)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600 * 1_000_000_000;

    fn stretch(from: u64, to: u64) -> Stretch {
        Stretch { from: Wall::from_nanos(from), to: Wall::from_nanos(to) }
    }

    #[test]
    fn of_each_piece_of_a_day_the_worst_is_kept() {
        let second = 1_000_000_000;
        let seen = [
            (stretch(0, HOUR), State::Up),
            (stretch(HOUR, HOUR + second), State::Down),
            (stretch(HOUR + second, 2 * HOUR), State::Up),
            (stretch(23 * HOUR, 25 * HOUR), State::Degraded),
        ];
        let days = cells(&seen, &TimeZone::UTC);
        assert_eq!(days.keys().collect::<Vec<_>>(), ["1970-01-01", "1970-01-02"]);
        let of = |day: &str, state| days[day].iter().filter(|cell| **cell == Some(state)).count();
        assert_eq!(of("1970-01-01", State::Down), 1, "a second of it shows");
        assert_eq!((of("1970-01-01", State::Up), of("1970-01-01", State::Degraded)), (23, 12));
        assert_eq!(of("1970-01-02", State::Degraded), 12);
        // What nobody saw is none of them.
        assert_eq!(days["1970-01-01"].iter().flatten().count(), 36);
        let there = TimeZone::fixed(jiff::tz::offset(-1));
        assert_eq!(cells(&seen[..1], &there)["1969-12-31"][CELLS - 12..], [Some(State::Up); 12]);
    }

    #[test]
    fn a_week_begins_at_midnight() {
        let at = |text: &str| Wall::from_nanos(text.parse::<Timestamp>().unwrap().as_nanosecond() as u64);
        let from = midnight(at("2026-03-10T15:00:00Z"), 6, &TimeZone::UTC);
        assert_eq!(from, Some(at("2026-03-04T00:00:00Z")));
    }
}
