//! What the files stand on, as little of it as they look at.

pub mod health {
    pub use netmon_client::State;
}

pub mod state {
    use crate::time::Boot;

    /// A published state.
    #[derive(Debug, Default)]
    pub struct Snapshot {
        /// Its number.
        pub seq: u64,
        /// When it was made.
        pub at: Moment,
        /// Whether what is waited for is so.
        pub holds: bool,
    }

    /// A time.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Moment {
        /// By the one clock there is.
        pub boot: Boot,
    }
}

pub mod time {
    use std::ops::Add;
    use std::time::Duration;

    /// A time of the model's, which stands still.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Boot(u64);

    impl Add<Duration> for Boot {
        type Output = Self;

        fn add(self, later: Duration) -> Self {
            Self(self.0 + later.as_nanos() as u64)
        }
    }
}
