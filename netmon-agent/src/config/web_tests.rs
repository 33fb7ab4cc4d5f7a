use super::*;

fn hash() -> String {
    bcrypt::hash("correct horse", 4).unwrap()
}

fn parse(text: &str) -> Result<WebConfig, String> {
    WebConfig::parse(text, Path::new("/etc/netmon/web.yml"))
}

#[test]
fn what_the_exporters_write_is_read() {
    let hash = hash();
    let text = format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: /k/server.key\n  \
         client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  min_version: TLS13\n  \
         cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]\n  prefer_server_cipher_suites: true\n\
         http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n    \
         Content-Security-Policy:\nbasic_auth_users:\n  alice: {hash}\n  bob: \"{hash}\"\n"
    );
    let config = parse(&text).unwrap();
    let tls = config.tls.as_ref().unwrap();
    assert_eq!(tls.cert_file, Path::new("/etc/netmon/server.crt"), "beside the file");
    assert_eq!(tls.key_file, Path::new("/k/server.key"));
    assert_eq!(tls.client_ca_file.as_deref(), Some(Path::new("/etc/netmon/ca.crt")));
    assert_eq!((tls.client_auth, tls.only_tls13, tls.only_tls12), (ClientAuth::Required, true, false));
    assert_eq!(tls.cipher_suites, ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
    assert_eq!(config.headers, [("X-Frame-Options", "deny".to_owned())]);
    assert_eq!(config.users.keys().collect::<Vec<_>>(), ["alice", "bob"]);
    assert!(config.protects() && !format!("{config:?}").contains("$2"), "{config:?}");
}

#[test]
fn a_file_that_says_nothing_protects_nothing() {
    for text in
        ["", "# nothing yet\n", "~", "tls_server_config:\nbasic_auth_users:\n", "basic_auth_users: {}"]
    {
        match parse(text) {
            Ok(config) => assert!(!config.protects(), "{text:?}"),
            // A section of TLS that is empty was meant.
            Err(why) => {
                assert!(text.starts_with("tls") && why.contains("needs `cert_file`"), "{text:?}: {why}");
            }
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_a_remedy() {
    let tls = "tls_server_config:\n  cert_file: a\n  key_file: b\n";
    let cases = [
        ("tls_config: {}".to_owned(), "1:1: unknown key `tls_config`; did you mean `tls_server_config`?"),
        ("basic_auth_user: {}".to_owned(), "did you mean `basic_auth_users`?"),
        ("[]".to_owned(), "1:1: the file is no map"),
        ("tls_server_config:\n  key_file: b\n".to_owned(), "needs `cert_file`"),
        ("tls_server_config:\n  cert_file: b\n".to_owned(), "needs `key_file`"),
        (format!("{tls}  cert_file: c\n"), "`cert_file` is there twice"),
        (format!("{tls}  min_version: TLS11\n"), "4:16: TLS before 1.2 is broken"),
        (format!("{tls}  min_version: TLS13\n  max_version: TLS12\n"), "`min_version` is above"),
        (format!("{tls}  client_auth_type: RequireAnyClientCert\n"), "proves nothing"),
        (format!("{tls}  client_auth_type: RequireAndVerifyClientCert\n"), "needs `client_ca_file`"),
        (format!("{tls}  client_ca_file: c\n"), "would check nobody"),
        (format!("{tls}  client_auth_type: Often\n"), "no `client_auth_type`"),
        (format!("{tls}  cipher_suites: all\n"), "is a list of texts"),
        (format!("{tls}  prefer_server_cipher_suites: maybe\n"), "is true or false"),
        (
            "http_server_config:\n  headers:\n    X-Powered-By: x\n".to_owned(),
            "3:5: unknown key `X-Powered-By`",
        ),
        ("http_server_config:\n  headers:\n    X-Frame-Options: \"a\\nb\"\n".to_owned(), "one line"),
        ("basic_auth_users:\n  a:b: c\n".to_owned(), "no colon"),
        ("basic_auth_users:\n  alice: hunter2\n".to_owned(), "2:3: a user's password is given as a hash"),
        ("basic_auth_users: [a]\n".to_owned(), "is a map of names"),
        (format!("basic_auth_users:\n  a: {}\n", hash().replace("$04$", "$31$")), "seconds for each login"),
        (format!("basic_auth_users:\n  a: {}\n", hash().replace("$04$", "$03$")), "nobody could log in"),
        (format!("\"{}\": alice\n", hash()), "1:1: unknown key; known here"),
        (format!("{}: 1\n", "k".repeat(65)), "1:1: unknown key; known here"),
        (tls.replace('b', "\"\\e[31m\\n\""), "is the name of a file, in one line"),
        (tls.replace('b', "\"\""), "`key_file` is the name of a file"),
        ("a: [".to_owned(), "no YAML"),
    ];
    for (text, expected) in cases {
        let said = parse(&text).unwrap_err();
        assert!(said.starts_with("/etc/netmon/web.yml:") && said.contains(expected), "{text:?}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("$2") && !said.contains('\n'), "{said}");
    }
}
