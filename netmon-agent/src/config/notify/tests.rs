use std::{path::Path, time::Duration};

use crate::{
    config::Config,
    health::{State, Subject},
    output::notify::{Means, Notifier, Webhook, webhook::Secret},
};

fn parse(text: &str) -> Result<Vec<Notifier>, String> {
    let config = Config::parse(text, Path::new("netmon.toml")).map_err(|e| e.to_string());
    config.map(|config| config.notifiers)
}

#[track_caller]
fn refused(text: &str, place: &str, words: &str) {
    let error = parse(text).expect_err("must be refused");
    assert!(error.starts_with(&format!("netmon.toml:{place}: ")), "{error}");
    assert!(error.contains(words), "{error}");
}

fn webhook(text: &str) -> Webhook {
    let text = format!("[[notify.webhook]]\n{text}");
    match parse(&text).unwrap().remove(0).means {
        Means::Webhook(webhook) => *webhook,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_is_told_unless_somebody_is_named() {
    assert!(parse("").unwrap().is_empty() && parse("[notify]").unwrap().is_empty());
}

#[test]
fn a_command_is_told_of_the_network_at_once() {
    let all = parse("[[notify.command]]\ncommand = [\"/usr/bin/tell\", \"{state}\"]").unwrap();
    let [Notifier { name, rule, room, means: Means::Command(hook) }] = &all[..] else { panic!("{all:?}") };
    assert_eq!((name.as_str(), *room, hook.program.as_str()), ("tell", 100, "/usr/bin/tell"));
    assert_eq!((hook.arguments.len(), hook.timeout), (1, Duration::from_secs(30)));
    assert!(rule.subjects.has(&Subject::Network) && !rule.subjects.has(&Subject::Device("eth0".into())));
    assert_eq!(State::ALL.map(|s| rule.states.has(s)), [false, true, true, true]);
    assert!(rule.after.is_zero() && rule.initial);
}

#[test]
fn everything_can_be_said_and_one_table_may_stand_for_a_list() {
    let all = parse(
        r#"
        [notify.webhook]
        name = "pager"
        url = "https://hooks.example.com:8443/x/y?z=1"
        subjects = ["network", "target:db*"]
        states = ["down", "unknown"]
        after = "1m"
        initial = false
        queue = 7
        body = '{"text": "{subject} is {state}"}'
        secret_file = "/etc/netmon/secret"
        authorization_file = "/etc/netmon/token"
        ca_file = "/etc/netmon/ca.pem"
        allow_private = true
        allow = ["169.254.0.0/16"]
        timeout = "3s"
        max_age = "1d"
        [[notify.command]]
        command = ["tell"]
        timeout = "5s"
        "#,
    )
    .unwrap();
    let [command, pager] = &all[..] else { panic!("{all:?}") };
    assert_eq!((command.name.as_str(), pager.name.as_str(), pager.room), ("tell", "pager", 7));
    assert!(pager.rule.states.has(State::Unknown) && !pager.rule.states.has(State::Up));
    assert!(pager.rule.subjects.has(&Subject::Target("db1".into())) && !pager.rule.initial);
    let Means::Webhook(webhook) = &pager.means else { panic!() };
    assert_eq!(webhook.origin(), "https://hooks.example.com:8443");
    assert_eq!(webhook.secret, Some(Secret::File("/etc/netmon/secret".into())));
    assert_eq!((webhook.timeout, webhook.max_age), (Duration::from_secs(3), Duration::from_secs(86_400)));
    assert!(webhook.allowed.check("169.254.169.254".parse().unwrap()).is_ok());
    let shown = format!("{webhook:?}");
    assert!(!shown.contains("/x/y"), "{shown}");
}

#[test]
fn faults_name_their_place_and_the_remedy() {
    let command = |rest: &str| format!("[[notify.command]]\ncommand = [\"tell\"]\n{rest}");
    refused("[notify]\nwebhooks = []", "2:1", "did you mean `webhook`?");
    refused("[[notify.command]]\nname = \"x\"", "1:1", "missing key `command`");
    refused("[[notify.command]]\ncommand = []", "2:11", "no program");
    refused("[[notify.command]]\ncommand = [\"bin/tell\"]", "2:12", "path from the root");
    refused("[[notify.command]]\ncommand = [\"tell\", \"{stat}\"]", "2:20", "no such field: {stat}");
    refused(&command("state = [\"up\"]"), "3:1", "did you mean `states`?");
    refused(&command("states = [\"up\", \"usable\"]"), "3:17", "is no state");
    refused(&command("states = []"), "3:10", "no state");
    refused(&command("subjects = [\"network\", \"overall\"]"), "3:24", "\"network\", \"device:eth*\"");
    refused(&command("subjects = []"), "3:12", "leave `subjects` out");
    refused(&command("after = \"2d\""), "3:9", "after is between");
    refused(&command("queue = 0"), "3:9", "between 1 and 10000");
    refused(&command("timeout = \"0s\""), "3:11", "timeout is between");
    refused(&command("[[notify.command]]\ncommand = [\"/bin/tell\"]"), "4:11", "is there twice");
}

#[test]
fn what_a_webhook_must_not_be_is_refused() {
    let with = |rest: &str| format!("[[notify.webhook]]\nurl = \"https://a.example/\"\n{rest}");
    let at = |url: &str| format!("[[notify.webhook]]\nurl = \"{url}\"");
    refused(&at("http://a.example/"), "2:7", "insecure = true");
    refused(&at("https://10.0.0.1/"), "2:7", "allow_private");
    refused(&at("https://[::ffff:169.254.169.254]/"), "2:7", "metadata");
    refused(&at("https://127.0.0.1/"), "2:7", "loopback");
    refused(&at("ftp://a.example/"), "2:7", "neither http:// nor https://");
    refused(&at("https://a b/"), "2:7", "is no URL");
    refused(&at("https://a..b/"), "2:7", "is no host");
    refused(&with("secret_file = \"/a\"\nsecret_env = \"B\""), "4:14", "both there");
    refused(&with("secret_file = \"a\""), "3:15", "no absolute path");
    refused(&with("body = '{\"a\": {state}}'"), "3:8", "the body is no JSON");
    refused(&with("body = '{\"a\": \"{sate}\"}'"), "3:8", "no such field");
    refused(&with("content_type = \"text/plain\""), "3:16", "of one's own");
    refused(&with("body = 'x'\ncontent_type = \"a\\nb\""), "4:16", "no content type");
    refused(&with("allow = [\"10.0.0.0/64\"]"), "3:10", "is no network");
    refused(&with("secret = \"s3cr3t\""), "3:1", "did you mean `secret_");
    let plain = webhook(
        "url = \"http://a.example/\"\ninsecure = true\nbody = \"{state}\"\ncontent_type = \"text/plain\"",
    );
    assert!(!plain.url.tls && plain.body.is_some());
    assert!(webhook("url = \"https://10.0.0.1/\"\nallow = [\"10.0.0.1\"]").allowed.networks.len() == 1);
}

#[test]
fn a_url_that_holds_a_secret_is_in_no_log() {
    let text = "[[notify.webhook]]\nurl = \"https://user:s3cr3t@a.example/t0k3n\"";
    let error = Config::parse(text, Path::new("netmon.toml")).unwrap_err();
    let said = error.one_line();
    assert!(
        said.contains("authorization_file") && !said.contains("s3cr3t") && !said.contains("t0k3n"),
        "{said}"
    );
}

#[test]
fn no_error_shows_what_may_be_a_secret() {
    let table = "[[notify.webhook]]\nurl = \"https://a.example/\"";
    for fault in [
        "secret = \"s3cr3t\"",
        "secret_file = \"s3cr3t\"",
        "allow = \"s3cr3t\"",
        "body = '{\"text\": s3cr3t}'",
        "secret_env = \"s3cr3t",
        "secret_env = s3cr3t",
        "s3cr3t==",
    ] {
        let error = Config::parse(&format!("{table}\n{fault}"), Path::new("netmon.toml")).unwrap_err();
        let said = format!("{error}\n{}", error.one_line());
        assert!(!said.contains("s3cr3t") && said.contains("netmon.toml:3:"), "{said}");
    }
    let text = "[[notify.webhook]]\nurl = \"https://user:s3cr3t@a.example/\"";
    let said = Config::parse(text, Path::new("netmon.toml")).unwrap_err().to_string();
    assert!(!said.contains("s3cr3t") && said.contains("2 | url = "), "{said}");
}
