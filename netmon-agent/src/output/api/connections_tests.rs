use super::*;

const OWN: u32 = 990;

fn at(ms: u64) -> Boot {
    Boot::from_nanos(1_000_000_000_000 + ms * 1_000_000)
}

fn report(client: &str, state: ConnectionState) -> ConnectionReport {
    ConnectionReport { client: client.to_owned(), state, ..ConnectionReport::default() }
}

fn connected(client: &str) -> ConnectionReport {
    report(client, ConnectionState::Connected)
}

fn names(connections: &Connections) -> Vec<String> {
    connections.all().iter().map(|r| format!("{}/{}", r.label, r.name)).collect()
}

#[test]
fn a_report_is_shown_until_it_is_taken_back_or_its_reporter_goes() {
    let connections = Connections::new(OWN);
    let (first, second) = (connections.reporter(0), connections.reporter(0));
    first.report("a", connected("one"), at(0)).unwrap();
    first.report("b", connected("one"), at(0)).unwrap();
    second.report("a", connected("two"), at(0)).unwrap();
    assert_eq!(names(&connections), ["one/a", "one/b", "two/a"]);
    assert!(first.holds_any());
    first.forget("a", at(1)).unwrap();
    assert!(matches!(first.forget("a", at(1)), Err(Refusal::Unknown(_))));
    assert!(matches!(second.forget("b", at(1)), Err(Refusal::Unknown(_))), "another's");
    drop(first);
    assert_eq!(names(&connections), ["two/a"]);
    second.forget("a", at(2)).unwrap();
    assert!(!second.holds_any() && connections.all().is_empty());
}

#[test]
fn a_name_is_one_reporters_and_nobody_can_speak_for_root() {
    let connections = Connections::new(OWN);
    let (root, own, user) = (connections.reporter(0), connections.reporter(OWN), connections.reporter(1000));
    user.report("a", connected("backup"), at(0)).unwrap();
    root.report("a", connected("backup"), at(0)).unwrap();
    own.report("a", connected("exporter"), at(0)).unwrap();
    assert_eq!(names(&connections), ["backup/a", "backup@1000/a", "exporter/a"]);
    let again = connections.reporter(0).report("a", connected("backup"), at(1));
    assert!(matches!(again, Err(Refusal::Taken(said)) if said.contains("another name")));
    let other = connections.reporter(1001);
    other.report("a", connected("backup@1000"), at(1)).unwrap();
    assert_eq!(connections.all().iter().map(|r| r.uid).collect::<Vec<_>>(), [0, 1000, 1001, OWN]);
    drop(root);
    connections.reporter(0).report("a", connected("backup"), at(2)).unwrap();
}

#[test]
fn what_is_told_is_bounded_and_printable() {
    let connections = Connections::new(OWN);
    let reporter = connections.reporter(0);
    for (client, name) in [
        ("", "a"),
        ("c", ""),
        ("c\n", "a"),
        ("c", "\u{1b}"),
        ("c", &"x".repeat(65)),
        ("c\u{202e}", "a"),
        ("c", "a\u{200b}"),
    ] {
        let refused = reporter.report(name, connected(client), at(0));
        assert!(matches!(refused, Err(Refusal::Bad(_))), "{client:?} {name:?}");
    }
    let odd = ConnectionReport {
        last_error: Some(format!("\u{1b}[2J\n{}", "\u{e9}".repeat(1000))),
        state_seconds: f64::MAX,
        last_success_seconds: Some(-5.0),
        uptime_ratio: Some(7.0),
        ..connected("c\"{}")
    };
    reporter.report("a\\", odd, at(0)).unwrap();
    let shown = &connections.all()[0];
    let error = shown.last_error.as_ref().unwrap();
    assert!(error.len() <= MAX_CONNECTION_ERROR && error.starts_with(" [2J ") && error.ends_with('\u{e9}'));
    assert_eq!((shown.since, shown.last_success), (at(0), Some(at(0))));
    assert_eq!(shown.uptime_ratio, Some(1.0));
}

