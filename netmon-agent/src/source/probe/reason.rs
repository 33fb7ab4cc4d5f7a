//! ICMP errors as reasons.

use crate::{
    observation::FailureReason,
    sys::{ErrorOrigin, ExtendedError},
};

/// What an error on the queue says of the probe it quotes; `None` when it says nothing (a redirect, a transmit stamp,
/// an error of this host's own).
pub(in crate::source) fn of_error(error: &ExtendedError) -> Option<FailureReason> {
    match error.origin {
        ErrorOrigin::Icmp4 => of_icmp4(error.kind, error.code),
        ErrorOrigin::Icmp6 => of_icmp6(error.kind, error.code),
        ErrorOrigin::Local | ErrorOrigin::Other(_) => None,
    }
}

/// RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1.
fn of_icmp4(kind: u8, code: u8) -> Option<FailureReason> {
    use FailureReason::{
        HostUnreachable, NetUnreachable, OtherUnreachable, PacketTooBig, PortUnreachable, Prohibited,
        TtlExceeded,
    };
    match (kind, code) {
        (3, 0 | 6 | 11) => Some(NetUnreachable),
        (3, 1 | 7 | 8 | 12) => Some(HostUnreachable),
        (3, 3) => Some(PortUnreachable),
        (3, 4) => Some(PacketTooBig),
        (3, 9 | 10 | 13) => Some(Prohibited),
        (11, 0) => Some(TtlExceeded),
        (3 | 11 | 12, _) => Some(OtherUnreachable),
        _ => None,
    }
}

/// RFC 4443 section 3; codes 5 and 6 of type 1 are refusals by policy.
fn of_icmp6(kind: u8, code: u8) -> Option<FailureReason> {
    use FailureReason::{
        HostUnreachable, NetUnreachable, OtherUnreachable, PacketTooBig, PortUnreachable, Prohibited,
        TtlExceeded,
    };
    match (kind, code) {
        (1, 0) => Some(NetUnreachable),
        (1, 1 | 5 | 6) => Some(Prohibited),
        (1, 3) => Some(HostUnreachable),
        (1, 4) => Some(PortUnreachable),
        (2, _) => Some(PacketTooBig),
        (3, 0) => Some(TtlExceeded),
        (1 | 3 | 4, _) => Some(OtherUnreachable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(origin: ErrorOrigin, kind: u8, code: u8) -> ExtendedError {
        ExtendedError { errno: libc::EHOSTUNREACH, origin, kind, code, info: 0, offender: None }
    }

    #[test]
    fn every_unreachable_is_a_failure_and_nothing_else_is() {
        for kind in 0..=u8::MAX {
            for code in 0..=u8::MAX {
                let four = of_error(&error(ErrorOrigin::Icmp4, kind, code)).is_some();
                assert_eq!(four, matches!(kind, 3 | 11 | 12), "ICMP type {kind} code {code}");
                let six = of_error(&error(ErrorOrigin::Icmp6, kind, code)).is_some();
                assert_eq!(six, matches!(kind, 1..=4), "ICMPv6 type {kind} code {code}");
            }
        }
    }

    #[test]
    fn every_code_has_its_reason() {
        use FailureReason::{
            HostUnreachable as Host, NetUnreachable as Net, OtherUnreachable as Other, PacketTooBig as Big,
            PortUnreachable as Port, Prohibited as No, TtlExceeded as Ttl,
        };
        // IANA's registry of ICMP codes, in order; the last is the first that is not assigned.
        let destination = [Net, Host, Other, Port, Big, Other, Net, Host, Host, No, No, Net, Host, No, Other];
        let v4 = [(3, &destination[..]), (11, &[Ttl, Other, Other]), (12, &[Other; 4])];
        let v6 = [
            (1, &[Net, No, Other, Host, Port, No, No, Other][..]),
            (2, &[Big]),
            (3, &[Ttl, Other, Other]),
            (4, &[Other; 4]),
        ];
        let check = |origin, table: &[(u8, &[FailureReason])]| {
            for (kind, reasons) in table {
                for (code, reason) in (0..).zip(*reasons) {
                    let found = of_error(&error(origin, *kind, code));
                    assert_eq!(found, Some(*reason), "{origin:?} type {kind} code {code}");
                }
            }
        };
        check(ErrorOrigin::Icmp4, &v4);
        check(ErrorOrigin::Icmp6, &v6);
    }

    #[test]
    fn an_error_of_this_host_or_a_stamp_is_none() {
        assert_eq!(of_error(&error(ErrorOrigin::Local, 3, 1)), None);
        assert_eq!(of_error(&error(ErrorOrigin::Other(4), 3, 1)), None);
    }
}
