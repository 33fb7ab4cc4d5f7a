//! The task with real files, and with a server and a resolver of the tests' own on loopback.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use hickory_resolver::proto::{op::ResponseCode, rr::RecordType::SRV};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::*;
use crate::{
    config::{Config, HttpSource, SourceKind},
    source::resolve::server::{Reply, Server, service},
};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(20);

fn config(text: &str) -> Arc<Config> {
    Arc::new(Config::parse(text, Path::new("t")).unwrap())
}

/// The task and what it tells.
struct Whole {
    base: watch::Sender<Arc<Config>>,
    news: mpsc::UnboundedReceiver<News>,
    last: News,
    task: JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Whole {
    /// With these sources, in which `@` is the folder.
    fn start(folder: tempfile::TempDir, sources: &str, resolver_port: u16) -> Self {
        let config = config(&sources.replace('@', &folder.path().display().to_string()));
        let state = State::new(Arc::clone(&config));
        let last = state.news();
        let (base, received) = watch::channel(config);
        let (told, news) = mpsc::unbounded_channel();
        let resolv_conf = folder.path().join("resolv.conf");
        fs::write(&resolv_conf, "nameserver 127.0.0.1\nsearch .\n").unwrap();
        let resolve = resolve::Options {
            resolv_conf,
            hosts: folder.path().join("hosts"),
            port: resolver_port,
            limit: Duration::from_secs(2),
            ..resolve::Options::default()
        };
        let options = Options { resolve, gather: Duration::from_millis(20), ..Options::default() };
        let task = tokio::spawn(run(state, received, options, move |news| drop(told.send(news))));
        Self { base, news, last, task, folder }
    }

    fn names(&self) -> Vec<&str> {
        self.last.config.targets.iter().map(|t| t.name.as_str()).collect()
    }

    /// Puts a file in its place by another's name, as one that is never half written.
    fn put(&self, name: &str, text: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.path().join(name)).unwrap();
    }

    /// Takes what is told until it is so.
    async fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let waited = tokio::time::timeout(LONG, async {
            while !is_so(self) {
                self.last = self.news.recv().await.expect("the task ended");
            }
        });
        if waited.await.is_err() {
            panic!("{:?} {:?}", self.names(), self.last.reports);
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn groups(targets: &[&str]) -> String {
    serde_json::json!([{ "targets": targets }]).to_string()
}

const FILES: &str = "[defaults]\nauto_targets = false\n[[discovery.file_sd]]\nname = \"rack\"\n\
                     files = [\"@/*.json\", \"@/*.yml\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn files_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), groups(&["127.0.0.1", "127.0.0.2"])).unwrap();
    let mut whole = Whole::start(folder, FILES, 53);
    assert_eq!(whole.names(), ["127.0.0.1", "127.0.0.2"], "at the start already");
    assert!(whole.last.reports[0].is_well());

    // Renamed into place, written in place, and a new one.
    whole.put("a.json", &groups(&["127.0.0.1", "127.0.0.3"]));
    whole.until(|w| w.names() == ["127.0.0.1", "127.0.0.3"]).await;
    fs::write(whole.folder.path().join("a.json"), groups(&["127.0.0.3"])).unwrap();
    whole.until(|w| w.names() == ["127.0.0.3"]).await;
    fs::write(whole.folder.path().join("b.yml"), "- targets: [127.0.0.4]\n").unwrap();
    whole.until(|w| w.names() == ["127.0.0.3", "127.0.0.4"]).await;
    // As Kubernetes does it: the file is a link, whose directory is changed by way of another link.
    let at = |name: &str| whole.folder.path().join(name);
    for (version, target) in [("v1", "127.0.0.5"), ("v2", "127.0.0.6")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("c.json"), groups(&[target])).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("data")).unwrap();
    std::os::unix::fs::symlink("data/c.json", at("c.json")).unwrap();
    whole.until(|w| w.names().contains(&"127.0.0.5")).await;
    let at = |name: &str| whole.folder.path().join(name);
    std::os::unix::fs::symlink("v2", at("next")).unwrap();
    fs::rename(at("next"), at("data")).unwrap();
    whole.until(|w| w.names() == ["127.0.0.3", "127.0.0.4", "127.0.0.6"]).await;

