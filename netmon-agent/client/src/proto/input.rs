//! Bytes that came and are not used yet.

#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    used: usize,
}

impl Input {
    /// Where more is appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.used);
        self.used = 0;
        &mut self.bytes
    }

    /// What is not used yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Marks so many as used.
    pub(crate) fn skip(&mut self, count: usize) {
        self.used = (self.used + count).min(self.bytes.len());
    }

    /// The next line with its end; none when it isn't whole.
    pub(crate) fn line(&mut self) -> Option<&[u8]> {
        let start = self.used;
        let length = self.rest().iter().position(|&b| b == b'\n')? + 1;
        self.used += length;
        Some(&self.bytes[start..self.used])
    }
}
