//! The agent's end.

use std::{
    collections::HashMap,
    io,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::CommandExt, process::ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
};

use super::{
    super::{
        command::{Hook, HookError, Output},
        message::Message,
    },
    Done, End, NAME, Order, Wish, frame, receive,
};
use crate::sys;

/// How often, and after how long, it is looked whether the process has ended with the agent.
const ENDING: u32 = 200;
const ENDING_STEP: Duration = Duration::from_millis(5);
/// What of the agent's environment speaks of the agent itself, to its service manager.
const OURS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// The process that runs commands. Cloned, it is the same one.
#[derive(Clone, Debug)]
pub struct Runner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    orders: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Waiting,
    next: AtomicU64,
    /// Until somebody waits for something to be run.
    link: Mutex<Option<Link>>,
    child: Mutex<Child>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Done>>>>;

#[derive(Debug)]
struct Link {
    stream: UnixStream,
    orders: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Runner {
    /// Begins the process. It runs the commands in the configuration at `path` (none is the default place); with `reloads`
    /// it reads the file anew when it is told to, and otherwise keeps to what was there at its start.
    ///
    /// # Errors
    /// No process.
    pub fn begin(path: Option<&Path>, reloads: bool) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // The program that runs, whatever has taken its place on the disk.
        let mut command = Command::new("/proc/self/exe");
        command.arg0(NAME).arg(if reloads { "reload" } else { "fixed" }).args(path);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::inherit());
        for name in OURS {
            command.env_remove(name);
        }
        let child = sys::spawn_apart(&mut command)?;
        ours.set_nonblocking(true)?;
        let (sender, orders) = mpsc::unbounded_channel();
        Ok(Self(Arc::new(Inner {
            orders: sender,
            waiting: Waiting::default(),
            next: AtomicU64::new(0),
            link: Mutex::new(Some(Link { stream: ours, orders })),
            child: Mutex::new(child),
        })))
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// There is a new configuration, for all that is run from now on.
    pub fn reload(&self) {
        if let Ok(frame) = frame(&Order::Reload) {
            // It may be gone: then whoever wants something run is told.
            let _ = self.0.orders.send(frame);
        }
    }

    /// Has a command run for a notice. Dropped before its end, it has the command ended. Must be called in one and the same
    /// runtime.
    pub(in super::super) async fn run(
        &self,
        hook: &Hook,
        message: &Message,
    ) -> (Result<(), HookError>, Output) {
        let failed = |source| {
            let error = HookError::Start { program: hook.program.clone(), source };
            (Err(error), Output::default())
        };
        let gone = || io::Error::other("the process that runs commands has ended; restart the agent");
        if let Err(error) = self.attach() {
            return failed(error);
        }
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let wish = Wish {
            program: hook.program.clone(),
            arguments: hook.arguments.iter().map(|a| a.as_written().to_owned()).collect(),
            words: message.words.clone(),
            json: message.json.clone(),
        };
        let order = match frame(&Order::Run(id, Box::new(wish))) {
            Ok(order) => order,
            Err(error) => return failed(error),
        };
        let (sender, done) = oneshot::channel();
        self.waiting().insert(id, sender);
        let unwanted = Unwanted { runner: self, id };
        if self.0.orders.send(order).is_err() {
            return failed(gone());
        }
        let done = done.await;
        // It is known to be over.
        std::mem::forget(unwanted);
        let Ok(Done { end, output, beyond, .. }) = done else { return failed(gone()) };
        let result = match end {
            End::Success => Ok(()),
            End::Ended(status) => Err(HookError::Ended(ExitStatus::from_raw(status))),
            End::TimedOut => Err(HookError::TimedOut(hook.timeout)),
            End::Start(number, words) => {
                let source = number.map_or_else(|| io::Error::other(words), io::Error::from_raw_os_error);
                Err(HookError::Start { program: hook.program.clone(), source })
            }
        };
        (result, Output::of(output, beyond))
    }

    /// Waits for the process to end, whose sockets' other end is closed when the runtime that used it is gone.
    pub fn end(self) {
        drop(self.0.link.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut child = self.0.child.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..ENDING {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(ENDING_STEP);
        }
    }

    /// Has orders sent and answers read, from the first time on.
    fn attach(&self) -> io::Result<()> {
        let link = self.0.link.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Link { stream, mut orders }) = link else { return Ok(()) };
        let (mut answers, mut out) = tokio::net::UnixStream::from_std(stream)?.into_split();
        let waiting = Arc::clone(&self.0.waiting);
        tokio::spawn(async move {
            let send = async {
                while let Some(order) = orders.recv().await {
                    out.write_all(&order).await?;
                }
                Ok::<(), io::Error>(())
            };
            let hear = async {
                loop {
                    let done: Done = receive(&mut answers).await?;
                    let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&done.id);
                    if let Some(waiting) = waiting {
                        // It may have been given up just now.
                        let _ = waiting.send(done);
                    }
                }
                #[expect(unreachable_code, reason = "it says of what type the errors are")]
                Ok::<(), io::Error>(())
            };
            tokio::select! { _ = send => {}, _ = hear => {} }
            // Whoever waits learns that nothing comes, and whoever comes later finds nobody to send orders to.
            orders.close();
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Ok(())
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Done>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that nobody waits for once this is dropped.
struct Unwanted<'a> {
    runner: &'a Runner,
    id: u64,
}

impl Drop for Unwanted<'_> {
    fn drop(&mut self) {
        self.runner.waiting().remove(&self.id);
        if let Ok(frame) = frame(&Order::Cancel(self.id)) {
            let _ = self.runner.0.orders.send(frame);
        }
    }
}
