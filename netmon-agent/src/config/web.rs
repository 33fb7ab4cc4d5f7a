//! The web configuration: TLS and users of what is served over TCP, in the form that Prometheus' exporters share
//! (`web-config.yml` of prometheus/exporter-toolkit). Pure: files that it names are read by whoever serves.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    error::{Fault, nearest},
    groups::yaml::{self, Node, What},
};

/// What such a file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WebConfig {
    /// How connections are encrypted; not at all without it.
    pub tls: Option<TlsConfig>,
    /// Headers of every answer.
    pub headers: Vec<(&'static str, String)>,
    /// Names, and bcrypt's hash of the password; anybody may ask without them.
    pub users: BTreeMap<String, Hash>,
}

/// A hash of bcrypt's, which nothing prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(pub String);

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// How connections are encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates, PEM: the server's first.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// What clients show of themselves.
    pub client_auth: ClientAuth,
    /// Authorities of clients' certificates, PEM.
    pub client_ca_file: Option<PathBuf>,
    /// Without TLS 1.2.
    pub only_tls13: bool,
    /// Without TLS 1.3.
    pub only_tls12: bool,
    /// Cipher suites of TLS 1.2, by their names with IANA; all that are sound where it is empty.
    pub cipher_suites: Vec<String>,
}

/// Certificates of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One that is shown must be good.
    IfGiven,
    /// Everybody needs a good one.
    Required,
}

/// What bcrypt can work with at least.
const LEAST_COST: u32 = 4;
/// bcrypt's work doubles with each: a login at the highest takes seconds.
const MOST_COST: u32 = 16;
/// Bytes of a key that a message repeats at most.
const LONGEST_KEY: usize = 64;
/// What such a file has at most, bytes.
pub const MAX_WEB_CONFIG: u64 = 1 << 20;

/// Headers that may be set, as the exporters have them.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

impl WebConfig {
    /// Reads one; relative paths in it begin at the folder of `path`.
    ///
    /// # Errors
    /// A line for people: the place, what is wrong there and what would mend it. Of the file a key's name is quoted at most, for
    /// a line of it may be a password.
    pub fn parse(text: &str, path: &Path) -> Result<Self, String> {
        let folder = path.parent().unwrap_or(Path::new(""));
        read(text, folder).map_err(|fault| fault.locate(text, path).one_line())
    }

    /// Whether nobody asks unencrypted, or nobody unknown.
    pub fn protects(&self) -> bool {
        self.tls.is_some() || !self.users.is_empty()
    }
}

fn read(text: &str, folder: &Path) -> Result<WebConfig, Fault> {
    let mut config = WebConfig::default();
    let Some(root) = yaml::read(text)?.filter(|root| !is_nothing(root)) else { return Ok(config) };
    const KEYS: [&str; 3] = ["tls_server_config", "http_server_config", "basic_auth_users"];
    for (key, at, value) in members(&root, &KEYS, "the file")? {
        match key {
            "tls_server_config" => config.tls = Some(tls(value, at, folder)?),
            "http_server_config" => config.headers = http(value)?,
            _ => config.users = users(value)?,
        }
    }
    Ok(config)
}

fn tls(node: &Node, at: usize, folder: &Path) -> Result<TlsConfig, Fault> {
    const KEYS: [&str; 8] = [
        "cert_file",
        "key_file",
        "client_auth_type",
        "client_ca_file",
        "min_version",
        "max_version",
        "cipher_suites",
        "prefer_server_cipher_suites",
    ];
    let mut tls = TlsConfig::default();
    for (key, place, value) in members(node, &KEYS, "`tls_server_config`")? {
        if is_nothing(value) {
            continue;
        }
        match key {
            "cert_file" => tls.cert_file = folder.join(file(value, key)?),
            "key_file" => tls.key_file = folder.join(file(value, key)?),
            "client_ca_file" => tls.client_ca_file = Some(folder.join(file(value, key)?)),
            "client_auth_type" => tls.client_auth = client_auth(value)?,
            "min_version" => tls.only_tls13 = version(value)? == 13,
            "max_version" => tls.only_tls12 = version(value)? == 12,
            "cipher_suites" => {
                let What::List(suites) = &value.what else {
                    return Err(Fault::at(place..place, "`cipher_suites` is a list of texts"));
                };
                let names = suites.iter().map(|suite| Ok(suite.text("a cipher suite")?.text));
                tls.cipher_suites = names.collect::<Result<_, Fault>>()?;
            }
            // The order of the client's list matters to nobody: each suite here is sound.
            _ => _ = truth(value, key)?,
        }
    }
    let missing = |what: &str| Fault::at(at..at, format!("`tls_server_config` needs `{what}`"));
    if tls.cert_file.as_os_str().is_empty() {
        return Err(missing("cert_file").hint("the server's certificate and those above it, PEM"));
    }
    if tls.key_file.as_os_str().is_empty() {
        return Err(missing("key_file").hint("the key of its certificate, PEM"));
    }
    if tls.client_auth != ClientAuth::None && tls.client_ca_file.is_none() {
        return Err(missing("client_ca_file").hint("authorities of clients' certificates, PEM"));
    }
    if tls.client_auth == ClientAuth::None && tls.client_ca_file.is_some() {
        return Err(Fault::at(at..at, "a `client_ca_file` without a `client_auth_type` would check nobody")
            .hint("client_auth_type: RequireAndVerifyClientCert"));
    }
    if tls.only_tls12 && tls.only_tls13 {
        return Err(Fault::at(at..at, "`min_version` is above `max_version`"));
    }
    Ok(tls)
}

