//! The process's own end: what it gives up, which commands it knows, and how they are run.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use caps::CapSet;
use nix::sys::{
    prctl,
    signal::{SigSet, Signal},
};
use tokio::{
    io::AsyncWriteExt,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::{
    super::{
        Means,
        command::{Hook, HookError},
        message::Message,
    },
    Done, End, Order, Wish, frame, receive,
};
use crate::{config::Config, sys};

/// What it is called, by which the program knows what it is to be.
pub const NAME: &str = "netmon-hooks";

/// Runs until the agent ends; `arguments` are those that [`Runner::begin`](super::Runner::begin) gives, and the standard
/// input is the agent.
pub fn serve(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let reloads = match arguments.next() {
        Some(word) if word == "reload" => true,
        Some(word) if word == "fixed" => false,
        _ => {
            eprintln!("{NAME} is begun by netmon run, and of no use by itself");
            return ExitCode::from(2);
        }
    };
    let commands = Commands { path: arguments.next().map(PathBuf::from), reloads, hooks: Vec::new() };
    match give_up().and_then(|()| begin(commands)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NAME}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Gives up what the agent had, for itself and for all that it runs, before it hears the first word.
fn give_up() -> io::Result<()> {
    // A service manager that ends all of a service ends the agent, which knows when this one is of no more use.
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    ends.thread_block()?;
    // One whose agent was killed learns of it by the socket; this is for the case that another holds the socket, on a kernel
    // where Landlock does not keep the agent from signalling.
    prctl::set_pdeathsig(Signal::SIGUSR2)?;
    prctl::set_name(c"netmon-hooks")?;
    // What has the same user can't write to its memory.
    prctl::set_dumpable(false)?;
    // For want of a capability this may fail, which no_new_privs makes up for.
    let _ = caps::clear(None, CapSet::Bounding);
    let _ = caps::clear(None, CapSet::Ambient);
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::clear(None, set).map_err(io::Error::other)?;
    }
    prctl::set_no_new_privs()?;
    // Else nobody would learn of a program's end where whoever started the agent ignores it.
    Ok(sys::keep_ended_children()?)
}

fn begin(commands: Commands) -> io::Result<()> {
    let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    agent.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(attend(agent, commands));
    // A program that does not end has been ended; a thread that waits for it may be a moment late.
    runtime.shutdown_background();
    result
}

/// The commands of the configuration.
struct Commands {
    path: Option<PathBuf>,
    reloads: bool,
    hooks: Vec<Arc<Hook>>,
}

impl Commands {
    /// Reads the file; one that is none leaves what is known.
    fn read(&mut self) {
        if let Ok(config) = Config::load(self.path.as_deref()) {
            self.hooks = hooks(config);
        }
    }

    /// The command that is meant, or why it is not run.
    fn find(&self, wish: &Wish) -> Result<Arc<Hook>, &'static str> {
        let is_meant = |hook: &&Arc<Hook>| {
            let written = hook.arguments.iter().map(|argument| argument.as_written());
            hook.program == wish.program && written.eq(wish.arguments.iter().map(String::as_str))
        };
        self.hooks.iter().find(is_meant).cloned().ok_or(match self.reloads {
            true => "it is not in the configuration as it is on the disk; reload the agent",
            false => {
                "the agent was not begun with it, and could have written it into its configuration itself; restart the \
                 agent"
            }
        })
    }
}

fn hooks(config: Config) -> Vec<Arc<Hook>> {
    let commands = config.notifiers.into_iter().filter_map(|notifier| match notifier.means {
        Means::Command(hook) => Some(Arc::new(hook)),
        Means::Webhook(_) => None,
    });
    commands.collect()
}

async fn attend(agent: UnixStream, mut commands: Commands) -> io::Result<()> {
    let mut orphaned = signal(SignalKind::user_defined2())?;
    let (mut orders, mut out) = tokio::net::UnixStream::from_std(agent)?.into_split();
    commands.read();
    let (told, mut to_tell) = mpsc::unbounded_channel::<Vec<u8>>();
    let mut jobs = JoinSet::new();
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    // A frame is read by a task of its own, as half of one can't be put back.
    let (sender, mut received) = mpsc::channel(16);
    jobs.spawn(async move {
        while let Ok(order) = receive::<Order>(&mut orders).await {
            if sender.send(order).await.is_err() {
                break;
            }
        }
    });
    loop {
        tokio::select! {
            order = received.recv() => match order {
                Some(Order::Run(id, wish)) => {
                    running.retain(|_, job| !job.is_finished());
                    let found = commands.find(&wish);
                    running.insert(id, jobs.spawn(run(id, found, *wish, told.clone())));
                }
                Some(Order::Cancel(id)) => {
                    if let Some(job) = running.remove(&id) {
                        job.abort();
                    }
                }
                Some(Order::Reload) if commands.reloads => commands.read(),
                Some(Order::Reload) => {}
                None => break,
            },
            Some(frame) = to_tell.recv() => if out.write_all(&frame).await.is_err() { break },
            Some(_) = jobs.join_next() => {}
            _ = orphaned.recv() => break,
        }
    }
    // Each ends its program's whole group as it goes.
    jobs.shutdown().await;
    Ok(())
}

