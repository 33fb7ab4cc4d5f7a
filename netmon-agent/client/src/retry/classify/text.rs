use super::Verdict;

const RETRY: Verdict = Verdict::RETRYABLE;
const NEVER: Verdict = Verdict::Permanent;

/// What can be told by its words only: the standard library has no kind for failures of name resolution, and TLS
/// libraries have errors of their own. The words of glibc, musl, rustls and OpenSSL; the first row that an error's
/// message contains decides.
pub const TEXTS: &[(&str, Verdict)] = &[
    // rustls: CertificateError, and what the peer thinks of ours.
    ("invalid peer certificate", NEVER),
    ("peer sent no certificates", NEVER),
    ("invalid certificate revocation list", NEVER),
    ("received fatal alert: NoCertificate", NEVER),
    ("received fatal alert: BadCertificate", NEVER),
    ("received fatal alert: UnsupportedCertificate", NEVER),
    ("received fatal alert: CertificateRevoked", NEVER),
    ("received fatal alert: CertificateExpired", NEVER),
    ("received fatal alert: CertificateUnknown", NEVER),
    ("received fatal alert: CertificateRequired", NEVER),
    ("received fatal alert: UnknownCA", NEVER),
    // OpenSSL: X509_verify_cert_error_string(3) stands behind the first of these.
    ("certificate verify failed", NEVER),
    ("certificate has expired", NEVER),
    ("certificate is not yet valid", NEVER),
    ("self-signed certificate", NEVER),
    ("self signed certificate", NEVER),
    ("unable to get local issuer certificate", NEVER),
    ("hostname mismatch", NEVER),
    // EAI_AGAIN of glibc and of musl.
    ("Temporary failure in name resolution", RETRY),
    ("failed to lookup address information: Try again", RETRY),
    // EAI_NONAME, EAI_NODATA and EAI_FAIL of both: no such name, no address, or a server that refuses to tell.
    ("Name or service not known", NEVER),
    ("No address associated with hostname", NEVER),
    ("Non-recoverable failure in name resolution", NEVER),
    ("failed to lookup address information: Name does not resolve", NEVER),
    ("failed to lookup address information: Name has no usable address", NEVER),
    ("failed to lookup address information: Unrecoverable error", NEVER),
    // Time-outs of TLS handshakes, of tokio (`Elapsed`) and of those who say it in words.
    ("handshake timed out", RETRY),
    ("handshake timeout", RETRY),
    ("deadline has elapsed", RETRY),
    ("operation timed out", RETRY),
    ("connection timed out", RETRY),
    ("request timed out", RETRY),
    // hyper: the peer hung up in the middle of an answer, or before it (`is_incomplete_message`).
    ("connection closed before message completed", RETRY),
];

/// What an error's message tells.
pub fn text(message: &str) -> Verdict {
    TEXTS.iter().find(|(words, _)| message.contains(words)).map_or(Verdict::Unknown, |(_, v)| *v)
}

/// Whether the message is that of a certificate that is not accepted. Whatever error it comes in: such a connection
/// fails again.
pub(super) fn is_about_a_certificate(message: &str) -> bool {
    let certificates = TEXTS.iter().take_while(|(_, verdict)| *verdict == NEVER);
    certificates.map(|(words, _)| *words).any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_told_apart() {
        for (words, verdict) in TEXTS {
            assert_eq!(text(&format!("oh: {words}!")), *verdict, "{words}");
            let certificate = words.to_lowercase().contains("certificate")
                || ["received fatal alert: UnknownCA", "hostname mismatch"].contains(words);
            assert_eq!(is_about_a_certificate(words), certificate, "{words}");
        }
        assert_eq!(text("no idea"), Verdict::Unknown);
    }

    #[test]
    fn rustls_still_says_so() {
        use rustls::{AlertDescription, CertificateError, Error};
        let errors = [
            Error::InvalidCertificate(CertificateError::Expired),
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::InvalidCertificate(CertificateError::NotValidForName),
            Error::NoCertificatesPresented,
            Error::AlertReceived(AlertDescription::UnknownCA),
            Error::AlertReceived(AlertDescription::BadCertificate),
            Error::AlertReceived(AlertDescription::CertificateExpired),
            Error::AlertReceived(AlertDescription::CertificateRequired),
        ];
        for error in errors {
            assert_eq!(text(&error.to_string()), NEVER, "{error}");
        }
        assert_eq!(text(&Error::HandshakeNotComplete.to_string()), Verdict::Unknown);
    }
}
