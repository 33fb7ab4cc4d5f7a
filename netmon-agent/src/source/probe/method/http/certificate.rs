//! The look at the certificates that a server presents, whatever is thought of them then.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode,
};

use super::{Known, learn};
use crate::time::Wall;

/// Notes when the certificates of one handshake expire, then leaves the judgement to another. In any case the server
/// has to prove that it holds the certificate's key.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) known: Known,
    /// Who judges; nobody where a certificate need not hold.
    pub(super) judge: Option<Arc<WebPkiServerVerifier>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let expires = chain.filter_map(|certificate| expiry(certificate)).min();
        learn(&self.known, |detail| detail.certificate_expires = expires);
        match &self.judge {
            Some(judge) => {
                judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// When a certificate expires (`notAfter`, RFC 5280, section 4.1.2.5); none where it can't be read. The year 9999,
/// which says never, reads as the last instant there is (2554).
fn expiry(certificate: &[u8]) -> Option<Wall> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    let since_1970 = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Wall::from_nanos(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["example.net".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn expiry_is_read_in_both_forms_of_time_and_never_is_far() {
        let seconds = |s: u64| Some(Wall::from_nanos(s * 1_000_000_000));
        assert_eq!(expiry(&until(2030, 1, 2)), seconds(1_893_542_400));
        assert_eq!(expiry(&until(2051, 1, 1)), seconds(2_556_144_000));
        assert_eq!(expiry(&until(9999, 12, 31)), Some(Wall::from_nanos(u64::MAX)));
    }

    #[test]
    fn what_is_no_certificate_has_no_expiry() {
        let good = until(2030, 1, 2);
        assert_eq!(expiry(b""), None);
        for cut in 0..good.len() {
            assert_eq!(expiry(&good[..cut]), None);
        }
    }
}
