//! What is served over TCP and to whom: the web configuration, the files that it names, and what is said at the door.

use std::{cell::LazyCell, fmt::Write as _, fs, path::Path, sync::LazyLock};

use arbitrary::Arbitrary;
use netmon_agent::{config::web::WebConfig, fuzzing::Door};
use rcgen::{CertificateParams, KeyPair};
use tokio::runtime::Runtime;

use super::{Input, input, parts};

/// What crypt(3) makes of "a", at the least cost there is.
pub const OF_A: &str = "$2y$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC";
/// Passwords and what crypt(3) makes of them, at the least cost there is.
const KNOWN: [(&str, &str); 5] = [
    ("a", OF_A),
    ("correct horse", "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
    ("", "$2y$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq"),
    ("p\u{e4}:ss word", "$2y$04$abcdefghijklmnopqrstuuXAutPB84CF582YWQzh1hg.eqRVG0y9y"),
    (
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i",
    ),
];
/// What stands where a hash belongs, or does not.
const OTHER: [&str; 6] = [
    "$2y$31$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC",
    "$2y$00$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC",
    "$2a$05$......................2vjzcADwWgyZ3m10pK7p1HZi2sECLzS",
    "$apr1$abcdefgh$abcdefghijklmnopqrstuv",
    "hunter2-hunter2",
    "{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=",
];
const USERS: [&str; 6] = ["alice", "bob", "", "\u{fc}", "a b", "a:b"];
const FILES: [&str; 7] = ["cert.pem", "key.pem", "ca.pem", "other.pem", "junk.pem", "none.pem", "."];
const AUTH: [&str; 6] = [
    "NoClientCert",
    "VerifyClientCertIfGiven",
    "RequireAndVerifyClientCert",
    "RequestClientCert",
    "RequireAnyClientCert",
    "x",
];
const VERSIONS: [&str; 5] = ["TLS12", "TLS13", "TLS10", "TLS11", "x"];
const SUITES: [&str; 3] =
    ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_\u{1b}[31m"];
const HEADERS: [&str; 6] = [
    "X-Frame-Options",
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-XSS-Protection",
    "X-Powered-By",
];
const KEYS: [&str; 6] = [
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "basic_auth_user",
    "rate_limit",
    "x\u{1b}",
];

#[derive(Arbitrary, Debug)]
struct Played {
    must_protect: bool,
    first: Document,
    /// What the file is replaced by.
    second: Option<Document>,
    junk: Vec<u8>,
    /// A byte of the certificate that is another.
    flip: Option<(u16, u8)>,
    logins: Vec<Login>,
}

#[derive(Arbitrary, Debug)]
struct Document {
    tls: Option<Tls>,
    users: Option<Vec<(u8, Hashed)>>,
    headers: Option<Vec<(u8, Word)>>,
    http2: Option<u8>,
    more: Option<(u8, Word)>,
    /// A byte that is another.
    flip: Option<(u16, u8)>,
}

#[derive(Arbitrary, Debug)]
enum Hashed {
    Known(u8),
    Other(u8),
    Any(Word),
}

#[derive(Arbitrary, Debug)]
struct Tls {
    cert: Option<u8>,
    key: Option<u8>,
    ca: Option<u8>,
    auth: Option<u8>,
    min: Option<u8>,
    max: Option<u8>,
    suites: Option<Vec<u8>>,
    more: Option<(u8, Word)>,
}

#[derive(Arbitrary, Debug)]
enum Word {
    Nothing,
    True,
    Text(String),
    List(Vec<u8>),
    Map(u8),
}

#[derive(Arbitrary, Debug)]
struct Login {
    user: u8,
    scheme: u8,
    how: How,
}

#[derive(Arbitrary, Debug)]
enum How {
    /// One of those that are known.
    Of(u8),
    /// One of them, a NUL, and it once more.
    Again(u8),
    Longer(u8, Vec<u8>),
    Any(Vec<u8>),
    /// No pair at all.
    Raw(Vec<u8>),
}

impl Word {
    /// As YAML has it, which has JSON's texts.
    fn yaml(&self) -> String {
        match self {
            Self::Nothing => "~".to_owned(),
            Self::True => "true".to_owned(),
            Self::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Self::List(all) => format!("{all:?}"),
            Self::Map(key) => format!("{{{key}: x}}"),
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn of<'a>(all: &[&'a str], which: u8) -> &'a str {
    all[usize::from(which) % all.len()]
}

impl Hashed {
    fn yaml(&self) -> String {
        match self {
            Self::Known(which) => KNOWN[usize::from(*which) % KNOWN.len()].1.to_owned(),
            Self::Other(which) => quoted(of(&OTHER, *which)),
            Self::Any(word) => word.yaml(),
        }
    }
}

impl Document {
    fn text(&self) -> Vec<u8> {
        let mut out = String::new();
        if let Some(tls) = &self.tls {
            out += "tls_server_config:\n";
            let mut line = |key: &str, value: String| _ = writeln!(out, "  {key}: {value}");
            let named = [("cert_file", tls.cert), ("key_file", tls.key), ("client_ca_file", tls.ca)];
            for (key, which) in named {
                which.into_iter().for_each(|which| line(key, quoted(of(&FILES, which))));
            }
            tls.auth.into_iter().for_each(|which| line("client_auth_type", of(&AUTH, which).to_owned()));
            tls.min.into_iter().for_each(|which| line("min_version", of(&VERSIONS, which).to_owned()));
            tls.max.into_iter().for_each(|which| line("max_version", of(&VERSIONS, which).to_owned()));
            if let Some(suites) = &tls.suites {
                let all: Vec<String> = suites.iter().map(|which| quoted(of(&SUITES, *which))).collect();
                line("cipher_suites", format!("[{}]", all.join(", ")));
            }
            if let Some((which, word)) = &tls.more {
                let keys =
                    ["prefer_server_cipher_suites", "cert_file", "key_file", "cipher_suites", "certfile"];
                line(of(&keys, *which), word.yaml());
            }
        }
        if self.headers.is_some() || self.http2.is_some() {
            out += "http_server_config:\n";
            if let Some(which) = self.http2 {
                let _ = writeln!(out, "  http2: {}", of(&["true", "false", "maybe", "", "[]"], which));
            }
            for (nth, (which, word)) in self.headers.iter().flatten().enumerate() {
                let head = if nth == 0 { "  headers:\n" } else { "" };
                let _ = writeln!(out, "{head}    {}: {}", of(&HEADERS, *which), word.yaml());
            }
        }
        if let Some(users) = &self.users {
            out += "basic_auth_users:\n";
            for (which, hash) in users {
                let _ = writeln!(out, "  {}: {}", quoted(of(&USERS, *which)), hash.yaml());
            }
        }
        if let Some((which, word)) = &self.more {
            let _ = writeln!(out, "{}: {}", quoted(of(&KEYS, *which)), word.yaml());
        }
        flipped(out.into_bytes(), self.flip)
    }
}

fn flipped(mut bytes: Vec<u8>, flip: Option<(u16, u8)>) -> Vec<u8> {
    if let Some((at, bits)) = flip.filter(|_| !bytes.is_empty()) {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= bits;
    }
    bytes
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for piece in bytes.chunks(3) {
        let number = piece.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let number = number << (8 * (3 - piece.len()));
        for nth in 0..4 {
            let letter = LETTERS[(number >> (18 - 6 * nth) & 63) as usize];
            out.push(if nth > piece.len() { '=' } else { letter.into() });
        }
    }
    out
}

/// A certificate and its key, PEM.
pub fn certificate() -> (String, String) {
    static MADE: LazyLock<(String, String)> = LazyLock::new(|| {
        let keys = KeyPair::generate().expect("keys");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        (params.self_signed(&keys).expect("a certificate").pem(), keys.serialize_pem())
    });
    MADE.clone()
}

/// A folder with certificates, where the files are put.
struct World {
    runtime: Runtime,
    folder: tempfile::TempDir,
    certificate: Vec<u8>,
}

thread_local! {
    static WORLD: LazyCell<World> = const { LazyCell::new(World::new) };
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let keys = KeyPair::generate().expect("keys");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
        let certificate = params.self_signed(&keys).expect("a certificate").pem();
        let other = KeyPair::generate().expect("keys").serialize_pem();
        let files =
            [("key.pem", keys.serialize_pem()), ("other.pem", other), ("ca.pem", certificate.clone())];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        Self { runtime, folder, certificate: certificate.into_bytes() }
    }

    /// Puts a file in its place as a whole, as those who renew one do.
    fn put(&self, name: &str, bytes: &[u8]) {
        let new = self.folder.path().join("new");
        fs::write(&new, bytes).expect("a file");
        fs::rename(new, self.folder.path().join(name)).expect("a file");
    }
}

/// A web configuration, NUL, a second one that it is replaced by, NUL, what is said at the door; or all of it made. What is wrong
/// is told with its place, in one line, and no hash is; what can't be used changes nothing; nobody is let in but with the
/// password whose hash is there.
pub fn web_config(bytes: &[u8]) {
    WORLD.with(|world| match input::<Played>(bytes) {
        Some(Input::Raw(raw)) => {
            let [first, second, said] = parts(raw);
            let second = (!second.is_empty()).then_some(second);
            world.put("cert.pem", &world.certificate);
            world.play(first, second, false, |door, users| {
                let listed = world.runtime.block_on(door.lets_in(said));
                // Whose password nobody here knows may be let in, with a pair at least.
                assert!(listed != Some(true) || users.is_empty() || said.len() > 6, "{said:?}");
            });
        }
        Some(Input::Made(played)) => {
            world.put("cert.pem", &flipped(world.certificate.clone(), played.flip));
            world.put("junk.pem", &played.junk);
            let second = played.second.as_ref().map(Document::text);
            world.play(&played.first.text(), second.as_deref(), played.must_protect, |door, users| {
                for login in played.logins.iter().take(4) {
                    world.log_in(door, users, login);
                }
            });
        }
        None => {}
    });
}

/// Users with the hashes of their passwords.
type Users = std::collections::BTreeMap<String, netmon_agent::config::web::Hash>;

impl World {
    fn play(&self, first: &[u8], second: Option<&[u8]>, must_protect: bool, logins: impl Fn(&Door, &Users)) {
        let path = self.folder.path().join("web.yml");
        self.put("web.yml", first);
        let config = checked(first, &path);
        let door = Door::open(&path, must_protect);
        let mut door = match (door, &config) {
            (Ok(door), Some(config)) => {
                agrees(&door, config, must_protect);
                door
            }
            (Ok(_), None) => panic!("what can't be read is taken"),
            (Err(said), config) => {
                assert!(!said.chars().any(char::is_control), "{said:?}");
                assert!(
                    config
                        .as_ref()
                        .is_none_or(|config| config.tls.is_some() || must_protect && !config.protects()),
                    "{said}"
                );
                return;
            }
        };
        let Some(config) = config else { return };
        if are_quick(&config.users) {
            logins(&door, &config.users);
        }
        let Some(second) = second else { return };
        self.put("web.yml", second);
        let (before, marks) = (door.protects(), door.marks());
        match checked(second, &path) {
            Some(next) if door.look() => {
                agrees(&door, &next, must_protect);
                if are_quick(&next.users) {
                    logins(&door, &next.users);
                }
            }
            Some(next) => assert!(next.tls.is_some() || must_protect && !next.protects(), "not taken"),
            None => {
                assert!(!door.look(), "what can't be read is taken");
                assert_eq!((door.protects(), door.marks()), (before, marks));
                if are_quick(&config.users) {
                    logins(&door, &config.users);
                }
            }
        }
    }

    fn log_in(&self, door: &Door, users: &Users, login: &Login) {
        let user = of(&USERS, login.user);
        let known = |which: u8| KNOWN[usize::from(which) % KNOWN.len()].0.as_bytes();
        let password = match &login.how {
            How::Of(which) => known(*which).to_vec(),
            How::Again(which) => [known(*which), &[0], known(*which)].concat(),
            How::Longer(which, more) => [known(*which), more].concat(),
            How::Any(bytes) => bytes.clone(),
            How::Raw(bytes) => {
                let let_in = self.runtime.block_on(door.lets_in(bytes));
                assert!(let_in != Some(true) || users.is_empty() || bytes.len() > 6, "{bytes:?}");
                return;
            }
        };
        let pair = base64(&[user.as_bytes(), b":", &password].concat());
        let schemes = ["Basic ", "basic ", "Basic  ", "Bearer ", "Basic", "Digest "];
        let scheme = of(&schemes, login.scheme);
        let let_in = self.runtime.block_on(door.lets_in(format!("{scheme}{pair}").as_bytes()));
        // The user is what stands before the first colon.
        let pair = [user.as_bytes(), b":", &password].concat();
        let colon = pair.iter().position(|byte| *byte == b':').unwrap_or(0);
        let own = str::from_utf8(&pair[..colon]).ok().and_then(|user| users.get(user));
        let fits = own.is_some_and(|hash| {
            KNOWN.iter().any(|(known, of_it)| *of_it == hash.0 && known.as_bytes() == &pair[colon + 1..])
                // Of these nobody here knows the password.
                || !KNOWN.iter().any(|(_, of_it)| *of_it == hash.0) && let_in == Some(true)
        });
        let is_basic = ["Basic ", "basic ", "Basic  "].contains(&scheme);
        assert_eq!(let_in, Some(users.is_empty() || fits && is_basic), "{login:?} of {users:?}");
    }
}

/// What it says, where it can be read: as the checks would have it.
fn checked(bytes: &[u8], path: &Path) -> Option<WebConfig> {
    let text = str::from_utf8(bytes).ok()?;
    match WebConfig::parse(text, path) {
        Ok(config) => {
            let shown = format!("{config:?}");
            for (user, hash) in &config.users {
                assert!(!user.contains(':'), "{user:?}");
                assert!(!shown.contains(&hash.0), "{shown}");
                let cost = hash.0.get(4..6).and_then(|cost| cost.parse().ok()).unwrap_or(0);
                assert!((4..=16).contains(&cost), "a cost of {cost}");
            }
            assert!(
                config.headers.iter().all(|(_, value)| !value.is_empty() && !value.contains(['\r', '\n']))
            );
            if let Some(tls) = &config.tls {
                assert!(tls.cert_file.starts_with("/") && tls.key_file.starts_with("/"), "{tls:?}");
                assert!(!(tls.only_tls12 && tls.only_tls13));
                assert_eq!(tls.client_ca_file.is_some(), tls.client_auth != Default::default(), "{tls:?}");
            }
            assert_eq!(config.protects(), config.tls.is_some() || !config.users.is_empty());
            Some(config)
        }
        Err(said) => {
            let place = said.strip_prefix(&format!("{}:", path.display())).map(|rest| rest.splitn(3, ':'));
            let number =
                |word: Option<&str>| word.is_some_and(|word| word.parse::<usize>().is_ok_and(|n| n > 0));
            assert!(place.is_some_and(|mut place| number(place.next()) && number(place.next())), "{said}");
            assert!(!said.chars().any(char::is_control) && said.len() < 1024, "{said:?}");
            for (at, _) in text.match_indices("$2") {
                let hash: String = text[at..].chars().take(60).collect();
                assert!(hash.len() < 30 || !said.contains(&hash), "{said}");
            }
            assert!(!said.contains("hunter2"), "{said}");
            None
        }
    }
}

/// The door is as the file has it.
fn agrees(door: &Door, config: &WebConfig, must_protect: bool) {
    assert_eq!(door.protects(), (config.tls.is_some(), !config.users.is_empty()));
    assert!(!must_protect || config.protects(), "everybody is let in, in the clear");
    let marks = door.marks();
    for (name, value) in &config.headers {
        let found = marks.iter().find(|(marked, _)| marked.eq_ignore_ascii_case(name));
        assert_eq!(found.map(|(_, value)| value.as_slice()), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(marks.len(), config.headers.len());
    let shown = format!("{door:?}");
    assert!(config.users.values().all(|hash| !shown.contains(&hash.0)), "{shown}");
}

/// At a higher cost a login takes so long that nothing else is played.
fn are_quick(users: &Users) -> bool {
    users.values().all(|hash| matches!(hash.0.get(4..6), Some("04" | "05")))
}