async fn run(
    id: u64,
    found: Result<Arc<Hook>, &'static str>,
    wish: Wish,
    told: mpsc::UnboundedSender<Vec<u8>>,
) {
    let (end, output, beyond) = match found {
        Err(why) => (End::Start(None, why.to_owned()), Vec::new(), 0),
        Ok(hook) => {
            let (result, output) = hook.run(&Message { words: wish.words, json: wish.json }).await;
            let end = match result {
                Ok(()) => End::Success,
                Err(HookError::Ended(status)) => End::Ended(status.into_raw()),
                Err(HookError::TimedOut(_)) => End::TimedOut,
                Err(HookError::Start { source, .. }) => End::Start(source.raw_os_error(), source.to_string()),
            };
            let (output, beyond) = output.into_parts();
            (end, output, beyond)
        }
    };
    if let Ok(frame) = frame(&Done { id, end, output, beyond }) {
        // The agent may be gone.
        let _ = told.send(frame);
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

    use super::*;
    use crate::output::notify::template::Words;

    const LONG: Duration = Duration::from_secs(60);

    /// The agent's end of a process that has read this configuration, without the process.
    struct Agent {
        file: tempfile::NamedTempFile,
        out: OwnedWriteHalf,
        answers: OwnedReadHalf,
        serving: tokio::task::JoinHandle<io::Result<()>>,
    }

    fn configured(scripts: &[&str]) -> String {
        let one = |(i, script): (usize, &&str)| {
            format!("[[notify.command]]\nname = \"n{i}\"\ncommand = [\"sh\", \"-c\", {script:?}]\n")
        };
        scripts.iter().enumerate().map(one).collect()
    }

    impl Agent {
        fn new(scripts: &[&str], reloads: bool) -> Self {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), configured(scripts)).unwrap();
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            theirs.set_nonblocking(true).unwrap();
            let path = Some(file.path().to_owned());
            let serving = tokio::spawn(attend(theirs, Commands { path, reloads, hooks: Vec::new() }));
            let (answers, out) = tokio::net::UnixStream::from_std(ours).unwrap().into_split();
            Self { file, out, answers, serving }
        }

        async fn order(&mut self, order: &Order) {
            self.out.write_all(&frame(order).unwrap()).await.unwrap();
        }

        async fn run(&mut self, id: u64, script: &str) {
            let arguments = vec!["-c".to_owned(), script.to_owned()];
            let (words, json) = (Words::default(), "{\"a\":1}".to_owned());
            self.order(&Order::Run(id, Box::new(Wish { program: "sh".to_owned(), arguments, words, json })))
                .await;
        }

        async fn done(&mut self) -> (u64, End, String) {
            let done = tokio::time::timeout(LONG, receive::<Done>(&mut self.answers)).await.unwrap().unwrap();
            (done.id, done.end, String::from_utf8(done.output).unwrap())
        }
    }

    #[tokio::test]
    async fn a_command_of_the_configuration_is_run_and_no_other() {
        let mut agent = Agent::new(&["cat; exit 3", "true"], true);
        agent.run(1, "cat; exit 3").await;
        assert_eq!(agent.done().await, (1, End::Ended(3 << 8), "{\"a\":1}\n".to_owned()));
        agent.run(2, "true").await;
        assert_eq!(agent.done().await.1, End::Success);
        for foreign in ["id", "true ", ""] {
            agent.run(3, foreign).await;
            let (_, end, output) = agent.done().await;
            assert!(matches!(&end, End::Start(None, why) if why.contains("reload the agent")), "{end:?}");
            assert_eq!(output, "");
        }
    }

    #[tokio::test]
    async fn a_reload_counts_only_what_is_on_the_disk_and_only_where_it_may() {
        for reloads in [true, false] {
            let mut agent = Agent::new(&["echo old"], reloads);
            agent.run(1, "echo old").await;
            assert_eq!(agent.done().await.2, "old\n");
            fs::write(agent.file.path(), configured(&["echo new"])).unwrap();
            agent.run(2, "echo new").await;
            assert!(matches!(agent.done().await.1, End::Start(..)));
            agent.order(&Order::Reload).await;
            agent.run(3, "echo new").await;
            agent.run(4, "echo old").await;
            let mut both = [agent.done().await, agent.done().await];
            both.sort_by_key(|(id, ..)| *id);
            assert_eq!(both.map(|(_, end, _)| end == End::Success), [reloads, !reloads]);
            // A file that is none leaves what is known.
            fs::write(agent.file.path(), "[[").unwrap();
            agent.order(&Order::Reload).await;
            agent.run(5, if reloads { "echo new" } else { "echo old" }).await;
            assert_eq!(agent.done().await.1, End::Success);
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_ended_and_so_is_all_with_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str| format!("echo $$ > {}; sleep 1000", folder.path().join(name).display());
        let (one, two) = (script("1"), script("2"));
        let mut agent = Agent::new(&[&one, &two, "true"], true);
        agent.run(1, &one).await;
        agent.run(2, &two).await;
        let pids = [pid(&folder.path().join("1")).await, pid(&folder.path().join("2")).await];
        agent.order(&Order::Cancel(1)).await;
        gone(&pids[0]).await;
        assert!(Path::new("/proc").join(&pids[1]).exists());
        agent.run(3, "true").await;
        assert_eq!(agent.done().await.0, 3);
        let Agent { out, answers, serving, .. } = agent;
        drop((out, answers));
        tokio::time::timeout(LONG, serving).await.unwrap().unwrap().unwrap();
        gone(&pids[1]).await;
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_it() {
        let mut agent = Agent::new(&[], true);
        agent.out.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
        tokio::time::timeout(LONG, &mut agent.serving).await.unwrap().unwrap().unwrap();
    }

    async fn pid(file: &Path) -> String {
        let wait = async {
            loop {
                match fs::read_to_string(file) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap()
    }

    async fn gone(pid: &str) {
        let alive = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
        };
        let wait = async {
            while alive() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap();
    }
}
