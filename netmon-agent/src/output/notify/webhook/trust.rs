//! Whom a webhook's server may be vouched for by.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::time::Mono;

/// Certificates of authorities are read again when they are older: packages change them.
const AGE: Duration = Duration::from_secs(3600);

/// Certificates that can't be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has none.
    #[error(
        "no certificates of authorities on this system; install ca-certificates, or give the webhook a ca_file"
    )]
    System,
    /// The file can't be used.
    #[error("can't read certificates of authorities from {}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// TLS can't be set up.
    #[error("can't set up TLS: {0}")]
    Tls(String),
}

/// A configuration for TLS, and when it was made.
#[derive(Debug)]
pub(super) struct Trust {
    ca_file: Option<PathBuf>,
    made: Option<(Mono, Arc<ClientConfig>)>,
}

impl Trust {
    pub(super) fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, made: None }
    }

    /// The configuration, made anew when it is old. Reading is left to a thread that may block.
    pub(super) async fn config(&mut self, now: Mono) -> Result<Arc<ClientConfig>, TrustError> {
        match &self.made {
            Some((at, config)) if now.since(*at) < AGE => return Ok(Arc::clone(config)),
            _ => {}
        }
        let ca_file = self.ca_file.clone();
        let reading = tokio::task::spawn_blocking(move || make(ca_file.as_ref()));
        let config = reading.await.map_err(|e| TrustError::Tls(e.to_string()))??;
        self.made = Some((now, Arc::clone(&config)));
        Ok(config)
    }
}

fn make(ca_file: Option<&PathBuf>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            // What can't be read among many is passed over.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TrustError::System);
            }
        }
        Some(path) => {
            let failed = |why: String| TrustError::File { path: path.clone(), why };
            let all = CertificateDer::pem_file_iter(path).map_err(|e| failed(e.to_string()))?;
            for certificate in all {
                let certificate = certificate.map_err(|e| failed(e.to_string()))?;
                roots.add(certificate).map_err(|e| failed(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(failed("there is none in it".to_owned()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| TrustError::Tls(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
