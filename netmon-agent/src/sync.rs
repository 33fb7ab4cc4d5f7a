//! What threads share state by: the standard library's. The models in `tests/races` build the files that take it from here
//! on loom's and shuttle's instead, and play every order of their threads' steps.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic, mpsc};
