//! Targets that are added and removed over the socket. There is no core here: what it would be told is looked at.

use std::{io::Write, net::TcpStream, path::Path};

use netmon_agent::{
    added::{Added, FILE},
    config::Config,
    time::{Boot, Wall},
};
use netmon_client::{
    Error, aio,
    wire::{TargetChange, TargetSpec},
};

use crate::world::{FRESH, LONG, World, read_all};

const CONFIG: &str = "[defaults]\nauto_targets = false\n[[target]]\nname = \"own\"\nhost = \"192.0.2.1\"";

struct Kept {
    world: World,
    added: Added,
}

fn added(folder: &Path) -> Added {
    let config = Config::parse(CONFIG, Path::new("netmon.toml")).unwrap();
    Added::at(config, folder.join(FILE), Boot::now(), Wall::now())
}

impl Kept {
    fn new() -> Self {
        let mut world = World::new(FRESH);
        world.stop();
        let added = added(world.folder.path());
        world.start(|options| options.added = Some(added.clone()));
        Self { world, added }
    }

    /// What the core is told of: the names of all targets.
    fn wanted(&self) -> Vec<String> {
        let wanted = self.added.subscribe().borrow().clone();
        wanted.config.targets.iter().map(|t| t.name.clone()).collect()
    }

    fn ask(&self, line: &str, body: &str) -> (u16, String) {
        parted(&self.world.raw(&request(line, body)))
    }
}

fn request(line: &str, body: &str) -> String {
    let length = body.len();
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Status and body of an answer.
fn parted(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0), body.replace("\\\"", "\""))
}

