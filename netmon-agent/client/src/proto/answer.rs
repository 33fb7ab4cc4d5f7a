//! An answer that is read whole, and what it means.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::exchange::{Body, Exchange, Head};
use crate::{Error, wire::ApiError};

/// Largest body that is read whole, bytes: a status with thousands of targets stays below.
const MAX_BODY: usize = 64 << 20;

/// A question whose answer is read whole.
#[derive(Debug, Default)]
pub(crate) struct Call {
    pub(crate) exchange: Exchange,
    head: Option<Head>,
    body: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    head: Head,
    body: Vec<u8>,
}

impl Call {
    /// A call whose header came already.
    pub(super) fn with_head(exchange: Exchange, head: Head) -> Self {
        Self { exchange, head: Some(head), body: Vec::new() }
    }

    /// The answer, once it is whole; then the call is over. None: the connection has to be read on.
    pub(crate) fn reply(&mut self) -> Result<Option<Reply>, Error> {
        if self.head.is_none() {
            self.head = self.exchange.head()?;
        }
        if self.head.is_none() || self.exchange.body(&mut self.body)? == Body::Open {
            return match self.body.len() {
                0..=MAX_BODY => Ok(None),
                _ => Err(Error::Protocol(format!("its body is over {MAX_BODY} bytes"))),
            };
        }
        Ok(self.head.take().map(|head| Reply { head, body: std::mem::take(&mut self.body) }))
    }
}

impl Reply {
    /// What a success says; otherwise what is wrong.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        self.json_of(&[200])
    }

    /// The same where these statuses are successes.
    pub(crate) fn json_of<T: DeserializeOwned>(self, successes: &[u16]) -> Result<T, Error> {
        if !successes.contains(&self.head.status) {
            return Err(self.refusal());
        }
        serde_json::from_slice(&self.body).map_err(|e| Error::Protocol(e.to_string()))
    }

    /// That it is a success, whatever it says; otherwise what is wrong.
    pub(crate) fn done(self) -> Result<(), Error> {
        if self.head.status == 200 { Ok(()) } else { Err(self.refusal()) }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn parts(self) -> (u16, Vec<u8>) {
        (self.head.status, self.body)
    }

    /// What an answer that is no success says.
    pub(super) fn refusal(self) -> Error {
        let status = self.head.status;
        let retry_after = self.head.header("retry-after").and_then(|s| s.parse().ok()).unwrap_or(1);
        let message = serde_json::from_slice::<ApiError>(&self.body)
            .map_or_else(|_| format!("HTTP status {status}"), |e| e.error);
        match status {
            400 => Error::BadRequest(message),
            404 => Error::NotFound(message),
            403 | 409 => Error::Refused(message),
            429 | 503 => Error::Busy { retry_after: Duration::from_secs(retry_after), message },
            _ => Error::Protocol(message),
        }
    }
}
