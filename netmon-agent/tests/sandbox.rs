//! A process that has shut itself in: what it holds, and what it can't do any more. Each case is a process of its own, this
//! very program executed anew, as there is no way back.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

use std::{
    env, fs,
    io::ErrorKind,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use netmon_agent::sandbox::{self, Mode, Plan, Reach};

/// Set in the process that shuts itself in: the folder it may write in.
const FOLDER: &str = "NETMON_TEST_SANDBOX";

/// Runs the test of this name in a process of its own.
fn alone(name: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

/// The folder, in the process that is to shut itself in.
fn folder() -> PathBuf {
    env::var_os(FOLDER).expect("run by another test").into()
}

fn enter(mode: Mode) -> Vec<netmon_agent::capability::Capability> {
    let folder = folder();
    fs::create_dir(folder.join("own")).unwrap();
    let reach = Reach {
        read: ["/proc", "/etc"].map(PathBuf::from).into(),
        write: [folder.join("own")].into(),
        ..Reach::default()
    };
    sandbox::enter(&Plan { mode, kept: Vec::new(), reach })
}

#[test]
fn shut_in_it_holds_nothing_and_reaches_nothing() {
    assert!(alone("inside").status.success());
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn inside() {
    // Asked later, it would be refused the question.
    let supported = sandbox::landlock_supported();
    let told = enter(Mode::Enforce);
    let found = |name| told.iter().find(|c| c.name == name).unwrap();
    for name in ["privileges", "no_new_privs", "seccomp"] {
        assert!(found(name).ok, "{:?}", found(name));
    }
    let landlock = found("landlock").ok;
    assert_eq!(landlock, supported);

    // A thread that comes later, with the C library's means.
    thread::spawn(|| {
        let threads = sandbox::of_process(std::process::id()).unwrap();
        assert!(threads.len() >= 2, "{threads:?}");
        for thread in &threads {
            // The test's own program has one that was there before, and the filter alone is for that as well.
            if thread.id != std::process::id() {
                assert_eq!(thread.held, [0; 4], "{thread:?}");
            }
            assert!(thread.no_new_privs && thread.seccomp == 2, "{thread:?}");
        }
        let error = Command::new("/bin/true").status().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    })
    .join()
    .unwrap();

    let own = folder().join("own/file");
    fs::write(&own, "a").unwrap();
    fs::rename(&own, folder().join("own/other")).unwrap();
    fs::remove_file(folder().join("own/other")).unwrap();
    fs::read("/proc/self/status").unwrap();
    if landlock {
        let denied = |result: std::io::Result<()>| {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::PermissionDenied);
        };
        denied(fs::write(folder().join("outside"), "a"));
        denied(fs::write("/proc/self/oom_score_adj", "0"));
        denied(fs::read_dir(folder()).map(drop));
        denied(fs::File::open("/dev/null").map(drop));
    }
    let refused = |result: nix::Result<()>| assert_eq!(result, Err(nix::errno::Errno::EPERM));
    refused(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER));
    refused(nix::unistd::setuid(nix::unistd::getuid()));
    let packet = socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, None);
    assert_eq!(packet.unwrap_err().raw_os_error(), Some(libc::EPERM));
    // What it lives of.
    UdpSocket::bind("127.0.0.1:0").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
}

#[test]
fn what_is_never_done_ends_the_process() {
    // SIGSYS is 31.
    assert_eq!(alone("mounts").status.signal(), Some(31));
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn mounts() {
    enter(Mode::Enforce);
    let none = None::<&Path>;
    let _ = nix::mount::mount(none, "/proc", none, nix::mount::MsFlags::empty(), none);
}

#[test]
fn off_nothing_is_given_up() {
    assert!(alone("open").status.success());
}

#[test]
#[ignore = "run in a process of its own by another test"]
fn open() {
    let told = enter(Mode::Off);
    assert!(told.iter().all(|c| !c.ok && c.remedy.contains("sandbox = \"enforce\"")), "{told:?}");
    assert_eq!(told.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), sandbox::NAMES);
    fs::write(folder().join("outside"), "a").unwrap();
    assert!(Command::new("/bin/true").status().unwrap().success());
}
