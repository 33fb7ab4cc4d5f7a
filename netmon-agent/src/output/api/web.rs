//! TLS and users of what is served over TCP, as a web configuration has them. Its files are looked at before each connection
//! and read again when they have changed, so a renewed certificate needs no restart; what can't be used leaves in force what
//! was there, and is told once.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use data_encoding::BASE64;
use ring::digest::{SHA256, digest};
use rustls::{
    ServerConfig, SupportedCipherSuite,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::reply;
use crate::{
    config::web::{ClientAuth, Hash, MAX_WEB_CONFIG, TlsConfig, WebConfig},
    http::{Roots, provider, read},
};

/// Passwords that were right and need no second look, at most: a look is a tenth of a second's work.
const REMEMBERED: usize = 100;
/// Bytes of a password that bcrypt looks at.
const LONGEST_PASSWORD: usize = 72;

/// Why a web configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The file, or one that it names, can't be read.
    #[error("can't read {}: {error}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Its text can't be used; with the place.
    #[error("{0}")]
    Text(String),
    /// A certificate, a key or what is made of them.
    #[error("{}: {why}", path.display())]
    Tls {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It would let everybody in, in the clear, where that is not meant.
    #[error("{} has neither tls_server_config nor basic_auth_users, and what is served outside loopback needs one", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
    },
}

/// What stands between TCP and the answers.
#[derive(Debug)]
pub struct Web {
    path: PathBuf,
    /// Without TLS and users nothing may be served.
    must_protect: bool,
    now: Mutex<State>,
    /// Passwords are looked at one after the other: guessing costs the machine one core at most.
    looks: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    stamps: Stamps,
    rules: Arc<Rules>,
}

/// What files looked like when they were read.
type Stamps = Vec<(PathBuf, Option<Stamp>)>;

/// Device, inode, time of the last change in seconds and nanoseconds, size.
type Stamp = (u64, u64, i64, i64, u64);

/// What holds for a connection.
#[derive(Debug)]
pub(super) struct Rules {
    tls: Option<Arc<ServerConfig>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    users: HashMap<String, Hash>,
    /// The hash that is the most work. Who names an unknown user is held against it, and so waits as long as who names a
    /// known one.
    slowest: Option<Hash>,
    remembered: Mutex<HashSet<[u8; 32]>>,
}

impl Web {
    /// Reads the file and those that it names. With `must_protect`, one that protects nothing is refused, now and later.
    ///
    /// # Errors
    /// See [`WebError`].
    pub fn read(path: &Path, must_protect: bool) -> Result<Self, WebError> {
        let state = State::read(path, must_protect).map_err(|(error, _)| error)?;
        let (now, looks) = (Mutex::new(state), Arc::new(Semaphore::new(1)));
        Ok(Self { path: path.to_owned(), must_protect, now, looks })
    }

    /// It, and those that it names.
    pub fn files(&self) -> Vec<PathBuf> {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        now.stamps.iter().map(|(path, _)| path.clone()).collect()
    }

    /// `https`, or `http`.
    pub fn scheme(&self) -> &'static str {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.rules.tls.is_some() { "https" } else { "http" }
    }

    /// The rules in force now.
    pub(super) async fn rules(self: &Arc<Self>) -> Arc<Rules> {
        let web = Arc::clone(self);
        // Files may be on a disk that takes its time.
        let looked = tokio::task::spawn_blocking(move || web.look());
        looked
            .await
            .unwrap_or_else(|_| Arc::clone(&self.now.lock().unwrap_or_else(PoisonError::into_inner).rules))
    }

    /// Reads again what has changed.
    fn look(&self) -> Arc<Rules> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.stamps.iter().any(|(path, stamp)| stamp_of(path) != *stamp) {
            match State::read(&self.path, self.must_protect) {
                Ok(state) => {
                    tracing::info!(path = %self.path.display(), "the web configuration is read anew");
                    *now = state;
                }
                Err((error, stamps)) => {
                    tracing::error!("the web configuration stays as it was: {error}");
                    now.stamps = stamps;
                }
            }
        }
        Arc::clone(&now.rules)
    }

    /// Whether this request may be answered; if not, the answer.
    pub(super) async fn refuse(&self, rules: &Arc<Rules>, headers: &HeaderMap) -> Option<Response> {
        if rules.users.is_empty() || self.knows(rules, headers).await {
            return None;
        }
        let mut refusal =
            reply::body(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", Body::from("Unauthorized\n"));
        refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        Some(refusal)
    }

    async fn knows(&self, rules: &Arc<Rules>, headers: &HeaderMap) -> bool {
        let Some((user, password)) = headers.get(header::AUTHORIZATION).and_then(credentials) else {
            return false;
        };
        let key = remembered_as(&user, &password);
        if rules.remembered().contains(&key) {
            return true;
        }
        // It is never closed.
        let Ok(turn) = Arc::clone(&self.looks).acquire_owned().await else { return false };
        let rules = Arc::clone(rules);
        let look = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let own = rules.users.get(&user);
            let fits = own.or(rules.slowest.as_ref()).is_some_and(|hash| fits(&password, hash));
            let known = fits && own.is_some();
            if known {
                let mut remembered = rules.remembered();
                if remembered.len() >= REMEMBERED {
                    remembered.clear();
                }
                remembered.insert(key);
            }
            known
        });
        look.await.unwrap_or(false)
    }
}

