//! States as a shape with a word: never by their colour alone.

use maud::{Markup, PreEscaped, html};
use netmon_client::wire::ConnectionState;

use crate::health::State;

/// A disc with a tick, a triangle, a square with a cross, a ring with a question mark.
const SHAPES: [(State, &str); 4] = [
    (
        State::Unknown,
        "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.5a5.5 5.5 0 1 1 0 11 5.5 5.5 0 0 1 0-11ZM5.5 6.4C5.5 4.9 6.6 4 8 4s2.5.9 \
         2.5 2.2c0 1.7-1.7 1.9-1.7 3.4H7.2c0-2.1 1.7-2.4 1.7-3.4 0-.5-.4-.8-.9-.8s-.9.3-.9 1zM7.1 10.4h1.8v1.7H7.1z",
    ),
    (State::Up, "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1ZM6.8 11.3 3.6 8.1l1.2-1.2 2 2 4.4-4.4 1.2 1.2z"),
    (State::Degraded, "M8 1 15.6 14.5H.4zM7.1 5.8h1.8v4.4H7.1zM7.1 11.1h1.8v1.7H7.1z"),
    (
        State::Down,
        "M3 1.5h10L14.5 3v10L13 14.5H3L1.5 13V3zM4.7 6 6 4.7l2 2 2-2L11.3 6l-2 2 2 2-1.3 1.3-2-2-2 2L4.7 10l2-2z",
    ),
];

/// The shapes, to be drawn elsewhere on the page.
pub(super) fn shapes() -> Markup {
    html! {
        svg.none width="0" height="0" aria-hidden="true" focusable="false" {
            @for (state, path) in SHAPES {
                symbol id={ "m-" (state) } viewBox="0 0 16 16" { path fill-rule="evenodd" d=(path) {} }
            }
        }
    }
}

/// The shape of a state alone, for who has the word beside it.
pub(super) fn shape(state: State) -> Markup {
    html! { svg.mark aria-hidden="true" focusable="false" { use href={ "#m-" (state) } {} } }
}

/// A state: its shape and its word.
pub(super) fn state(state: State) -> Markup {
    html! { b.{ "state " (state) } { (shape(state)) (state) } }
}

/// The state of a connection that a program reports.
pub(super) fn connection(state: ConnectionState) -> Markup {
    let like = match state {
        ConnectionState::Connected => State::Up,
        ConnectionState::Connecting => State::Degraded,
        ConnectionState::Error => State::Down,
        ConnectionState::Disconnected | ConnectionState::Stopped => State::Unknown,
    };
    html! { b.{ "state " (like) } { (shape(like)) (state) } }
}

/// The icon of the page, as an address.
pub(super) fn icon(state: State) -> String {
    let colour = match state {
        State::Unknown => "6b7280",
        State::Up => "1a8a3a",
        State::Degraded => "d08700",
        State::Down => "d0342c",
    };
    let path = SHAPES[state as usize].1;
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'><path fill='%23{colour}' fill-rule='evenodd' \
         d='{path}'/></svg>"
    );
    format!("data:image/svg+xml,{svg}")
}

/// Text for those who do not see.
pub(super) fn unseen(text: &str) -> Markup {
    html! { span.unseen { (text) } }
}

/// What stands where there is nothing to be told.
pub(super) fn nothing() -> Markup {
    html! { (PreEscaped("<span class=\"dim\" aria-hidden=\"true\">–</span>")) (unseen("none")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_stand_in_the_order_of_the_states() {
        assert_eq!(SHAPES.map(|(state, _)| state), State::ALL);
        for one in State::ALL {
            assert!(
                state(one).into_string().contains(&format!("</svg>{one}</b>")),
                "a word beside the shape"
            );
            assert!(shapes().into_string().contains(&format!("id=\"m-{one}\"")));
            assert!(!icon(one).contains(['"', '#', '\n']));
        }
    }
}