#[test]
fn a_target_comes_changes_stays_and_goes() {
    let kept = Kept::new();
    let tcp = r#"{"host":"192.0.2.7","probe":"tcp","port":443,"scope":"backup"}"#;
    for (line, body, answer) in [
        ("PUT /v1/targets/v%20center", tcp, r#"{"name":"v center","change":"added"}"#),
        ("PUT /v1/targets/v%20center", tcp, r#"{"name":"v center","change":"unchanged"}"#),
        (
            "PUT /v1/targets/v%20center",
            r#"{"host":"192.0.2.8"}"#,
            r#"{"name":"v center","change":"changed"}"#,
        ),
    ] {
        assert_eq!(kept.ask(line, body), (200, format!("{answer}\n")));
        assert_eq!(kept.wanted(), ["own", "v center"]);
    }
    assert_eq!(kept.ask("PUT /v1/targets/a%2Fb", r#"{"host":"h","name":"a/b","persist":true}"#).0, 200);
    let all = r#"{"targets":[{"name":"a/b","persist":true,"host":"h"},{"name":"v center","persist":false,"host":"192.0.2.8"}]}"#;
    assert_eq!(kept.ask("GET /v1/targets", ""), (200, format!("{all}\n")));

    let removed = "{\"name\":\"v center\",\"change\":\"removed\"}\n";
    assert_eq!(kept.ask("DELETE /v1/targets/v%20center", ""), (200, removed.to_owned()));
    assert_eq!(kept.ask("DELETE /v1/targets/v%20center", "").0, 404);
    assert_eq!(kept.wanted(), ["own", "a/b"]);
    // Another agent has what is kept.
    assert_eq!(added(kept.world.folder.path()).all().len(), 1);
}

#[test]
fn what_is_no_target_is_refused_with_what_to_do() {
    let kept = Kept::new();
    let good = r#"{"host":"192.0.2.7"}"#;
    for (line, body, status, words) in [
        ("PUT /v1/targets/a", "", 400, "it reads like {\"host\":\"192.0.2.1\""),
        ("PUT /v1/targets/a", "[1]", 400, "no object"),
        ("PUT /v1/targets/a", "{}", 400, "missing key `host`"),
        ("PUT /v1/targets/a", r#"{"host":"h","prot":1}"#, 400, "did you mean `port`?"),
        (
            "PUT /v1/targets/a",
            r#"{"host":"h","interval":"1ms"}"#,
            400,
            "interval: an interval is between 20ms",
        ),
        ("PUT /v1/targets/a", r#"{"host":"h","persist":"yes"}"#, 400, "persist: \"yes\" is neither"),
        ("PUT /v1/targets/a%0A", good, 400, "no control characters"),
        ("PUT /v1/targets/a%ff", good, 400, "UTF-8"),
        ("PUT /v1/targets/own", good, 409, "change it there, and reload"),
        ("DELETE /v1/targets/own", "", 409, "change it there, and reload"),
        ("DELETE /v1/targets/b", "", 404, "netmon target list"),
        ("PUT /v1/targets/a", r#"{"host":"h","interval":"20ms","mark":-1}"#, 400, "mark: invalid value"),
        ("GET /v1/targets/a", "", 405, "GET /v1/targets has those"),
        ("POST /v1/targets/a", good, 405, "by PUT"),
        ("PUT /v1/targets/", good, 404, "/v1/targets/NAME"),
        ("PUT /v1/targets", good, 405, "GET only"),
    ] {
        let (told, said) = kept.ask(line, body);
        assert!(told == status && said.contains(words), "{line} {body}: {told} {said}");
    }
    let long = format!(r#"{{"host":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(kept.ask("PUT /v1/targets/a", &long).0, 413);
    assert_eq!(kept.wanted(), ["own"]);

    // Over TCP, where a browser may be made to ask, nothing is changed and nothing told.
    let address = kept.world.server.as_ref().unwrap().tcp()[0];
    for (line, body) in [("PUT /v1/targets/a", good), ("DELETE /v1/targets/a", ""), ("GET /v1/targets", "")] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.write_all(request(line, body).as_bytes()).unwrap();
        let (status, said) = parted(&read_all(&mut stream));
        assert!(status == 403 && said.contains("Unix socket only"), "{line}: {status} {said}");
    }
    assert_eq!(kept.wanted(), ["own"]);
}

#[test]
fn what_cannot_be_kept_is_refused_and_nothing_is_added() {
    let kept = Kept::new();
    // Root may write into a directory that is closed, but not onto a directory.
    let path = kept.world.folder.path().join(FILE);
    std::fs::create_dir_all(path.join("x")).unwrap();
    let (status, said) = kept.ask("PUT /v1/targets/a", r#"{"host":"h","persist":true}"#);
    assert!(status == 409 && said.contains("can't be kept across restarts"), "{status} {said}");
    assert_eq!(kept.wanted(), ["own"]);
    assert_eq!(kept.ask("PUT /v1/targets/a", r#"{"host":"h"}"#).0, 200);
}

#[test]
fn both_clients_add_and_remove() {
    let kept = Kept::new();
    let client = kept.world.client();
    let target =
        TargetSpec { host: Some("192.0.2.7".into()), interval: Some("5s".into()), ..TargetSpec::default() };
    assert_eq!(client.put_target("a", &target).unwrap(), TargetChange::Added);
    assert_eq!(client.put_target("a", &target).unwrap(), TargetChange::Unchanged);
    assert_eq!(client.added_targets().unwrap()[0].keys["interval"], "5s");
    assert!(matches!(client.put_target("own", &target), Err(Error::Refused(_))));
    assert!(matches!(client.put_target("b", &TargetSpec::default()), Err(Error::BadRequest(_))));
    client.delete_target("a").unwrap();
    assert!(matches!(client.delete_target("a"), Err(Error::NotFound(_))));

    let client = aio::Client::new(kept.world.socket());
    kept.world.runtime.block_on(async {
        assert_eq!(client.put_target("c", &target).await.unwrap(), TargetChange::Added);
        assert_eq!(client.added_targets().await.unwrap()[0].name, "c");
        client.delete_target("c").await.unwrap();
        assert!(matches!(client.delete_target("c").await, Err(Error::NotFound(_))));
    });
    assert_eq!(kept.wanted(), ["own"]);
}

#[test]
fn many_at_once_are_all_there() {
    let kept = Kept::new();
    std::thread::scope(|scope| {
        for i in 0..20 {
            let client = kept.world.client();
            let target = TargetSpec { host: Some("h".into()), persist: i % 2 == 0, ..TargetSpec::default() };
            scope.spawn(move || client.put_target(&format!("t{i}"), &target).unwrap());
        }
    });
    assert_eq!(kept.wanted().len(), 21);
    assert_eq!(added(kept.world.folder.path()).all().len(), 10);
}
