use std::{error::Error, io, sync::Arc};

use super::{Verdict, errno, find_cloud_code, io_kind, text};
use crate::retry::Marked;

/// Errors that wrap one another are followed so far: no honest chain is longer.
const DEPTH: usize = 32;

/// What an error is, or the nearest that it wraps and that is known: a mark ([`Marked`]) anywhere among them before all
/// else, then a certificate that is not accepted, then the tables of this module, and a cloud's code in the words of any of
/// them ([`find_cloud_code`]) at last.
///
/// ```
/// use std::io;
/// use netmon_client::retry::{Verdict, classify, permanent};
///
/// let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
/// assert_eq!(classify::error(&refused), Verdict::RETRYABLE);
/// assert_eq!(classify::error(&io::Error::other(permanent(refused))), Verdict::Permanent);
/// ```
///
/// For anyhow, whose `Error` is none: `|error: &anyhow::Error| classify::error(error.as_ref())`.
pub fn error(error: &(dyn Error + 'static)) -> Verdict {
    walk(error, |e| e.downcast_ref::<Marked>().map_or(Verdict::Unknown, Marked::verdict))
        .or_else(|| walk(error, certificate))
        .or_else(|| walk(error, tables))
        .or_else(|| walk(error, cloud))
}

/// [`error`] for boxed errors, which are none themselves: `retryer.classify(classify::boxed)`.
#[expect(clippy::borrowed_box, reason = "the box is the error type of the operation")]
pub fn boxed(failure: &Box<dyn Error + Send + Sync>) -> Verdict {
    error(failure.as_ref())
}

/// Asks `judge` about the error and each that it wraps, until there is a verdict.
fn walk(error: &(dyn Error + 'static), judge: impl Fn(&(dyn Error + 'static)) -> Verdict) -> Verdict {
    let mut next = Some(error);
    for _ in 0..DEPTH {
        let Some(error) = next else { break };
        let verdict = judge(error);
        if verdict != Verdict::Unknown {
            return verdict;
        }
        // Of an `io::Error` with an error inside, `source` is that one's source.
        let inside = as_io(error).and_then(io::Error::get_ref).map(|e| e as &(dyn Error + 'static));
        next = inside.or_else(|| error.source());
    }
    Verdict::Unknown
}

fn as_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    error.downcast_ref().or_else(|| error.downcast_ref::<Arc<io::Error>>().map(AsRef::as_ref))
}

fn certificate(error: &(dyn Error + 'static)) -> Verdict {
    let about = text::is_about_a_certificate(&error.to_string());
    if about { Verdict::Permanent } else { Verdict::Unknown }
}

fn cloud(error: &(dyn Error + 'static)) -> Verdict {
    find_cloud_code(&error.to_string()).map_or(Verdict::Unknown, |_| Verdict::RETRYABLE)
}

fn tables(error: &(dyn Error + 'static)) -> Verdict {
    if let Some(error) = error.downcast_ref::<crate::Error>() {
        return match error {
            crate::Error::Busy { retry_after, .. } => Verdict::Retryable { retry_after: Some(*retry_after) },
            error if error.is_transient() => Verdict::RETRYABLE,
            _ => Verdict::Permanent,
        };
    }
    let system = as_io(error).map_or(Verdict::Unknown, |error| match error.raw_os_error() {
        Some(number) => errno(number),
        None => io_kind(error.kind()),
    });
    system.or_else(|| text::text(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, time::Duration};

    use super::*;
    use crate::retry::{permanent, retryable};

    const NEVER: Verdict = Verdict::Permanent;
    const RETRY: Verdict = Verdict::RETRYABLE;

    #[derive(Debug, thiserror::Error)]
    #[error("while uploading")]
    struct Wrapper<E: Error + 'static>(#[source] E);

    fn kind(kind: ErrorKind) -> io::Error {
        kind.into()
    }

    #[test]
    fn what_is_wrapped_is_found() {
        let reset = || kind(ErrorKind::ConnectionReset);
        assert_eq!(error(&Wrapper(Wrapper(reset()))), RETRY);
        assert_eq!(error(&io::Error::other(Wrapper(reset()))), RETRY);
        assert_eq!(error(&io::Error::other(reset())), RETRY);
        assert_eq!(error(&Wrapper(Arc::new(reset()))), RETRY);
        assert_eq!(error(&Wrapper(kind(ErrorKind::NotFound))), NEVER);
        assert_eq!(error(&Wrapper(kind(ErrorKind::InvalidData))), Verdict::Unknown);
        assert_eq!(error(&io::Error::from_raw_os_error(112)), RETRY, "EHOSTDOWN has no kind");
        let any: Box<dyn Error + Send + Sync> = Box::new(Wrapper(reset()));
        assert_eq!(boxed(&any), RETRY);
    }

    #[test]
    fn marks_outrank_all_else() {
        let wrapped = Wrapper(permanent(kind(ErrorKind::ConnectionReset)));
        assert_eq!(error(&wrapped), NEVER);
        let outer = io::Error::new(ErrorKind::TimedOut, permanent("the upload was refused"));
        assert_eq!(error(&outer), NEVER);
        let wish = Duration::from_secs(7);
        let later = io::Error::new(ErrorKind::NotFound, retryable("not yet").after(wish));
        assert_eq!(error(&later), Verdict::Retryable { retry_after: Some(wish) });
        assert_eq!(error(&retryable(permanent("no"))), RETRY, "the outermost");
    }

    #[test]
    fn certificates_outrank_the_error_they_come_in() {
        let words = "error:0A000086:SSL routines::certificate verify failed";
        assert_eq!(error(&io::Error::new(ErrorKind::ConnectionAborted, words)), NEVER);
        let rustls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(error(&io::Error::new(ErrorKind::InvalidData, rustls)), NEVER);
        let slow = io::Error::new(ErrorKind::TimedOut, "TLS handshake");
        assert_eq!(error(&slow), RETRY);
        assert_eq!(error(&Wrapper(io::Error::other("TLS handshake timed out"))), RETRY);
    }

    #[test]
    fn names_that_fail_for_now_pass_and_those_that_do_not_exist_never() {
        let lookup =
            |words: &str| error(&io::Error::other(format!("failed to lookup address information: {words}")));
        assert_eq!(lookup("Temporary failure in name resolution"), RETRY);
        assert_eq!(lookup("Try again"), RETRY);
        assert_eq!(lookup("Name or service not known"), NEVER);
        assert_eq!(lookup("No address associated with hostname"), NEVER);
        assert_eq!(lookup("Name does not resolve"), NEVER);
    }

    #[test]
    fn a_cloud_s_code_is_found_where_nothing_else_is_known() {
        let said = |words: &str| error(&Wrapper(io::Error::other(words.to_owned())));
        assert_eq!(said("service error: SlowDown: Please reduce your request rate"), RETRY);
        assert_eq!(said("invalid peer certificate: InternalError"), NEVER);
        assert_eq!(said("NoSuchBucket: SlowDowns"), Verdict::Unknown);
        assert_eq!(error(&io::Error::new(ErrorKind::PermissionDenied, "SlowDown")), NEVER);
        assert_eq!(said("connection closed before message completed"), RETRY);
    }

    #[test]
    fn the_agent_being_away_passes() {
        let busy = crate::Error::Busy { retry_after: Duration::from_secs(3), message: "full".into() };
        assert_eq!(error(&busy), Verdict::Retryable { retry_after: Some(Duration::from_secs(3)) });
        assert_eq!(error(&Wrapper(crate::Error::Disconnected)), RETRY);
        assert_eq!(error(&crate::Error::NotFound("no such device".into())), NEVER);
    }

    #[test]
    fn an_endless_chain_ends() {
        #[derive(Debug)]
        struct Endless;
        impl std::fmt::Display for Endless {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("again")
            }
        }
        impl Error for Endless {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&Endless)
            }
        }
        assert_eq!(error(&Endless), Verdict::Unknown);
    }
}
