//! What the board stands on, as little of it as it looks at.

/// A published state.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Number of the last change in it.
    pub seq: u64,
    /// When it was made.
    pub at: Moment,
}

/// A change.
#[derive(Debug)]
pub struct ChangeEvent {
    /// Its number.
    pub seq: u64,
}

/// A time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// By the one clock there is.
    pub boot: time::Boot,
}

pub mod observation {
    pub fn escape_bytes(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }
}

pub mod time {
    use std::time::Duration;

    /// A time of the model's.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Boot(u64);

    /// By the wall, where it is not looked at.
    #[derive(Clone, Copy, Debug)]
    pub struct Wall;

    impl Wall {
        pub fn now() -> Self {
            Self
        }
    }

    impl Boot {
        pub fn now() -> Self {
            Self(1)
        }

        pub fn from_nanos(ns: u64) -> Self {
            Self(ns)
        }

        pub fn as_nanos(self) -> u64 {
            self.0
        }

        pub fn since(self, earlier: Self) -> Duration {
            Duration::from_nanos(self.0.saturating_sub(earlier.0))
        }
    }
}