/// A file's name, which messages repeat.
fn file(node: &Node, key: &str) -> Result<String, Fault> {
    let word = node.text(key)?;
    if word.text.is_empty() || word.text.chars().any(char::is_control) {
        return Err(word.fault(format!("`{key}` is the name of a file, in one line")));
    }
    Ok(word.text)
}

fn client_auth(node: &Node) -> Result<ClientAuth, Fault> {
    let word = node.text("`client_auth_type`")?;
    match word.text.as_str() {
        "NoClientCert" => Ok(ClientAuth::None),
        "VerifyClientCertIfGiven" => Ok(ClientAuth::IfGiven),
        "RequireAndVerifyClientCert" => Ok(ClientAuth::Required),
        "RequestClientCert" | "RequireAnyClientCert" => {
            Err(word.fault("a certificate that nobody verifies proves nothing; it is not asked for").hint(
                "VerifyClientCertIfGiven or RequireAndVerifyClientCert with a client_ca_file, or NoClientCert",
            ))
        }
        _ => Err(word
            .fault("no `client_auth_type`")
            .hint("NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert")),
    }
}

fn version(node: &Node) -> Result<u8, Fault> {
    let word = node.text("a version of TLS")?;
    match word.text.as_str() {
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        "TLS10" | "TLS11" => {
            Err(word.fault("TLS before 1.2 is broken, and not spoken").hint("TLS12 or TLS13"))
        }
        _ => Err(word.fault("no version of TLS").hint("TLS12 or TLS13")),
    }
}

fn http(node: &Node) -> Result<Vec<(&'static str, String)>, Fault> {
    let mut all = Vec::new();
    for (key, _, value) in members(node, &["http2", "headers"], "`http_server_config`")? {
        if is_nothing(value) {
            continue;
        }
        if key == "http2" {
            // HTTP/1.1 is spoken, which every scraper does as well.
            truth(value, key)?;
            continue;
        }
        for (name, _, value) in members(value, &HEADERS, "`headers`")? {
            if is_nothing(value) {
                continue;
            }
            let word = value.text(name)?;
            if word.text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
                return Err(word.fault("a header's value is one line of text"));
            }
            if !word.text.is_empty() {
                all.push((name, word.text));
            }
        }
    }
    Ok(all)
}

fn users(node: &Node) -> Result<BTreeMap<String, Hash>, Fault> {
    if is_nothing(node) {
        return Ok(BTreeMap::new());
    }
    let What::Map(pairs) = &node.what else {
        return Err(Fault::at(node.at..node.at, "`basic_auth_users` is a map of names and hashes"));
    };
    let mut users = BTreeMap::new();
    for (name, hash) in pairs {
        let name = name.text("a user's name")?;
        if name.text.contains(':') {
            return Err(name.fault("a user's name has no colon (RFC 7617)"));
        }
        let hash = hash.text("a user's hash")?.text;
        match bcrypt::HashParts::from_str(&hash) {
            Err(_) => {
                return Err(name
                    .fault("a user's password is given as a hash of bcrypt's, and this is none")
                    .hint("`htpasswd -nBC 10 \"\" | tr -d ':'` makes one"));
            }
            Ok(parts) if parts.get_cost() > MOST_COST => {
                return Err(name.fault(format!("a cost above {MOST_COST} takes seconds for each login")));
            }
            Ok(parts) if parts.get_cost() < LEAST_COST => {
                return Err(
                    name.fault(format!("bcrypt's cost is {LEAST_COST} at least: nobody could log in"))
                );
            }
            Ok(_) => {}
        }
        if users.insert(name.text.clone(), Hash(hash)).is_some() {
            return Err(name.fault("a user is there twice"));
        }
    }
    Ok(users)
}

/// The members of a map, each of these keys once at most: its name, its place and its value.
fn members<'a>(
    node: &'a Node,
    keys: &[&'static str],
    what: &str,
) -> Result<Vec<(&'static str, usize, &'a Node)>, Fault> {
    if is_nothing(node) {
        return Ok(Vec::new());
    }
    let What::Map(pairs) = &node.what else {
        return Err(Fault::at(node.at..node.at, format!("{what} is no map of keys and values"))
            .hint(format!("known here: {}", keys.join(", "))));
    };
    let mut found: Vec<(&str, usize, &Node)> = Vec::new();
    for (key, value) in pairs {
        let word = key.text("a key")?;
        let Some(known) = keys.iter().find(|known| **known == word.text) else {
            let hint = match nearest(&word.text, keys) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("known here: {}", keys.join(", ")),
            };
            // What does not look like one may be anything, a hash for instance.
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            let message = match word.text.len() <= LONGEST_KEY && word.text.bytes().all(is_plain) {
                true => format!("unknown key `{}`", word.text),
                false => "unknown key".to_owned(),
            };
            return Err(word.fault(message).hint(hint));
        };
        if found.iter().any(|(name, ..)| name == known) {
            return Err(word.fault(format!("`{known}` is there twice")));
        }
        found.push((known, key.at, value));
    }
    Ok(found)
}

fn truth(node: &Node, key: &str) -> Result<bool, Fault> {
    let word = node.text(key)?;
    word.text.parse().map_err(|_| word.fault(format!("`{key}` is true or false")))
}

fn is_nothing(node: &Node) -> bool {
    matches!(node.what, What::Scalar(_, true))
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
