//! TLS and users of what is served over TCP, as curl sees it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use netmon_agent::output::api::{Web, WebError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::world::{FRESH, World};

/// An authority of the test's own.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, file: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Of one name, issuer and subject would be taken for one.
        params.distinguished_name.push(DnType::CommonName, file);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join(file), issuer.pem()).unwrap();
        Self { issuer, folder: folder.to_owned() }
    }

    /// `NAME.crt` and `NAME.key`, for 127.0.0.1.
    fn certify(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        fs::write(self.folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    }
}

fn write(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("web.yml");
    fs::write(&path, text).unwrap();
    path
}

const TLS: &str = "tls_server_config: {cert_file: server.crt, key_file: server.key";

fn users() -> String {
    let hash = bcrypt::hash("correct horse", 4).unwrap();
    format!("basic_auth_users: {{alice: '{hash}'}}\n")
}

fn serve(path: &Path) -> World {
    let web = Arc::new(Web::read(path, true).unwrap());
    World::with(FRESH, |options| options.web = Some(web))
}

/// The status that curl has, or what it says is wrong; and all headers.
fn curl(world: &World, scheme: &str, folder: &Path, words: &[&str]) -> Result<(u16, String), String> {
    let address = world.server.as_ref().unwrap().tcp()[0];
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "30", "-D", "-", "-o", "/dev/null", "-w", "%{http_code}"]).args(words);
    let output = command.arg(format!("{scheme}://{address}/metrics")).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok((said[said.len() - 3..].parse().unwrap(), said.to_lowercase())),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn only_who_is_known_reads_over_an_encrypted_connection() {
    if !curl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Authority::new(folder, "ca.crt").certify("server");
    let headers = "http_server_config: {headers: {X-Frame-Options: deny}}\n";
    let path = write(folder, &format!("{TLS}}}\n{headers}{}", users()));
    let world = serve(&path);
    let ask = |words: &[&str]| curl(&world, "https", folder, &[&["--cacert", "ca.crt"], words].concat());

    for words in [&[][..], &["-u", "alice:wrong"], &["-u", "bob:correct horse"], &["-u", "alice:"]] {
        let (status, headers) = ask(words).unwrap();
        assert_eq!(status, 401, "{words:?}: {headers}");
        assert!(headers.contains("www-authenticate: basic") && headers.contains("x-frame-options: deny"));
    }
    // The second time it is remembered.
    for _ in 0..2 {
        let (status, headers) = ask(&["-u", "alice:correct horse"]).unwrap();
        assert!(status == 200 && headers.contains("x-frame-options: deny"), "{headers}");
    }
    assert!(ask(&["--tls-max", "1.2", "-u", "alice:correct horse"]).unwrap().0 == 200);
    assert!(curl(&world, "http", folder, &["-u", "alice:correct horse"]).is_err(), "not in the clear");
    assert!(
        curl(&world, "https", folder, &[]).unwrap_err().contains("certificate"),
        "its authority is another"
    );
    // The Unix socket is as it was.
    assert!(world.get("/metrics").starts_with("HTTP/1.1 200"));
}

#[test]
fn what_is_renewed_holds_from_the_next_connection_on_and_what_is_broken_changes_nothing() {
    if !curl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Authority::new(folder, "ca.crt").certify("server");
    let path = write(folder, &format!("{TLS}}}\n"));
    let world = serve(&path);
    let ask = |ca: &str| curl(&world, "https", folder, &["--cacert", ca]);
    assert_eq!(ask("ca.crt").unwrap().0, 200);

    Authority::new(folder, "new.crt").certify("server");
    assert_eq!(ask("new.crt").unwrap().0, 200);
    assert!(ask("ca.crt").is_err());

    for broken in ["tls_server_config: [", "tls_server_config: {cert_file: no, key_file: no}", "", "{}"] {
        fs::write(&path, broken).unwrap();
        assert_eq!(ask("new.crt").unwrap().0, 200, "{broken:?}");
    }
    fs::write(folder.join("server.key"), "no key").unwrap();
    write(folder, &format!("{TLS}}}\n"));
    assert_eq!(ask("new.crt").unwrap().0, 200);

    write(folder, &users());
    assert_eq!(curl(&world, "http", folder, &[]).unwrap().0, 401, "users alone");
    assert_eq!(curl(&world, "http", folder, &["-u", "alice:correct horse"]).unwrap().0, 200);
}

#[test]
fn clients_show_certificates_where_they_must() {
    if !curl_is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    Authority::new(folder, "ca.crt").certify("server");
    Authority::new(folder, "others.crt").certify("other");
    Authority::new(folder, "clients.crt").certify("client");
    let with = |kind: &str| format!("{TLS}, client_ca_file: clients.crt, client_auth_type: {kind}}}\n");
    let path = write(folder, &with("RequireAndVerifyClientCert"));
    let world = serve(&path);
    let ask = |words: &[&str]| curl(&world, "https", folder, &[&["--cacert", "ca.crt"], words].concat());
    let client = ["--cert", "client.crt", "--key", "client.key"];
    let other = ["--cert", "other.crt", "--key", "other.key"];
    assert_eq!(ask(&client).unwrap().0, 200);
    assert!(ask(&[]).is_err() && ask(&other).is_err());

    write(folder, &with("VerifyClientCertIfGiven"));
    assert_eq!((ask(&client).unwrap().0, ask(&[]).unwrap().0), (200, 200));
    assert!(ask(&other).is_err());
}

#[test]
fn nothing_is_served_to_everybody_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "http_server_config: {}\n");
    assert!(matches!(Web::read(&path, true), Err(WebError::Open { .. })));
    assert_eq!(Web::read(&path, false).unwrap().scheme(), "http");
    assert!(matches!(Web::read(folder.path(), false), Err(WebError::Read { .. })), "a folder");
    let path = write(folder.path(), &format!("{TLS}}}\n"));
    let error = Web::read(&path, true).unwrap_err().to_string();
    assert!(error.contains("server.crt"), "{error}");
}

fn curl_is_there() -> bool {
    let there = Command::new("curl").arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "curl is needed in CI");
    if !there {
        eprintln!("SKIPPED: no curl");
    }
    there
}
