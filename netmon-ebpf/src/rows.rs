//! Tables: rows in memory that the programs and the agent share, so that reading takes neither a system call nor a privilege.
//!
//! A table is four maps. The *index* finds the number of a key's row, the *rows* lie in an array that user space maps, the
//! *free* ones on a stack, and the *book* says how far rows have been handed out and which of them the agent gives back.
//! Programs alone write the index: whoever's insertion it takes has the row, whoever's removal it takes frees it.

/// What a row is. Words, and no enum, for two sides change them.
pub mod state {
    /// Never handed out.
    pub const FRESH: u32 = 0;
    /// A key's.
    pub const USED: u32 = 1;
    /// The agent has read it out and left zeroes. Like [`RETIRED`] ones, it is [`USED`] again with the next event of its key.
    pub const LEAVING: u32 = 2;
    /// No program is at it any more: it may be freed.
    pub const RETIRED: u32 = 3;
    /// Handed back.
    pub const FREE: u32 = 4;
}

/// A row of a table.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Row<K, V> {
    /// One of [`state`].
    pub state: u32,
    /// Whose it is.
    pub key: K,
    /// What is counted.
    pub value: Aligned<V>,
}

/// A value of whole words of 64 bits, which is how the agent reads all of them.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Aligned<V>(pub V);

/// What both sides know of a table with up to `N` rows, a power of two.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Book<const N: usize> {
    /// Rows that were ever handed out: those beyond are [`state::FRESH`]. Only programs write it.
    pub high: u32,
    /// Rows that the agent has given back. Only the agent writes it.
    pub head: u32,
    /// Of these, how many the programs have looked at. Only programs write it.
    pub tail: u32,
    _unused: u32,
    /// Numbers of rows given back: `head` and `tail` modulo `N` are places in it.
    pub retired: [u32; N],
}
