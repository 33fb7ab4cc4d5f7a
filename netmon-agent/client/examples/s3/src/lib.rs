//! What an upload to S3 is made of: parts of a file, and which of the store's errors pass.

use std::{error::Error as StdError, fs::File, io, os::unix::fs::FileExt};

use netmon_client::retry::{Verdict, classify};
use object_store::{
    Error, PutPayload,
    client::{HttpError, HttpErrorKind},
};

/// Bytes of a part. S3 takes no less than 5 MiB, but for the last.
pub const PART: u64 = 8 << 20;

/// A file that is uploaded in parts.
#[derive(Debug)]
pub struct Source {
    file: File,
    /// Bytes.
    pub size: u64,
}

impl Source {
    /// Opens it.
    ///
    /// # Errors
    /// As [`File::open`].
    pub fn open(path: &str) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }

    /// How many parts there are; an empty file is one.
    pub fn parts(&self) -> usize {
        self.size.div_ceil(PART).max(1) as usize
    }

    /// One of them, by its number from 0.
    ///
    /// # Errors
    /// The file's; it may have become shorter.
    pub fn part(&self, number: usize) -> io::Result<PutPayload> {
        let start = number as u64 * PART;
        let mut bytes = vec![0; self.size.saturating_sub(start).min(PART) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Which errors of a store pass. Where it has a variant for what the server said, no other attempt mends it. All others
/// are `Generic`, and tell the rest by what they wrap: netmon's tables know the system's errors, certificates and the
/// codes of the clouds (`SlowDown` …) anywhere among these.
pub fn verdict(error: &Error) -> Verdict {
    let Error::Generic { .. } = error else { return Verdict::Permanent };
    classify::error(error).or_else(|| transport(error)).or_else(|| status(&error.to_string()))
}

/// What became of a request that had no answer. A part that is sent twice is one part, so it may have arrived.
fn transport(error: &(dyn StdError + 'static)) -> Verdict {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Connect
                | HttpErrorKind::Request
                | HttpErrorKind::Timeout
                | HttpErrorKind::Interrupted => Verdict::RETRYABLE,
                _ => Verdict::Unknown,
            };
        }
        next = error.source();
    }
    Verdict::Unknown
}

/// The status of an answer. It stands in the words alone: the type that has it as a number is the library's own.
fn status(words: &str) -> Verdict {
    let after = words.split("status code: ").nth(1).unwrap_or_default();
    let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().map_or(Verdict::Unknown, classify::http_status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(source: impl StdError + Send + Sync + 'static) -> Error {
        Error::Generic { store: "S3", source: Box::new(source) }
    }

    fn said(words: &str) -> Error {
        generic(io::Error::other(words.to_owned()))
    }

    #[test]
    fn what_the_network_does_passes_and_what_the_server_refuses_does_not() {
        let http = |kind| generic(HttpError::new(kind, io::Error::other("lost")));
        for kind in [HttpErrorKind::Connect, HttpErrorKind::Timeout, HttpErrorKind::Interrupted] {
            assert_eq!(verdict(&http(kind)), Verdict::RETRYABLE, "{kind:?}");
        }
        assert_eq!(verdict(&http(HttpErrorKind::Decode)), Verdict::Unknown);
        let refused =
            HttpError::new(HttpErrorKind::Connect, io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(verdict(&generic(refused)), Verdict::RETRYABLE);
        let certificate = io::Error::other("invalid peer certificate: Expired");
        assert_eq!(
            verdict(&generic(HttpError::new(HttpErrorKind::Connect, certificate))),
            Verdict::Permanent
        );
        let source = Box::new(io::Error::other("503"));
        assert_eq!(verdict(&Error::PermissionDenied { path: "k".into(), source }), Verdict::Permanent);
    }

    #[test]
    fn an_answer_is_judged_by_its_code_and_its_status() {
        let answer = |status: &str, body: &str| {
            said(&format!("Server returned non-2xx status code: {status}: {body}"))
        };
        assert_eq!(verdict(&answer("503 Service Unavailable", "")), Verdict::RETRYABLE);
        assert_eq!(verdict(&answer("400 Bad Request", "<Code>RequestTimeout</Code>")), Verdict::RETRYABLE);
        assert_eq!(verdict(&answer("400 Bad Request", "<Code>EntityTooSmall</Code>")), Verdict::Permanent);
        assert_eq!(verdict(&said("no idea")), Verdict::Unknown);
    }
}
