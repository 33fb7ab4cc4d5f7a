//! What an agent, or whoever is in its place, answers the client.

use super::parts;

/// The lengths in which it comes, a NUL, and the answer.
pub fn answer(bytes: &[u8]) {
    let [lengths, answer] = parts(bytes);
    netmon_client::fuzzing::answer(answer, lengths);
}

/// Likewise a stream of events.
pub fn events(bytes: &[u8]) {
    let [lengths, stream] = parts(bytes);
    netmon_client::fuzzing::events(stream, lengths);
}