#[test]
fn one_reporter_one_user_and_all_have_their_share() {
    let connections = Connections::new(OWN);
    // A user has so many tokens for new names; time brings more.
    let mut now = 0;
    let mut fill = |uid: u32| -> (usize, Vec<Reporter>) {
        let mut reporters = Vec::new();
        let mut count = 0;
        'users: for _ in 0..8 {
            let reporter = connections.reporter(uid);
            for n in 0.. {
                now += 2000;
                match reporter.report(&format!("{}-{n}", reporters.len()), connected("c"), at(now)) {
                    Ok(()) => count += 1,
                    Err(Refusal::Full(said)) if said.contains("a reporter") => break,
                    Err(Refusal::Full(_)) => {
                        reporters.push(reporter);
                        break 'users;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            reporters.push(reporter);
        }
        (count, reporters)
    };
    let (count, first) = fill(1);
    assert_eq!((count, first.len()), (256, 5));
    let others: Vec<_> = (2..6).map(&mut fill).collect();
    assert_eq!(others.iter().map(|(count, _)| *count).collect::<Vec<_>>(), [256, 256, 0, 0]);
    assert_eq!(connections.all().len(), MOST - RESERVED);
    let trusted = fill(0);
    assert_eq!(trusted.0, 256, "whom nobody crowds out");
    assert_eq!(connections.all().len(), MOST);
    drop((first, others, trusted));
    assert!(connections.all().is_empty());
}

#[test]
fn who_is_too_fast_is_told_so_and_alone() {
    let connections = Connections::new(OWN);
    let (fast, other) = (connections.reporter(1), connections.reporter(2));
    let taken = (0..1000).filter(|_| fast.report("a", connected("c"), at(0)).is_ok()).count();
    assert_eq!(taken, 256);
    assert_eq!(fast.report("a", connected("c"), at(0)), Err(Refusal::TooFast));
    assert_eq!(fast.forget("a", at(0)), Err(Refusal::TooFast));
    other.report("a", connected("c"), at(0)).unwrap();
    assert_eq!((0..1000).filter(|_| fast.report("a", connected("c"), at(1000)).is_ok()).count(), 50);
    // New names come more slowly: 3,600 an hour, whatever is done.
    let churn = connections.reporter(3);
    let mut made = 0;
    for second in 0..3600 {
        for n in 0..10 {
            let name = format!("{second}-{n}");
            if churn.report(&name, connected("c"), at(second * 1000)).is_ok() {
                made += 1;
                churn.forget(&name, at(second * 1000)).unwrap();
            }
        }
    }
    assert!((3600..=3600 + 256).contains(&made), "{made}");
    for uid in 100..1000 {
        drop(connections.reporter(uid).report(
            "a",
            connected("c"),
            at(9_000_000 + u64::from(uid) * 1_000_000),
        ));
    }
    assert!(connections.lock().paces.len() <= USERS + 1);
}

#[test]
fn the_beginning_of_a_state_stands_still_while_it_lasts() {
    let connections = Connections::new(OWN);
    let reporter = connections.reporter(0);
    let told = |state, seconds, now| {
        let report = ConnectionReport { state_seconds: seconds, ..report("c", state) };
        reporter.report("a", report, at(now)).unwrap();
        connections.all()[0].since
    };
    assert_eq!(told(ConnectionState::Connected, 5.0, 10_000), at(5000));
    assert_eq!(told(ConnectionState::Connected, 64.7, 70_000), at(5000));
    assert_eq!(told(ConnectionState::Error, 0.0, 80_000), at(80_000));
    assert_eq!(told(ConnectionState::Error, 40.0, 90_000), at(50_000), "another, of which nothing was told");
}

#[test]
fn who_follows_learns_every_change_or_that_some_were_missed() {
    let connections = Connections::new(OWN);
    let reporter = connections.reporter(0);
    let version = connections.subscribe();
    let seen = *version.borrow();
    reporter.report("a", connected("c"), at(0)).unwrap();
    reporter.report("a", connected("c"), at(1)).unwrap();
    reporter.report("a", report("c", Error), at(2)).unwrap();
    drop(reporter);
    assert!(version.has_changed().unwrap());
    let changes = connections.changes_after(seen).unwrap();
    let told: Vec<_> = changes.iter().map(|c| (c.reported.state, c.gone)).collect();
    use ConnectionState::{Connected, Error};
    assert_eq!(told, [(Connected, false), (Error, false), (Error, true)]);
    assert_eq!(connections.changes_after(seen + 2).unwrap().len(), 1);
    assert_eq!(connections.changes_after(seen + 3).unwrap().len(), 0);
    let reporter = connections.reporter(0);
    for n in 0..=BACKLOG as u64 {
        let state = if n % 2 == 0 { Connected } else { Error };
        reporter.report("a", report("c", state), at(n * 1000)).unwrap();
    }
    assert!(connections.changes_after(seen + 3).is_none());
}
