//! Web servers of a test's own, by hand: they answer well or badly, in the clear or over TLS.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use netmon_agent::observation::{HttpRequest, Method};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// A stream in the clear or over TLS.
pub trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

/// What a server has been sent, head by head, and by whom.
pub type Seen = Arc<Mutex<Vec<(SocketAddr, String)>>>;

/// Accepts connections on an address, each in a thread of its own.
pub fn accept(address: IpAddr, port: u16, handle: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((address, port)).expect("listen");
    socket2::SockRef::from(&listener).listen(1024).expect("a longer queue");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    port
}

/// Serves plain HTTP: reads a head, then lets `answer` write what it likes.
pub fn serve(
    address: IpAddr,
    port: u16,
    answer: impl Fn(&str, &mut dyn Stream) + Clone + Send + 'static,
) -> (u16, Seen) {
    let seen = Seen::default();
    let handle = {
        let seen = seen.clone();
        move |mut stream: TcpStream| talk(&mut stream, &seen, |s| s.peer_addr(), &answer)
    };
    (accept(address, port, handle), seen)
}

/// The same over TLS.
pub fn serve_tls(
    address: IpAddr,
    port: u16,
    identity: &Identity,
    answer: impl Fn(&str, &mut dyn Stream) + Clone + Send + 'static,
) -> (u16, Seen) {
    let (config, seen) = (identity.config(), Seen::default());
    let handle = {
        let seen = seen.clone();
        move |stream: TcpStream| {
            let connection = ServerConnection::new(config.clone()).expect("a configuration");
            let mut stream = StreamOwned::new(connection, stream);
            talk(&mut stream, &seen, |s| s.sock.peer_addr(), &answer);
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    };
    (accept(address, port, handle), seen)
}

fn talk<S: Stream>(
    stream: &mut S,
    seen: &Seen,
    peer: impl Fn(&S) -> std::io::Result<SocketAddr>,
    answer: &impl Fn(&str, &mut dyn Stream),
) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => head.extend(&buffer[..n]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("a head in ASCII");
    if let Ok(peer) = peer(stream) {
        seen.lock().expect("no panic").push((peer, head.clone()));
    }
    answer(&head, stream);
}

/// Answers with a status and a short body.
pub fn status(line: &'static str) -> impl Fn(&str, &mut dyn Stream) + Clone + Send + 'static {
    move |_, stream| {
        let _ = write!(stream, "HTTP/1.1 {line}\r\nContent-Length: 2\r\nLocation: /elsewhere\r\n\r\nhi");
    }
}

/// Answers well, after a while.
pub fn slow(wait: Duration) -> impl Fn(&str, &mut dyn Stream) + Clone + Send + 'static {
    move |head, stream| {
        thread::sleep(wait);
        status("200 OK")(head, stream);
    }
}

/// An HTTP probe of a port.
pub fn http(port: u16) -> HttpRequest {
    HttpRequest { port, ..HttpRequest::default() }
}

/// The same over TLS, of a host with this name, trusting these authorities.
pub fn https(port: u16, host: &str, authorities: Option<&Path>) -> HttpRequest {
    HttpRequest { tls: true, host: host.to_owned(), ca_file: authorities.map(Path::to_owned), ..http(port) }
}

pub fn method(request: HttpRequest) -> Method {
    Method::Http(Arc::new(request))
}

/// An authority that makes certificates, and its own in a file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: PathBuf,
    _directory: tempfile::TempDir,
}

/// A server's certificates and its key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    pem: String,
}

impl Authority {
    /// Valid until the first of January of this year.
    pub fn new(until: i32) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(until, 1, 1);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let issuer = issuer.expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).expect("a file");
        Self { issuer, file, _directory: directory }
    }

    /// A certificate for these names or addresses, until the first of January of a year; with the authority's own where
    /// the server is to present that too.
    pub fn identity(&self, names: &[&str], until: i32, with_authority: bool) -> Identity {
        let (params, key) = subject(names, until);
        let own = params.signed_by(&key, &self.issuer).expect("a certificate");
        let mut chain = vec![own.der().clone()];
        chain.extend(with_authority.then(|| self.issuer.der().clone()));
        Identity { chain, key: private(&key), pem: own.pem() }
    }
}

impl Identity {
    /// One that nobody else vouches for, and that may sign others too, as `openssl req -x509` makes it.
    pub fn self_signed(names: &[&str], until: i32) -> Self {
        let (mut params, key) = subject(names, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).expect("a certificate");
        Self { chain: vec![own.der().clone()], key: private(&key), pem: own.pem() }
    }

    /// Writes the server's own certificate to a file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).expect("a file");
    }

    fn config(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key());
        Arc::new(config.expect("a key that fits"))
    }
}

fn subject(names: &[&str], until: i32) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    (params, KeyPair::generate().expect("a key"))
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8")
}