    fs::remove_file(whole.folder.path().join("a.json")).unwrap();
    whole.until(|w| w.names() == ["127.0.0.4", "127.0.0.6"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_bad_file_keeps_what_it_said_last() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), groups(&["127.0.0.1"])).unwrap();
    let mut whole = Whole::start(folder, FILES, 53);
    let before = Arc::clone(&whole.last.config);
    for bad in ["", "[{\"targets\": [\"127.0.0.9\"", "[{\"targets\": [\"127.0.0.9\", \"a b\"]}]"] {
        let failures = whole.last.reports[0].failures;
        whole.put("a.json", bad);
        whole.until(|w| w.last.reports[0].failures > failures).await;
        let report = &whole.last.reports[0];
        assert!(!report.is_well() && report.problems.len() == 1, "{report:?}");
        assert!(Arc::ptr_eq(&whole.last.config, &before), "{bad}");
    }
    let problem = &whole.last.reports[0].problems[0];
    assert!(problem.contains("a.json:1:28: \"a b\" is no host name"), "{problem}");
    // The other files of the source go on.
    whole.put("b.yml", "- targets: [127.0.0.2]\n");
    whole.until(|w| w.names() == ["127.0.0.1", "127.0.0.2"]).await;
    whole.put("a.json", &groups(&["127.0.0.3"]));
    whole.until(|w| w.names() == ["127.0.0.3", "127.0.0.2"]).await;
    assert!(whole.last.reports[0].is_well() && whole.last.reports[0].succeeded.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_directory_may_come_later() {
    let folder = tempfile::tempdir().unwrap();
    let mut whole = Whole::start(folder, &FILES.replace("@/*.json", "@/x/y/*.json"), 53);
    assert_eq!(whole.names(), [] as [&str; 0]);
    // Once it is known to be looked for.
    whole.put("a.yml", "- targets: [127.0.0.1]\n");
    whole.until(|w| w.names() == ["127.0.0.1"]).await;
    fs::create_dir_all(whole.folder.path().join("x/y")).unwrap();
    fs::write(whole.folder.path().join("x/y/a.json"), groups(&["127.0.0.2"])).unwrap();
    whole.until(|w| w.names() == ["127.0.0.1", "127.0.0.2"] || w.names() == ["127.0.0.2", "127.0.0.1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn another_configuration_keeps_what_was_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.json"), groups(&["127.0.0.1:80"])).unwrap();
    let mut whole = Whole::start(folder, FILES, 53);
    // What was read last stays while the file is bad, and follows the new settings.
    whole.put("a.json", "[");
    whole.until(|w| !w.last.reports[0].is_well()).await;
    let anew = |whole: &Whole, text: &str| {
        let text = text.replace('@', &whole.folder.path().display().to_string());
        whole.base.send_replace(config(&text));
    };
    anew(&whole, &format!("{FILES}probe = \"tcp\"\nscope = \"web\"\n"));
    whole.until(|w| w.names() == ["127.0.0.1:80"]).await;
    assert_eq!(whole.last.config.targets[0].scope, "web");
    assert!(!whole.last.reports[0].is_well() && whole.last.reports[0].failures >= 2);
    // No sources any more: the configuration is the file's own.
    anew(&whole, "[[target]]\nhost = \"127.0.0.7\"\n");
    whole.until(|w| w.names() == ["127.0.0.7"]).await;
    assert_eq!(whole.last.reports, []);
}

/// A server that answers every question with what it holds, and tells the questions.
async fn server(answer: watch::Receiver<String>, asked: mpsc::UnboundedSender<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            asked.send(String::from_utf8(head).unwrap()).unwrap();
            let answer = answer.borrow().clone();
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    port
}

fn reply(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    reply("200 OK\r\nContent-Type: application/json; charset=utf-8", body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_is_asked_again_and_again_and_its_last_good_answer_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (answer, answers) = watch::channel(ok(&groups(&["127.0.0.1:80", "127.0.0.2:80"])));
    let (asked, mut questions) = mpsc::unbounded_channel();
    let port = server(answers, asked).await;
    let token = folder.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(&token, private).unwrap();
    let text = format!(
        "[[discovery.http_sd]]\nurl = \"http://localhost:{port}/sd?x=1\"\nrefresh_interval = \"1s\"\n\
         bearer_token_file = \"@/token\"\nprobe = \"tcp\"\n"
    );
    let mut whole = Whole::start(folder, &text, 53);
    assert!(!whole.last.reports[0].answered);
    whole.until(|w| w.names() == ["127.0.0.1:80", "127.0.0.2:80"]).await;
    let question = questions.recv().await.unwrap().to_lowercase();
    for line in [
        "get /sd?x=1 http/1.1\r\n",
        "\r\naccept: application/json\r\n",
        "\r\nx-prometheus-refresh-interval-seconds: 1\r\n",
        "\r\nauthorization: bearer s3cret\r\n",
        &format!("\r\nhost: localhost:{port}\r\n"),
    ] {
        assert!(question.contains(line), "{line:?} in {question:?}");
    }
    for (bad, said) in [
        (reply("500 Oops", ""), "the answer is 500 Internal Server Error, not 200"),
        (ok("[{\"targets\": [\"127.0.0.9\"]}]"), "/sd:1:15: a tcp target needs a port"),
    ] {
        answer.send_replace(bad);
        whole.until(|w| w.last.reports[0].problems.iter().any(|p| p.contains(said))).await;
        assert_eq!(whole.names(), ["127.0.0.1:80", "127.0.0.2:80"]);
    }
    answer.send_replace(ok("[]"));
    whole.until(|w| w.names().is_empty()).await;
    assert!(whole.last.reports[0].is_well());
}

#[tokio::test]
async fn what_is_no_good_answer_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (answer, answers) = watch::channel(String::new());
    let (asked, _questions) = mpsc::unbounded_channel();
    let port = server(answers, asked).await;
    let token = folder.path().join("token");
    fs::write(&token, "s3cret").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o640)).unwrap();
    let text = format!(
        "[[discovery.http_sd]]\nurl = \"http://127.0.0.1:{port}/\"\nusername = \"u\"\npassword_file = \"{}\"\n",
        token.display()
    );
    let config = config(&text);
    let SourceKind::Http(source) = &config.discovery.sources[0].kind else { panic!() };
    let ask = resolve::Asker::new(resolve::Options::default()).now();
    let large = "x".repeat(crate::config::MAX_DOCUMENT + 1);
    for (bad, said) in [
        (reply("302 Found\r\nLocation: http://x/", ""), "redirections are not followed: http://x/"),
        (reply("200 OK\r\nContent-Type: text/html", "[]"), "the answer's Content-Type is \"text/html\""),
        (reply("200 OK", "[]"), "the answer's Content-Type is missing"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[".to_owned(),
            "broke off",
        ),
        (ok(&large), "the answer is larger than 16 MiB"),
        ("what?\r\n\r\n".to_owned(), "no HTTP answer"),
    ] {
        answer.send_replace(bad);
        let told = http::fetch(source, &ask).await.unwrap_err();
        assert!(told.contains(said), "{told}");
    }
    answer.send_replace(ok("[]"));
    assert_eq!(http::fetch(source, &ask).await.as_deref(), Ok("[]"));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let told = http::fetch(source, &ask).await.unwrap_err();
    assert!(told.contains("everybody may read this secret; chmod o="), "{told}");
    // Nobody listens there any more.
    let closed = HttpSource {
        url: "http://x/".to_owned(),
        request: crate::observation::HttpRequest { port: 1, ..source.request.clone() },
        credentials: None,
        ..(**source).clone()
    };
    let told = http::fetch(&closed, &ask).await.unwrap_err();
    assert!(told.starts_with("http://x/: can't connect to 127.0.0.1 port 1: "), "{told}");
}

#[tokio::test]
async fn a_server_has_to_be_who_it_says() {
    use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};

