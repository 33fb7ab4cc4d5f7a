//! Hook commands: one program, run once for each notice.
//!
//! It is no shell's: each argument is one, whatever is filled in. It finds the notice in its arguments, its environment
//! and, as JSON, on its standard input, and nothing of the agent's: no descriptors, no capabilities, a group of processes
//! of its own. Beyond its time the group is asked to end, and then ended; what is left of the group when the program has
//! ended has a second, and is ended too. A daemon has a session of its own.

use std::{
    fmt,
    future::Future,
    io,
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    time::timeout,
};

use super::{message::Message, template::Template};
use crate::sys;

/// How long a group that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// How long others may hold the output of a program that has ended.
const LINGER: Duration = Duration::from_secs(1);
/// How often, and after how long, it is looked whether a program that was ended with the agent has ended.
const ENDING: u32 = 100;
const ENDING_STEP: Duration = Duration::from_millis(5);
/// What is kept of the output, bytes.
const OUTPUT: usize = 4096;

/// Variables of the agent's own environment that a program is given. Others may hold its secrets, or its places at the
/// service manager.
const INHERITED: [&str; 10] =
    ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"];

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program: a path, or a name to be looked for in `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<Template>,
    /// How long it may take.
    pub timeout: Duration,
}

/// Why a program did not do it.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It can't be run.
    #[error("can't run {program}: {source}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It ended otherwise than with 0.
    #[error("{0}")]
    Ended(ExitStatus),
    /// It took longer than it may.
    #[error("not done within {0:?}, and ended")]
    TimedOut(Duration),
}

/// What a program wrote, in part.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    kept: Vec<u8>,
    beyond: u64,
}

impl Output {
    /// As it was kept elsewhere.
    pub(super) fn of(kept: Vec<u8>, beyond: u64) -> Self {
        Self { kept, beyond }
    }

    /// What was kept, and how many bytes there were beyond.
    pub(super) fn into_parts(self) -> (Vec<u8>, u64) {
        (self.kept, self.beyond)
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = OUTPUT.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.beyond += (bytes.len() - room) as u64;
    }
}

impl fmt::Display for Output {
    /// One line without control characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.kept);
        for (i, line) in text.lines().filter(|l| !l.trim().is_empty()).enumerate() {
            let line = line.trim_end().replace(char::is_control, "\u{fffd}");
            write!(f, "{}{line}", if i > 0 { " | " } else { "" })?;
        }
        if self.beyond > 0 { write!(f, " … and {} bytes more", self.beyond) } else { Ok(()) }
    }
}

impl Hook {
    /// Runs it for a notice. Dropped before its end, it ends the program's whole group.
    pub async fn run(&self, message: &Message) -> (Result<(), HookError>, Output) {
        let mut output = Output::default();
        let result = match self.start(message) {
            Ok((job, input, said)) => {
                let talk = talk(input, message.json.as_bytes(), said, &mut output);
                self.attend(job, talk).await
            }
            Err(source) => Err(HookError::Start { program: self.program.clone(), source }),
        };
        (result, output)
    }

    fn start(&self, message: &Message) -> io::Result<(Job, pipe::Sender, pipe::Receiver)> {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments.iter().map(|a| a.render(&message.words)))
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(message.environment())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(write.try_clone()?)
            .stderr(write);
        let mut job = Job(sys::spawn_apart(&mut command)?);
        // The last writing ends that are ours.
        drop(command);
        let input = job.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let input = pipe::Sender::from_owned_fd(OwnedFd::from(input))?;
        Ok((job, input, pipe::Receiver::from_owned_fd(read)?))
    }

    async fn attend(&self, mut job: Job, talk: impl Future<Output = ()>) -> Result<(), HookError> {
        let mut talk = std::pin::pin!(talk);
        let mut silent = false;
        let in_time = timeout(self.timeout, beside(&mut talk, &mut silent, job.ended())).await.is_ok();
        if !in_time {
            job.signal(Signal::SIGTERM);
            let _ = timeout(GRACE, beside(&mut talk, &mut silent, job.ended())).await;
        } else if !silent {
            let _ = timeout(LINGER, talk.as_mut()).await;
        }
        // Its number is the group's, and taken until it is waited for.
        job.signal(Signal::SIGKILL);
        job.ended().await;
        let status = job.0.wait();
        match status {
            _ if !in_time => Err(HookError::TimedOut(self.timeout)),
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(HookError::Ended(status)),
            Err(source) => Err(HookError::Start { program: self.program.clone(), source }),
        }
    }
}

/// A program that runs, and its group.
#[derive(Debug)]
struct Job(Child);

impl Job {
    /// Sends a signal to the whole group, while the program is not waited for.
    fn signal(&self, signal: Signal) {
        // Members that have another user by now can't be signalled, and a group that is empty needs none.
        let _ = killpg(Pid::from_raw(self.0.id() as i32), signal);
    }

    /// When the program has ended, which is left to be waited for. A thread of the runtime's waits meanwhile, and ends
    /// with the program.
    async fn ended(&self) {
        let pid = Pid::from_raw(self.0.id() as i32);
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let waiting = move || while waitid(Id::Pid(pid), flags) == Err(nix::errno::Errno::EINTR) {};
        let _ = tokio::task::spawn_blocking(waiting).await;
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Once it was waited for, its number may be another's.
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        self.signal(Signal::SIGKILL);
        // One that waits for a disk ends when the disk answers: that is not waited for.
        for _ in 0..ENDING {
            if !matches!(self.0.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(ENDING_STEP);
        }
    }
}

/// Tells the notice, and hears what is said to its end.
async fn talk(mut input: pipe::Sender, notice: &[u8], mut said: pipe::Receiver, output: &mut Output) {
    let tell = async move {
        // Not everybody reads it.
        let _ = input.write_all(notice).await;
        let _ = input.write_all(b"\n").await;
    };
    let hear = async move {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = said.read(&mut buffer).await {
            output.take(&buffer[..n]);
        }
    };
    tokio::join!(tell, hear);
}

/// Waits for something, and talks meanwhile; notes when there is nothing more to hear.
async fn beside<T>(
    talk: &mut std::pin::Pin<&mut impl Future<Output = ()>>,
    silent: &mut bool,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = talk.as_mut(), if !*silent => *silent = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::output::notify::template::{Field, Words};

    fn message() -> Message {
        let words = Words::new(|f| match f {
            Field::State => "down".to_owned(),
            Field::Subject => "a \"b\" $(c) -x".to_owned(),
            other => other.as_str().to_owned(),
        });
        Message { words, json: "{\"state\":\"down\"}".to_owned() }
    }

    fn hook(script: &str, limit: Duration) -> Hook {
        let arguments = ["-c", script, "hook", "{subject}", "x{state}x"];
        let arguments = arguments.map(|a| Template::parse(a).unwrap()).to_vec();
        Hook { program: "sh".to_owned(), arguments, timeout: limit }
    }

    const LONG: Duration = Duration::from_secs(60);

    fn run(hook: &Hook) -> (Result<(), HookError>, String) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (result, output) = runtime.block_on(hook.run(&message()));
        (result, output.to_string())
    }

    #[test]
    fn a_program_has_the_notice_in_arguments_environment_and_input() {
        let script = r#"echo "$# $1 $2 $NETMON_STATE"; cat; echo oops >&2; pwd"#;
        let (result, said) = run(&hook(script, LONG));
        result.unwrap();
        assert_eq!(said, r#"2 a "b" $(c) -x xdownx down | {"state":"down"} | oops | /"#);
    }

    #[test]
    fn nothing_of_the_agents_environment_is_given_on() {
        // Cargo's own are in this process's.
        assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")));
        let (result, said) = run(&hook("env | cut -d= -f1 | grep -v ^NETMON_ | sort | tr '\\n' ' '", LONG));
        result.unwrap();
        // What the shell adds itself.
        let own = ["PWD", "OLDPWD", "SHLVL", "_"];
        let foreign = said.split_whitespace().filter(|v| !INHERITED.contains(v) && !own.contains(v));
        assert_eq!(foreign.collect::<Vec<_>>(), [""; 0], "{said}");
    }

    #[test]
    fn how_it_ended_is_told() {
        let (result, said) = run(&hook("echo no; exit 3", LONG));
        assert!(matches!(&result, Err(HookError::Ended(status)) if status.code() == Some(3)), "{result:?}");
        assert_eq!(said, "no");
        let nowhere = Hook { program: "/no/such/program".to_owned(), arguments: vec![], timeout: LONG };
        let (result, _) = run(&nowhere);
        let words = result.unwrap_err().to_string();
        assert!(words.contains("/no/such/program"), "{words}");
    }

    #[test]
    fn who_reads_no_input_and_writes_much_holds_nobody_up() {
        let (result, said) = run(&hook("exec <&-; yes | head -c 1000000", LONG));
        result.unwrap();
        assert!(said.ends_with("995904 bytes more") && said.len() < 3 * OUTPUT, "{said}");
    }

    #[test]
    fn beyond_its_time_the_whole_group_ends_though_it_would_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        // A child that ignores SIGTERM holds the output open.
        let script = format!(
            "echo $$ >{0}; (trap '' TERM; echo started; sleep 1000 & wait) & echo $! >>{0}; trap 'exit 7' TERM; wait",
            file.display()
        );
        let (result, said) = run(&hook(&script, Duration::from_millis(500)));
        assert!(matches!(result, Err(HookError::TimedOut(_))), "{result:?}");
        assert!(said.starts_with("started"), "{said}");
        gone(&file);
    }

    #[test]
    fn what_it_leaves_behind_is_ended_and_its_output_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $! >{}; echo done", file.display());
        let (result, said) = run(&hook(&script, LONG));
        result.unwrap();
        assert_eq!(said, "done");
        gone(&file);
    }

    #[test]
    fn one_that_is_not_waited_for_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = format!("sleep 1000 & echo $$ $! >{}; wait", file.display());
        let hook = hook(&script, LONG);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let message = message();
            let mut running = std::pin::pin!(hook.run(&message));
            let written = async {
                while !fs::read_to_string(&file).is_ok_and(|t| !t.is_empty()) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::select! {
                _ = &mut running => panic!("it ended"),
                () = written => {}
            }
        });
        gone(&file);
    }

    /// Each process that a file names ends, or has ended.
    fn gone(file: &Path) {
        let text = fs::read_to_string(file).unwrap();
        let alive = |pid: &str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        for pid in text.split_whitespace() {
            let mut tries = 0;
            while alive(pid) {
                std::thread::sleep(Duration::from_millis(10));
                tries += 1;
                assert!(tries < 1000, "{pid} lives on");
            }
        }
        assert!(!text.is_empty());
    }
}