impl State {
    /// Reads all of it; an error comes with what the files looked like, so that it is told once.
    fn read(path: &Path, must_protect: bool) -> Result<Self, (WebError, Stamps)> {
        // Looked at before they are read: what changes in between is read again.
        let mut stamps = vec![stamp(path)];
        match Self::rules(path, must_protect, &mut stamps) {
            Ok(rules) => Ok(Self { stamps, rules: Arc::new(rules) }),
            Err(error) => Err((error, stamps)),
        }
    }

    fn rules(path: &Path, must_protect: bool, stamps: &mut Stamps) -> Result<Rules, WebError> {
        let text = String::from_utf8(bytes(path)?)
            .map_err(|_| WebError::Text(format!("{}: it is no UTF-8", path.display())))?;
        let config = WebConfig::parse(&text, path).map_err(WebError::Text)?;
        if let Some(tls) = &config.tls {
            let files = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
            stamps.extend(files.into_iter().flatten().map(|file| stamp(file)));
        }
        if must_protect && !config.protects() {
            return Err(WebError::Open { path: path.to_owned() });
        }
        let headers = config.headers.into_iter().filter_map(|(name, value)| {
            // Both are checked where the file is parsed.
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        });
        let cost = |hash: &&Hash| bcrypt::HashParts::from_str(&hash.0).map_or(0, |parts| parts.get_cost());
        Ok(Rules {
            slowest: config.users.values().max_by_key(cost).cloned(),
            tls: config.tls.as_ref().map(server).transpose()?,
            headers: headers.collect(),
            users: config.users.into_iter().collect(),
            remembered: Mutex::default(),
        })
    }
}

impl Rules {
    /// How a connection begins; in the clear without one.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.clone().map(TlsAcceptor::from)
    }

    /// Sets what every answer has.
    pub(super) fn mark(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// bcrypt repeats a password, with a NUL after it, as far as it looks: one that has a NUL within or goes on beyond would fit as
/// another does.
fn fits(password: &[u8], hash: &Hash) -> bool {
    // Looked at in any case, for the time that it takes.
    let fits = bcrypt::verify(password, &hash.0).unwrap_or(false);
    fits && password.len() <= LONGEST_PASSWORD && !password.contains(&0)
}

/// User and password of RFC 7617.
fn credentials(value: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(rest.trim().as_bytes()).ok())??;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some((String::from_utf8(pair[..colon].to_vec()).ok()?, pair[colon + 1..].to_vec()))
}

/// Passwords themselves are not kept. A user's name has no colon.
fn remembered_as(user: &str, password: &[u8]) -> [u8; 32] {
    let pair = [user.as_bytes(), b":", password].concat();
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, &pair).as_ref());
    key
}

fn server(tls: &TlsConfig) -> Result<Arc<ServerConfig>, WebError> {
    let failed = |path: &Path, why: String| WebError::Tls { path: path.to_owned(), why };
    let pem = bytes(&tls.cert_file)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|e| failed(&tls.cert_file, e.to_string()))?;
    if certificates.is_empty() {
        return Err(failed(&tls.cert_file, "there is no certificate in it".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&bytes(&tls.key_file)?)
        .map_err(|e| failed(&tls.key_file, e.to_string()))?;
    let mut provider = provider().as_ref().clone();
    if !tls.cipher_suites.is_empty() {
        let known: Vec<_> = provider.cipher_suites.iter().map(name).collect();
        if let Some(odd) = tls.cipher_suites.iter().find(|suite| !known.contains(suite)) {
            let why = format!("no cipher suite `{}`; there are: {}", odd.escape_default(), known.join(", "));
            return Err(WebError::Text(why));
        }
        // Those of TLS 1.3 are not chosen, as with the exporters.
        provider
            .cipher_suites
            .retain(|suite| suite.tls13().is_some() || tls.cipher_suites.contains(&name(suite)));
    }
    let versions: &[_] = match (tls.only_tls12, tls.only_tls13) {
        (true, _) => &[&TLS12],
        (_, true) => &[&TLS13],
        _ => &[&TLS13, &TLS12],
    };
    let provider = Arc::new(provider);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|e| failed(&tls.cert_file, e.to_string()))?;
    let builder = match (&tls.client_ca_file, tls.client_auth) {
        (Some(path), ClientAuth::IfGiven | ClientAuth::Required) => {
            let roots = Roots::read(path).map_err(|e| failed(path, e.to_string()))?.store;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match tls.client_auth {
                ClientAuth::IfGiven => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            let verifier = verifier.build().map_err(|e| failed(path, e.to_string()))?;
            builder.with_client_cert_verifier(verifier as Arc<dyn ClientCertVerifier>)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(|e| {
        failed(&tls.cert_file, format!("it does not go with {}: {e}", tls.key_file.display()))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Its name with IANA.
fn name(suite: &SupportedCipherSuite) -> String {
    format!("{:?}", suite.suite())
}

fn bytes(path: &Path) -> Result<Vec<u8>, WebError> {
    read(path, MAX_WEB_CONFIG).map_err(|error| WebError::Read { path: path.to_owned(), error })
}

fn stamp(path: &Path) -> (PathBuf, Option<Stamp>) {
    (path.to_owned(), stamp_of(path))
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    let m = fs::metadata(path).ok()?;
    Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.size()))
}

#[cfg(feature = "fuzzing")]
#[path = "../../fuzzing/web.rs"]
pub(crate) mod fuzzing;
#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
