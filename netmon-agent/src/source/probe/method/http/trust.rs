//! TLS configurations, made once and kept; who is trusted.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig,
    client::{Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
};

use super::{
    Known,
    certificate::{Judge, Witness},
};
use crate::{
    http::{Roots, TrustError, provider, system},
    observation::HttpRequest,
    time::Mono,
};

/// The system's certificates are read again when they are older, seconds: packages change them. Some 10 ms of work.
const SYSTEM_AGE: i64 = 3_600;

/// Whom a target trusts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whom {
    Anybody,
    System,
    File(PathBuf),
}

/// Which state of a file, or of the system: device's time of change and inode, or the age's number.
type Version = (i64, i64, u64);

/// What connections of one kind have in common.
#[derive(Clone, Debug)]
pub(super) struct Common {
    template: ClientConfig,
    judge: Option<Arc<Judge>>,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    /// None where it could never be made.
    common: Option<Common>,
}

/// Every configuration that was asked for since the thread began: one for each of `Whom`.
#[derive(Debug, Default)]
pub(super) struct Trust(Mutex<HashMap<Whom, Entry>>);

impl Trust {
    /// The configuration for a target's connections; none where there is nobody to trust, which is logged when it
    /// comes about. To be called in a runtime: reading certificates is left to its thread for what may block.
    pub(super) async fn common(self: Arc<Self>, spec: &HttpRequest) -> Option<Common> {
        let whom = match &spec.ca_file {
            _ if !spec.verify => Whom::Anybody,
            Some(path) => Whom::File(path.clone()),
            None => Whom::System,
        };
        let version = whom.version(Mono::now());
        if let Some(known) = self.known(&whom, version) {
            return known;
        }
        // Given up meanwhile, it is read to its end all the same, for the next.
        let reading = tokio::task::spawn_blocking(move || self.renew(whom, version));
        reading.await.ok().flatten()
    }

    fn known(&self, whom: &Whom, version: Version) -> Option<Option<Common>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(whom).filter(|entry| entry.version == version).map(|entry| entry.common.clone())
    }

    /// Reads anew. What can't be read now leaves in force what could be before.
    fn renew(&self, whom: Whom, version: Version) -> Option<Common> {
        if let Some(known) = self.known(&whom, version) {
            return known;
        }
        let made = whom.common().inspect_err(|error| tracing::warn!("https probes: {error}"));
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(whom).or_insert(Entry { version, common: None });
        entry.version = version;
        if let Ok(common) = made {
            entry.common = Some(common);
        }
        entry.common.clone()
    }
}

impl Whom {
    /// A file that is not there has a version too: it is looked for again when that changes.
    fn version(&self, now: Mono) -> Version {
        match self {
            Self::Anybody => (0, 0, 0),
            Self::System => (now.as_nanos() as i64 / 1_000_000_000 / SYSTEM_AGE, 0, 0),
            Self::File(path) => {
                fs::metadata(path).map_or((-1, 0, 0), |m| (m.mtime(), m.mtime_nsec(), m.ino()))
            }
        }
    }

    fn common(&self) -> Result<Common, TrustError> {
        let provider = provider();
        let roots = match self {
            Self::Anybody => None,
            Self::System => Some(Roots { store: system()?, given: Vec::new() }),
            Self::File(path) => Some(Roots::read(path)?),
        };
        let judge = roots.map(|roots| judge(roots, &provider)).transpose()?;
        Common::new(provider, judge)
    }
}

fn judge(roots: Roots, provider: &Arc<CryptoProvider>) -> Result<Arc<Judge>, TrustError> {
    let Roots { store, given } = roots;
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|e| TrustError::Tls(e.to_string()))?;
    Ok(Arc::new(Judge { authorities, given }))
}

impl Common {
    /// No session is ever resumed: each probe makes a whole handshake, and sees the certificates.
    fn new(provider: Arc<CryptoProvider>, judge: Option<Arc<Judge>>) -> Result<Self, TrustError> {
        let algorithms = provider.signature_verification_algorithms;
        let witness = Witness { known: Known::default(), judge: judge.clone(), algorithms };
        let mut template = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| TrustError::Tls(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(witness))
            .with_no_client_auth();
        template.resumption = Resumption::disabled();
        Ok(Self { template, judge })
    }

    /// The configuration of one connection, whose certificates are noted in what is known.
    pub(super) fn of_one(self, known: Known) -> Arc<ClientConfig> {
        let Self { template: mut config, judge } = self;
        let algorithms = config.crypto_provider().signature_verification_algorithms;
        config.dangerous().set_certificate_verifier(Arc::new(Witness { known, judge, algorithms }));
        Arc::new(config)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem() -> String {
        let params = CertificateParams::new(vec!["an authority".to_owned()]).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    /// Whether two are one and the same.
    fn same(a: &Option<Common>, b: &Option<Common>) -> bool {
        let judge = |c: &Option<Common>| c.as_ref().and_then(|c| c.judge.as_ref().map(Arc::as_ptr));
        judge(a) == judge(b)
    }

    #[test]
    fn a_file_is_read_once_and_again_when_it_changes_and_kept_when_it_breaks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let spec = HttpRequest { tls: true, ca_file: Some(path.clone()), ..HttpRequest::default() };
        let trust: Arc<Trust> = Arc::default();
        let get = || runtime.block_on(trust.clone().common(&spec));
        assert!(get().is_none());
        // Another inode each time: the file system's clock may be coarse.
        let write = |text: &str| {
            let new = directory.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, &path).unwrap();
        };
        write(&pem());
        let first = get();
        assert!(first.is_some() && same(&first, &get()));
        write(&(pem() + &pem()));
        let second = get();
        assert!(second.is_some() && !same(&first, &second));
        for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            write(broken);
            assert!(same(&second, &get()));
        }
        fs::remove_file(&path).unwrap();
        assert!(same(&second, &get()));
    }

    #[test]
    fn without_verification_nobody_judges_and_no_file_is_wanted() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let spec =
            HttpRequest { verify: false, ca_file: Some("/none/such".into()), ..HttpRequest::default() };
        let common = runtime.block_on(Arc::<Trust>::default().common(&spec)).unwrap();
        assert!(common.judge.is_none());
    }

    #[test]
    fn the_systems_authorities_are_read_again_after_an_hour() {
        let at = |s: u64| Whom::System.version(Mono::from_nanos(s * 1_000_000_000));
        assert_eq!(at(3_600), at(7_199));
        assert_ne!(at(7_199), at(7_200));
    }
}
