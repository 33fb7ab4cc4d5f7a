//! The targets, by who is on the other side.

pub mod agent;
pub mod asked;
pub mod config;
pub mod found;
pub mod http;
pub mod kernel;
pub mod names;
pub mod probes;
pub mod road;
pub mod text;
pub mod web;

use arbitrary::{Arbitrary, Unstructured};

/// What begins an input that is taken as it stands.
const RAW: u8 = b'=';

/// The input as it stands, or what it means as choices.
enum Input<'a, T> {
    Raw(&'a [u8]),
    Made(T),
}

fn input<'a, T: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<Input<'a, T>> {
    match bytes.split_first() {
        Some((&RAW, rest)) => Some(Input::Raw(rest)),
        _ => T::arbitrary_take_rest(Unstructured::new(bytes)).ok().map(Input::Made),
    }
}

/// The parts of an input between NUL bytes, as many as there are to be; those that are missing are empty.
fn parts<const N: usize>(bytes: &[u8]) -> [&[u8]; N] {
    let mut pieces = bytes.splitn(N, |byte| *byte == 0);
    std::array::from_fn(|_| pieces.next().unwrap_or_default())
}

/// The same as text.
fn texts<const N: usize>(bytes: &[u8]) -> [String; N] {
    parts::<N>(bytes).map(|part| String::from_utf8_lossy(part).into_owned())
}
