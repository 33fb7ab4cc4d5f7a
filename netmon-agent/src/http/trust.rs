//! Certificates of authorities: the system's, or those in a file.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::time::Mono;

/// Certificates are read again when they are older: packages change them.
const AGE: Duration = Duration::from_secs(3600);

/// Largest file of certificates, bytes: those of all authorities of a system are a quarter of a million.
const LARGEST: u64 = 8 << 20;

/// Why there is nobody to trust.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrustError {
    /// The system has none.
    #[error("no certificates of authorities on this system; install ca-certificates, or name a ca_file")]
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

/// What a file of certificates holds: one at least.
#[derive(Debug)]
pub struct Roots {
    /// As authorities.
    pub store: RootCertStore,
    /// As they are.
    pub given: Vec<CertificateDer<'static>>,
}

impl Roots {
    /// Reads a file: only a file, and of a bounded size, for who may add targets names it, and is not always who the
    /// agent runs as.
    ///
    /// # Errors
    /// It can't be read, is no PEM, or holds no certificate.
    pub fn read(path: &Path) -> Result<Self, TrustError> {
        let failed = |why: String| TrustError::File { path: path.to_owned(), why };
        let text = read(path, LARGEST).map_err(|e| failed(e.to_string()))?;
        let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let given = all.map_err(|e| failed(e.to_string()))?;
        let mut store = RootCertStore::empty();
        for certificate in &given {
            store.add(certificate.clone()).map_err(|e| failed(e.to_string()))?;
        }
        if store.is_empty() {
            return Err(failed("there is none in it".to_owned()));
        }
        Ok(Self { store, given })
    }
}

/// The system's authorities. Some 10 ms of work.
///
/// # Errors
/// There are none.
pub fn system() -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    // What can't be read among many is passed over.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TrustError::System) } else { Ok(roots) }
}

/// What rustls has its cryptography from.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A configuration that trusts the authorities in a file, or the system's where none is given. Reading is left to a
/// thread of the runtime that may block.
///
/// # Errors
/// There are none, or TLS can't be set up.
pub async fn configured(ca_file: Option<PathBuf>) -> Result<Arc<ClientConfig>, TrustError> {
    let made = tokio::task::spawn_blocking(move || {
        let roots = match ca_file {
            Some(path) => Roots::read(&path)?.store,
            None => system()?,
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|e| TrustError::Tls(e.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    });
    made.await.map_err(|e| TrustError::Tls(e.to_string()))?
}

/// Such a configuration, kept for an hour.
#[derive(Debug)]
pub struct Trust {
    ca_file: Option<PathBuf>,
    made: Option<(Mono, Arc<ClientConfig>)>,
}

impl Trust {
    /// Of these authorities; none is read yet.
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self { ca_file, made: None }
    }

    /// The configuration, made anew when it is old.
    ///
    /// # Errors
    /// As [`configured`].
    pub async fn config(&mut self, now: Mono) -> Result<Arc<ClientConfig>, TrustError> {
        match &self.made {
            Some((at, config)) if now.since(*at) < AGE => return Ok(Arc::clone(config)),
            _ => {}
        }
        let config = configured(self.ca_file.clone()).await?;
        self.made = Some((now, Arc::clone(&config)));
        Ok(config)
    }
}

/// A file's bytes, `largest` at most: only of a file, and nothing that somebody put in its place is waited for.
///
/// # Errors
/// It can't be read, is no file, or is larger.
pub fn read(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let no_file = || io::Error::other("it is no file");
    // To open some devices is to do something.
    if !fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    let mut text = Vec::new();
    file.take(largest + 1).read_to_end(&mut text)?;
    if text.len() as u64 > largest {
        return Err(io::Error::other(format!("it has more than {} MiB", largest >> 20)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn certificates_are_read_from_files_alone_and_not_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let params = CertificateParams::new(vec!["an authority".to_owned()]).unwrap();
        fs::write(&path, params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();
        let said = |path: &Path| Roots::read(path).unwrap_err().to_string();
        assert_eq!(Roots::read(&path).unwrap().given.len(), 1);
        fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
        assert!(said(&path).ends_with("it has more than 8 MiB"));
        fs::write(&path, "").unwrap();
        assert!(said(&path).ends_with("there is none in it"));
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for no_file in [&*path, folder.path(), Path::new("/dev/zero")] {
            assert!(said(no_file).ends_with("it is no file"), "{no_file:?}");
        }
    }
}
