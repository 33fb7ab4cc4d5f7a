//! A webhook's other side, by hand: it answers well or badly, in the clear or over TLS.

use std::{
    io::{Read, Write},
    net::{IpAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: String,
    pub body: String,
}

impl Request {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let of = |line: &'_ str| {
            line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(n, _)| n.len() + 2)
        };
        self.head.lines().find_map(|line| Some(&line[of(line)?..])).unwrap_or_default()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// What came, and how many connections there were.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<(Vec<Request>, usize)>>);

impl Seen {
    pub fn requests(&self) -> Vec<Request> {
        self.0.lock().expect("as it is set up here").0.clone()
    }

    pub fn connections(&self) -> usize {
        self.0.lock().expect("as it is set up here").1
    }
}

/// How the `n`th request, counted from 0, is answered.
pub trait Answer: Fn(usize, &mut dyn Stream) + Clone + Send + 'static {}

impl<F: Fn(usize, &mut dyn Stream) + Clone + Send + 'static> Answer for F {}

/// These answers, one after the other, and the last again and again.
pub fn answers(heads: &[&str]) -> impl Answer + use<> {
    let heads: Vec<String> = heads.iter().map(|&h| h.to_owned()).collect();
    move |n, stream| {
        let head = &heads[n.min(heads.len() - 1)];
        let _ = write!(stream, "HTTP/1.1 {head}\r\nContent-Length: 2\r\n\r\nok");
    }
}

/// Serves on a port of loopback.
pub fn serve(answer: impl Answer) -> (u16, Seen) {
    listen("127.0.0.1".parse().expect("as it is set up here"), move |n, mut stream, seen: &Seen| {
        talk(n, &mut stream, seen, &answer);
    })
}

/// The same over TLS, with a certificate for these names; also the authority's certificate in a file.
pub fn serve_tls(names: &[&str], answer: impl Answer) -> (u16, Seen, Authority) {
    let authority = Authority::new();
    let config = authority.server(names);
    let (port, seen) =
        listen("127.0.0.1".parse().expect("as it is set up here"), move |n, stream, seen: &Seen| {
            let connection = ServerConnection::new(config.clone()).expect("a configuration");
            let mut stream = StreamOwned::new(connection, stream);
            talk(n, &mut stream, seen, &answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        });
    (port, seen, authority)
}

/// Accepts connections, each in a thread of its own.
pub fn listen(
    address: IpAddr,
    handle: impl Fn(usize, TcpStream, &Seen) + Clone + Send + 'static,
) -> (u16, Seen) {
    let listener = TcpListener::bind((address, 0)).expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let seen = Seen::default();
    let kept = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let n = {
                let mut seen = kept.0.lock().expect("as it is set up here");
                seen.1 += 1;
                seen.1 - 1
            };
            let (handle, seen) = (handle.clone(), kept.clone());
            thread::spawn(move || handle(n, stream, &seen));
        }
    });
    (port, seen)
}

fn talk<S: Stream>(n: usize, stream: &mut S, seen: &Seen, answer: &impl Answer) {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let request = loop {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => text.extend(&buffer[..n]),
            _ => return,
        }
        let whole = String::from_utf8_lossy(&text);
        let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
        let request = Request { head: head.to_owned(), body: body.to_owned() };
        if body.len() >= request.header("content-length").parse().unwrap_or(0) {
            break request;
        }
    };
    seen.0.lock().expect("as it is set up here").0.push(request);
    answer(n, stream);
}

pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("as it is set up here");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("as it is set up here"))
            .expect("as it is set up here");
        let folder = tempfile::tempdir().expect("as it is set up here");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).expect("as it is set up here");
        Self { issuer, file, _folder: folder }
    }

    fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let key = KeyPair::generate().expect("as it is set up here");
        let own = CertificateParams::new(names)
            .expect("as it is set up here")
            .signed_by(&key, &self.issuer)
            .expect("as it is set up here");
        let chain: Vec<CertificateDer<'static>> = vec![own.der().clone()];
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("as it is set up here")
            .with_no_client_auth()
            .with_single_cert(
                chain,
                PrivateKeyDer::try_from(key.serialize_der()).expect("as it is set up here"),
            );
        Arc::new(config.expect("as it is set up here"))
    }
}
