//! The state of the whole, its reasons, and how it is with the agent.

use netmon_client::wire::Reason;
use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::paint::{Pen, Theme, age};
use crate::cli::{
    text::{place, reasons},
    top::{
        model::Model,
        store::{Reach, Store},
    },
};

/// Lines that it would fill.
pub(in crate::cli::top) fn lines(store: &Store) -> usize {
    let why = match store.reach {
        Reach::There => store.status.reasons.len() + usize::from(store.status.diagnosis.is_some()),
        Reach::Away { .. } => 2,
    };
    1 + why
}

/// Draws it.
pub(super) fn draw(model: &Model, theme: &Theme, now: u64, area: Rect, buffer: &mut Buffer) {
    let store = model.store();
    if let Some(mut pen) = Pen::new(buffer, area, 0) {
        first(store, theme, now, &mut pen);
    }
    let mut why: Vec<String> = match &store.reach {
        Reach::There => {
            store.status.reasons.iter().map(|r| reasons(std::slice::from_ref::<Reason>(r))).collect()
        }
        Reach::Away { why, .. } => vec![
            format!("no word from the agent: {why}; connecting again"),
            format!("what follows is as it was; the network was {}", store.status.state.as_str()),
        ],
    };
    if let (Reach::There, Some(diagnosis)) = (&store.reach, &store.status.diagnosis) {
        why.push(format!("where: {}", place(diagnosis)));
    }
    let room = usize::from(area.height.saturating_sub(1));
    for (i, (y, line)) in (1..area.height).zip(&why).enumerate() {
        let Some(mut pen) = Pen::new(buffer, area, y) else { return };
        let more = why.len() - i - 1;
        if i + 1 == room && more > 0 {
            pen.at_the_right(&format!(" +{more} more"), theme.dim());
        }
        let width = pen.left();
        pen.cell(&format!("  {line}"), width, Style::new());
    }
}

fn first(store: &Store, theme: &Theme, now: u64, pen: &mut Pen<'_>) {
    let status = &store.status;
    let since = match &store.reach {
        Reach::There => status.since_boottime_ns,
        Reach::Away { since, .. } => *since,
    };
    let started = status.boottime_ns.saturating_sub((status.agent.uptime_seconds * 1e9) as u64);
    let agent = match &store.reach {
        Reach::There => format!("agent {}, up {}", status.agent.version, age(started, now)),
        Reach::Away { since, .. } => format!("no agent for {}", age(*since, now)),
    };
    let state = store.state();
    let title = if theme.host.is_empty() { "netmon".to_owned() } else { format!("netmon on {}", theme.host) };
    // The state is what nobody should have to do without.
    let needed = state.as_str().len() + age(since, now).len() + 5;
    if pen.left() > needed + title.chars().count() + 2 {
        pen.text(&format!("{title}  "), theme.title(false));
    }
    if pen.left() > needed + agent.chars().count() + 2 {
        let style =
            if store.reach == Reach::There { theme.dim() } else { theme.state(netmon_client::State::Down) };
        pen.at_the_right(&agent, style);
    }
    pen.text(state.as_str(), theme.state(state));
    pen.text(&format!(" for {}", age(since, now)), Style::new());
}
