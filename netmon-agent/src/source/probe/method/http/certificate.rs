//! The look at the certificates that a server presents, whatever is thought of them then.

use std::{ops::RangeInclusive, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_cert::{
    certificate::{CertificateInner, Raw},
    der::Decode,
    time::Time,
};

use super::{Known, learn};
use crate::time::Wall;

/// Notes when the certificates of one handshake expire, then leaves the judgement to another. In any case the server
/// has to prove that it holds the certificate's key.
#[derive(Debug)]
pub(super) struct Witness {
    pub(super) known: Known,
    /// Who judges; nobody where a certificate need not hold.
    pub(super) judge: Option<Arc<Judge>>,
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
        let expires = chain.filter_map(|c| validity(c)).map(|valid| valid.end().to_owned()).min();
        learn(&self.known, |detail| detail.certificate_expires = expires);
        match &self.judge {
            Some(judge) => judge.verify(end_entity, intermediates, server_name, ocsp_response, now),
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

/// Who judges certificates: authorities, and those that were given to be trusted as they are.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) authorities: Arc<WebPkiServerVerifier>,
    pub(super) given: Vec<CertificateDer<'static>>,
}

impl Judge {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.given.contains(end_entity) {
            return vouched_for(end_entity, name, now);
        }
        self.authorities.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }
}

/// A certificate that was given needs nobody to sign it, but has to hold now, and for the name. The authorities' judge
/// refuses a self-signed one that may sign others too, as `openssl req -x509` makes them, whoever trusts it.
fn vouched_for(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let valid = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let now = Wall::from_nanos(now.as_secs().saturating_mul(1_000_000_000));
    if now < *valid.start() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > *valid.end() {
        return Err(CertificateError::Expired.into());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

/// From when until when a certificate is valid (RFC 5280, section 4.1.2.5); none where it can't be read. The year 9999,
/// which says never, reads as the last instant there is (2554).
fn validity(certificate: &[u8]) -> Option<RangeInclusive<Wall>> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    let wall =
        |time: Time| Wall::from_nanos(u64::try_from(time.to_unix_duration().as_nanos()).unwrap_or(u64::MAX));
    let validity = certificate.tbs_certificate().validity();
    Some(wall(validity.not_before)..=wall(validity.not_after))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    /// Of example.net, from 2020 on; it may sign others.
    fn until(year: i32, month: u8, day: u8) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["example.net".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn wall(s: u64) -> Wall {
        Wall::from_nanos(s * 1_000_000_000)
    }

    #[test]
    fn expiry_is_read_in_both_forms_of_time_and_never_is_far() {
        let expiry = |certificate: &[u8]| *validity(certificate).unwrap().end();
        assert_eq!(*validity(&until(2030, 1, 2)).unwrap().start(), wall(1_577_836_800));
        assert_eq!(expiry(&until(2030, 1, 2)), wall(1_893_542_400));
        assert_eq!(expiry(&until(2051, 1, 1)), wall(2_556_144_000));
        assert_eq!(expiry(&until(9999, 12, 31)), Wall::from_nanos(u64::MAX));
    }

    #[test]
    fn what_is_no_certificate_is_never_valid() {
        let good = until(2030, 1, 2);
        for cut in 0..good.len() {
            assert_eq!(validity(&good[..cut]), None);
        }
    }

    #[test]
    fn a_certificate_that_was_given_holds_for_its_name_and_time() {
        let certificate = until(2030, 1, 2);
        let judge = |name: &'static str, s: u64| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(s));
            vouched_for(&certificate, &ServerName::try_from(name).unwrap(), now).map(|_| ())
        };
        assert_eq!(judge("example.net", 1_577_836_800), Ok(()));
        assert_eq!(judge("example.net", 1_893_542_400), Ok(()));
        assert_eq!(judge("example.net", 1_577_836_799), Err(CertificateError::NotValidYet.into()));
        assert_eq!(judge("example.net", 1_893_542_401), Err(CertificateError::Expired.into()));
        assert!(judge("example.com", 1_800_000_000).is_err());
    }
}
