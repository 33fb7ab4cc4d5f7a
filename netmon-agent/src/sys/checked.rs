//! What an agent under a checker of memory or of threads needs more than another. `cargo xtask sanitize` alone builds it, by the
//! cargo feature `checked`; without a sanitizer's runtime the program does not even link.

use std::{
    env,
    fs::OpenOptions,
    io,
    os::fd::{IntoRawFd, RawFd},
    path::Path,
    ptr::without_provenance_mut,
    thread,
};

use nix::{sys::signal::SigSet, unistd::pause};

use super::faults;

/// The folder for reports.
const REPORTS: &str = "NETMON_REPORTS";
/// Set, the agent does not shut itself in: LeakSanitizer stops all threads by `ptrace(2)`, which no filter of the agent's allows.
const OPEN: &str = "NETMON_CHECKED_OPEN";
/// The fault that SIGHUP brings about.
const FAULT: &str = "NETMON_FAULT";

unsafe extern "C" {
    /// Where reports go from now on, a descriptor; of every sanitizer's runtime (`sanitizer/common_interface_defs.h`).
    fn __sanitizer_set_report_fd(descriptor: *mut libc::c_void);
}

/// Opens the file for reports, `netmon.PID`, while it can be opened: the runtime itself does when it has something to report, and
/// the agent is shut in by then.
///
/// # Errors
/// There is no file to be had.
pub fn begin_reports() -> io::Result<()> {
    let Some(folder) = env::var_os(REPORTS) else { return Ok(()) };
    let path = Path::new(&folder).join(format!("netmon.{}", std::process::id()));
    let descriptor: RawFd = OpenOptions::new().create(true).append(true).open(path)?.into_raw_fd();
    // SAFETY: the runtime takes the number for a descriptor, which is open, and nobody else's from now on.
    unsafe { __sanitizer_set_report_fd(without_provenance_mut(descriptor as usize)) };
    Ok(())
}

/// Whether the agent is to stay open.
pub fn is_left_open() -> bool {
    env::var_os(OPEN).is_some()
}

/// Has signals heard that every other thread blocks. ThreadSanitizer keeps a signal back until its thread calls something that
/// the runtime knows; a thread of an async runtime that has nothing to do waits in a system call of the standard library's own.
///
/// # Errors
/// No thread.
pub fn hear(signals: SigSet) -> io::Result<()> {
    let listen = move || {
        // Else nothing is heard, which ends a trial by its deadline.
        let _ = signals.thread_unblock();
        loop {
            pause();
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(listen).map(drop)
}

/// Does the wrong that is asked for, if any.
pub fn do_wrong() {
    match env::var(FAULT).as_deref() {
        Ok("race") => faults::race(),
        Ok("use-after-free") => faults::use_after_free(),
        Ok("leak") => faults::leak(),
        _ => {}
    }
}
