use super::*;

/// As crypt(3) makes it of "a" at the least cost.
const OF_A: &str = "$2y$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC";

fn web(text: &str) -> (tempfile::TempDir, Arc<Web>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("web.yml");
    fs::write(&path, text).unwrap();
    let web = Arc::new(Web::read(&path, true).unwrap());
    (folder, web)
}

async fn is_let_in(web: &Arc<Web>, pair: &[u8]) -> bool {
    let rules = web.rules().await;
    let word = format!("Basic {}", BASE64.encode(pair));
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::try_from(word).unwrap())]);
    web.refuse(&rules, &headers).await.is_none()
}

#[tokio::test]
async fn a_password_is_let_in_by_its_every_byte_and_no_other() {
    let long = "x".repeat(LONGEST_PASSWORD);
    let of_long = bcrypt::hash(&long, 4).unwrap();
    let (_folder, web) = web(&format!("basic_auth_users:\n  alice: {OF_A}\n  bob: {of_long}\n"));
    assert!(is_let_in(&web, b"alice:a").await && is_let_in(&web, b"alice:a").await, "also once it is known");
    assert!(is_let_in(&web, format!("bob:{long}").as_bytes()).await);
    for wrong in
        ["alice:", "alice:b", "alice:a\0", "alice:a\0a", "alice:a\0a\0a", "carol:a", "bob:a", ":a", "a"]
    {
        assert!(!is_let_in(&web, wrong.as_bytes()).await, "{wrong:?}");
    }
    assert!(!is_let_in(&web, format!("bob:{long}x").as_bytes()).await, "bcrypt looks no further");
}

#[tokio::test]
async fn an_unknown_user_is_held_against_the_slowest_hash() {
    let slower = bcrypt::hash("b", 6).unwrap();
    let (_folder, web) = web(&format!("basic_auth_users:\n  a: {OF_A}\n  b: {slower}\n  c: {OF_A}\n"));
    assert_eq!(web.rules().await.slowest, Some(Hash(slower)));
    // Whose hash that is says nothing of who is let in.
    assert!(is_let_in(&web, b"b:b").await && !is_let_in(&web, b"d:b").await);
}