    let folder = tempfile::tempdir().unwrap();
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs::write(&ca_file, cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // One that does not trust it breaks off.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(ok("[]").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let ask = resolve::Asker::new(resolve::Options::default()).now();
    for (host, ca, told) in [
        ("localhost", true, None),
        ("127.0.0.1", true, Some("TLS: invalid peer certificate")),
        ("localhost", false, Some("TLS: ")),
    ] {
        let ca = if ca { format!("url_ca_file = \"{}\"\n", ca_file.display()) } else { String::new() };
        let text = format!("[[discovery.http_sd]]\nurl = \"https://{host}:{port}/\"\n{ca}");
        let config = config(&text);
        let SourceKind::Http(source) = &config.discovery.sources[0].kind else { panic!() };
        let answer = http::fetch(source, &ask).await;
        match told {
            None => assert_eq!(answer.as_deref(), Ok("[]")),
            Some(told) => assert!(answer.as_ref().is_err_and(|e| e.contains(told)), "{host}: {answer:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_host_and_port_of_a_service_is_a_target() {
    let folder = tempfile::tempdir().unwrap();
    let dns = Server::start("127.0.0.1:0").await;
    let name = "_x._tcp.example.";
    let records = |all: &[(&str, u16)]| {
        Reply::Records(all.iter().map(|(host, port)| service(name, 0, host, *port)).collect())
    };
    dns.set(name, SRV, Reply::Code(ResponseCode::ServFail));
    let text = "[[discovery.dns_sd]]\nnames = [\"_x._tcp.example\"]\nprobe = \"tcp\"\nscope = \"x\"\n";
    let mut whole = Whole::start(folder, text, dns.address.port());
    whole.until(|w| w.last.reports[0].problems.iter().any(|p| p.contains("SERVFAIL"))).await;
    dns.set(name, SRV, records(&[("a.example.", 443), ("b.example.", 8443)]));
    whole.until(|w| w.names() == ["a.example:443", "b.example:8443"]).await;
    assert!(whole.last.reports[0].is_well());
    // Its time to live is over at once, and five seconds are the least.
    dns.set(name, SRV, records(&[("b.example.", 8443)]));
    whole.until(|w| w.names() == ["b.example:8443"]).await;
    assert_eq!(whole.last.config.targets[0].host, "b.example");
}

#[test]
fn a_name_with_addresses_is_one_target_of_one_family() {
    let text = "[[discovery.dns_sd]]\nnames = [\"a.example\"]\ntype = \"AAAA\"\nprobe = \"tcp\"\nport = 80\n";
    let news = State::new(config(text)).news();
    let target = &news.config.targets[0];
    assert_eq!((&*target.name, &*target.host), ("a.example:80", "a.example"));
    assert!(target.path.suits("::1".parse().unwrap()) && !target.path.suits("127.0.0.1".parse().unwrap()));
    assert!(news.reports[0].is_well());
}
