//! Two users and one room.

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use netmon_agent::health::State;

use crate::world::{FRESH, World, read_all, until};

/// Waiters that find room.
const ROOM: usize = 8;
/// Users of nobody else's (`/etc/passwd` of Debian ends below; the overflow user is above).
const USERS: [u32; 2] = [47_001, 47_002];

/// The program, where any user may find it.
fn program(world: &World) -> PathBuf {
    let (built, found) = (env!("CARGO_BIN_EXE_netmon"), world.folder.path().join("netmon"));
    fs::hard_link(built, &found).or_else(|_| fs::copy(built, &found).map(drop)).unwrap();
    found
}

/// A `netmon wait` of this user.
fn waits(world: &World, program: &Path, uid: u32) -> Child {
    Command::new(program)
        .args(["wait", "--state", "up", "--timeout", "60s", "--socket"])
        .arg(world.socket())
        .uid(uid)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn one_user_cannot_fill_the_room_for_the_others() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can be several users");
        return;
    }
    let mut world = World::with(FRESH, |o| o.max_waiters = ROOM);
    world.publish(State::Down);
    fs::set_permissions(world.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(world.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    // Root takes all there is, by hand; one more is sent away, with word when to come back.
    let ask = || {
        let mut stream = UnixStream::connect(world.socket()).unwrap();
        stream.write_all(b"GET /v1/wait?state=up HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let mut own = Vec::new();
    for n in 1..=ROOM {
        own.push(ask());
        // One after the other, so that the last is the newest.
        until("one more", || world.waiters() == n as i64);
    }
    let refused = read_all(&mut ask());
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.to_ascii_lowercase().contains("\r\nretry-after: 1\r\n"), "{refused}");

    let program = program(&world);
    // Two others come, two programs each: all four find room, and the newest of root's make it.
    let mut others: Vec<Child> =
        USERS.iter().flat_map(|uid| [(); 2].map(|()| *uid)).map(|uid| waits(&world, &program, uid)).collect();
    let made: Vec<String> = own.split_off(ROOM - 4).iter_mut().map(read_all).collect();
    for answer in &made {
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("other users"), "{answer}");
    }
    until("a full room again", || world.waiters() == ROOM as i64);
    // Root holds no fewer than anybody: it gets nothing back.
    assert!(read_all(&mut ask()).starts_with("HTTP/1.1 503 "));
    world.publish(State::Up);
    for other in &mut others {
        assert!(other.wait().unwrap().success(), "a fair share was not served");
    }
    for stream in &mut own {
        assert!(read_all(stream).contains("\"satisfied\":true"));
    }
}
