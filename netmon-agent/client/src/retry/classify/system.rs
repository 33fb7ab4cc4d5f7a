use std::io::ErrorKind;

use rustix::io::Errno;

use super::{Verdict, look_up};

const RETRY: Verdict = Verdict::RETRYABLE;
const NEVER: Verdict = Verdict::Permanent;

/// Kinds of the system's errors.
pub const IO_KINDS: &[(ErrorKind, Verdict)] = &[
    (ErrorKind::ConnectionRefused, RETRY),
    (ErrorKind::ConnectionReset, RETRY),
    (ErrorKind::ConnectionAborted, RETRY),
    (ErrorKind::NotConnected, RETRY),
    (ErrorKind::BrokenPipe, RETRY),
    (ErrorKind::HostUnreachable, RETRY),
    (ErrorKind::NetworkUnreachable, RETRY),
    (ErrorKind::NetworkDown, RETRY),
    // The device that the local address was on is gone.
    (ErrorKind::AddrNotAvailable, RETRY),
    (ErrorKind::TimedOut, RETRY),
    // What a socket with a time-out says when it is over.
    (ErrorKind::WouldBlock, RETRY),
    // The peer hung up in the middle: how a connection that is cut reads to TLS and HTTP.
    (ErrorKind::UnexpectedEof, RETRY),
    (ErrorKind::NotFound, NEVER),
    (ErrorKind::PermissionDenied, NEVER),
    (ErrorKind::AlreadyExists, NEVER),
    (ErrorKind::IsADirectory, NEVER),
    (ErrorKind::NotADirectory, NEVER),
    (ErrorKind::DirectoryNotEmpty, NEVER),
    (ErrorKind::ReadOnlyFilesystem, NEVER),
    (ErrorKind::StorageFull, NEVER),
    (ErrorKind::QuotaExceeded, NEVER),
    (ErrorKind::FileTooLarge, NEVER),
    (ErrorKind::CrossesDevices, NEVER),
    (ErrorKind::InvalidFilename, NEVER),
    (ErrorKind::TooManyLinks, NEVER),
    (ErrorKind::NotSeekable, NEVER),
];

/// The system's error numbers that have no kind of their own.
pub const ERRNOS: &[(i32, Verdict)] = &[
    (Errno::HOSTDOWN.raw_os_error(), RETRY),
    (Errno::NETRESET.raw_os_error(), RETRY),
    (Errno::NONET.raw_os_error(), RETRY),
    (Errno::LOOP.raw_os_error(), NEVER),
    (Errno::IO.raw_os_error(), NEVER),
];

/// What a kind of error is.
pub fn io_kind(kind: ErrorKind) -> Verdict {
    look_up(IO_KINDS, kind)
}

/// What a number of errno(3) is: by itself, or by its kind.
pub fn errno(number: i32) -> Verdict {
    look_up(ERRNOS, number).or_else(|| io_kind(std::io::Error::from_raw_os_error(number).kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_told_apart() {
        for (kind, verdict) in IO_KINDS {
            assert_eq!(io_kind(*kind), *verdict, "{kind:?}");
            assert_eq!(IO_KINDS.iter().filter(|(k, _)| k == kind).count(), 1, "{kind:?} twice");
        }
        for (number, verdict) in ERRNOS {
            assert_eq!(errno(*number), *verdict, "{number}");
            let kind = std::io::Error::from_raw_os_error(*number).kind();
            assert_eq!(io_kind(kind), Verdict::Unknown, "{number} has the kind {kind:?}");
        }
        assert_eq!(io_kind(ErrorKind::InvalidData), Verdict::Unknown);
    }

    #[test]
    fn the_numbers_of_the_network_pass_and_those_of_files_do_not() {
        use Errno as E;
        let pass = [
            E::CONNREFUSED,
            E::CONNRESET,
            E::CONNABORTED,
            E::PIPE,
            E::HOSTUNREACH,
            E::NETUNREACH,
            E::NETDOWN,
            E::TIMEDOUT,
            E::AGAIN,
            E::HOSTDOWN,
            E::NETRESET,
            E::NONET,
            E::NOTCONN,
            E::ADDRNOTAVAIL,
        ];
        for number in pass {
            assert_eq!(errno(number.raw_os_error()), RETRY, "{number:?}");
        }
        let never = [
            E::NOENT,
            E::ACCESS,
            E::PERM,
            E::EXIST,
            E::ISDIR,
            E::NOTDIR,
            E::NOTEMPTY,
            E::ROFS,
            E::NOSPC,
            E::DQUOT,
            E::FBIG,
            E::XDEV,
            E::NAMETOOLONG,
            E::MLINK,
            E::SPIPE,
            E::LOOP,
            E::IO,
        ];
        for number in never {
            assert_eq!(errno(number.raw_os_error()), NEVER, "{number:?}");
        }
        assert_eq!(errno(0), Verdict::Unknown);
    }
}
