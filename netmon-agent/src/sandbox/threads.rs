//! What `/proc` says of a process that shut itself in, thread by thread.

use std::{fs, io, path::Path};

use crate::capability::Capability;

/// A thread's privileges, as `/proc/PID/task/TID/status` has them (proc_pid_status(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Capabilities in effect, permitted, inheritable, ambient.
    pub held: [u64; 4],
    /// The bounding set.
    pub bounding: u64,
    /// Whether nothing that is executed brings new privileges.
    pub no_new_privs: bool,
    /// 2: filters decide on system calls.
    pub seccomp: u32,
}

/// Words for [`Thread::held`].
const SETS: [&str; 4] = ["CapEff", "CapPrm", "CapInh", "CapAmb"];

impl Thread {
    fn parse(id: u32, status: &str) -> Self {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).unwrap_or_default()
        };
        let set = |name| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
        Self {
            id,
            name: field("Name").to_owned(),
            held: SETS.map(set),
            bounding: set("CapBnd"),
            no_new_privs: field("NoNewPrivs") == "1",
            seccomp: field("Seccomp").parse().unwrap_or(0),
        }
    }
}

/// All threads of a process.
///
/// # Errors
/// It is gone, or `/proc` does not show it to this user.
pub fn of_process(pid: u32) -> io::Result<Vec<Thread>> {
    let tasks = Path::new("/proc").join(pid.to_string()).join("task");
    let mut threads = Vec::new();
    for entry in fs::read_dir(tasks)? {
        let entry = entry?;
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile holds nothing.
        if let Ok(status) = fs::read_to_string(entry.path().join("status")) {
            threads.push(Thread::parse(id, &status));
        }
    }
    Ok(threads)
}

/// What all threads of a process hold together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held(pub Vec<Thread>);

impl Held {
    /// In words, as capabilities of the process: what the kernel says, whatever the process says of itself.
    pub fn tell(&self) -> Vec<Capability> {
        const RESTART: &str =
            "see what `privileges` and `seccomp` say of the running agent, and `sandbox` in [agent]";
        let threads = &self.0;
        let all = format!("on all {} threads", threads.len());
        let holding = threads.iter().find(|t| t.held.iter().any(|set| *set != 0));
        let sets = match holding {
            None => {
                let bounding = threads.iter().map(|t| t.bounding).fold(0, |all, one| all | one);
                Capability::works("sets", format!("{} 0, CapBnd {bounding:x} {all}", SETS.join(" 0, ")))
            }
            Some(thread) => {
                let each = SETS.iter().zip(thread.held).map(|(name, set)| format!("{name} {set:x}"));
                let each: Vec<String> = each.collect();
                let detail = format!("thread {} ({}): {}", thread.id, thread.name, each.join(", "));
                Capability::missing("sets", detail, RESTART)
            }
        };
        let of_all = |name: &str, detail: &str, lacks: Option<&Thread>| match lacks {
            None => Capability::works(name, format!("{detail} {all}")),
            Some(thread) => {
                Capability::missing(name, format!("not on thread {} ({})", thread.id, thread.name), RESTART)
            }
        };
        let open = threads.iter().find(|t| !t.no_new_privs);
        let unfiltered = threads.iter().find(|t| t.seccomp != 2);
        vec![sets, of_all("NoNewPrivs", "1", open), of_all("Seccomp", "2 (filters)", unfiltered)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tcore\nUmask:\t0077\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
        CapEff:\t0000000000000000\nCapBnd:\t000000c000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n\
        Seccomp:\t2\nSeccomp_filters:\t3\n";

    #[test]
    fn a_status_is_read_by_name() {
        let thread = Thread::parse(7, STATUS);
        let expected = Thread {
            id: 7,
            name: "core".to_owned(),
            held: [0; 4],
            bounding: 0xc0_0000_0000,
            no_new_privs: true,
            seccomp: 2,
        };
        assert_eq!(thread, expected);
        // What is not said is not taken for nothing held.
        assert_eq!(Thread::parse(7, "").held, [u64::MAX; 4]);
    }

    #[test]
    fn one_thread_that_holds_more_is_named() {
        let shut = Thread::parse(7, STATUS);
        let told = Held(vec![shut.clone(), shut.clone()]).tell();
        assert!(told.iter().all(|c| c.ok), "{told:?}");
        assert!(told[0].detail.contains("CapBnd c000000000 on all 2 threads"), "{told:?}");
        let open = Thread { id: 9, held: [0x80, 0x80, 0, 0], seccomp: 0, ..shut.clone() };
        let told = Held(vec![shut, open]).tell();
        assert!(!told[0].ok && told[0].detail.contains("thread 9 (core): CapEff 80, CapPrm 80"), "{told:?}");
        assert_eq!(told.iter().map(|c| c.ok).collect::<Vec<_>>(), [false, true, false]);
    }

    #[test]
    fn this_process_is_seen() {
        let threads = of_process(std::process::id()).unwrap();
        assert!(!threads.is_empty() && threads.iter().all(|t| t.id > 0));
    }
}
