//! A network namespace that a test has to itself.

use std::{ffi::OsString, process::Command};

use nix::sched::{CloneFlags, unshare};

/// Runs a test in a network namespace of its own, on a thread of its own. Where there can be none, says so; with `CI`
/// set, that is a failure.
pub fn alone(name: &str, test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return Err(format!("needs root, or CAP_SYS_ADMIN, for a network namespace: {error}"));
        }
        ip("link set lo up");
        test();
        Ok(())
    });
    match thread.expect("a thread").join() {
        Ok(Ok(())) => {}
        Ok(Err(why)) if std::env::var_os("CI").is_some() => panic!("{name} could not run: {why}"),
        Ok(Err(why)) => eprintln!("SKIPPED {name}: {why}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// `ip` with these words; it must succeed.
pub fn ip(words: &str) {
    run(&words.split(' ').map(OsString::from).collect::<Vec<_>>());
}

/// The same with words of any bytes.
pub fn run(words: &[OsString]) {
    let output = Command::new("ip").args(words).output().expect("iproute2");
    assert!(output.status.success(), "ip {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}
