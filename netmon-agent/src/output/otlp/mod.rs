//! Metrics pushed by OTLP over HTTP: the same families that `/metrics` has, to an OpenTelemetry collector or to whatever
//! else takes them. Only in a build with the cargo feature `otlp`, and only where it is configured.
//!
//! A thread of its own renders a snapshot into batches and sends one after the other. What could not be sent by the time
//! of the next export is dropped and counted: the next one has the same counters, grown.
//!
//! | file | what |
//! |---|---|
//! | `settings` | what is configured, in every build |
//! | `encode` | families as messages, in batches |
//! | `starts` | since when what is counted has been (pure) |
//! | `resource` | who sends |
//! | `answer` | what an answer means (pure) |
//! | `export` | one export: request after request, again where that may help |
//! | `service` | the thread |

#[cfg(any(feature = "otlp", test))]
mod answer;
#[cfg(any(feature = "otlp", test))]
mod encode;
#[cfg(any(feature = "otlp", test))]
mod export;
#[cfg(any(feature = "otlp", test))]
mod resource;
#[cfg(any(feature = "otlp", test))]
mod service;
mod settings;
#[cfg(any(feature = "otlp", test))]
mod starts;

#[cfg(any(feature = "otlp", test))]
pub use self::service::Service;
pub use self::settings::{BUILT, Settings};

#[cfg(test)]
mod tests;
