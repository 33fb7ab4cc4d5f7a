//! Where evidence comes from. A source turns the outside world into observations and decides nothing.

pub mod probe;
