//! An agent for tests: answers each connection with the next of its scripts.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, mpsc},
};

pub(crate) struct Fake {
    folder: tempfile::TempDir,
    held: Arc<Mutex<Vec<UnixStream>>>,
    requests: mpsc::Receiver<String>,
}

impl Fake {
    /// Answers the n-th connection with the n-th script and closes it; then listens no more.
    pub(crate) fn new(scripts: Vec<String>) -> Self {
        Self::start(scripts.into_iter().map(|s| (s, false)).collect())
    }

    /// Accepts one connection and says nothing.
    pub(crate) fn silent() -> Self {
        Self::start(vec![(String::new(), true)])
    }

    /// Like `new`, but a connection whose script comes with `true` stays open.
    pub(crate) fn start(scripts: Vec<(String, bool)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let held: Arc<Mutex<Vec<UnixStream>>> = Arc::default();
        let (tell, requests) = mpsc::channel();
        let keep = held.clone();
        std::thread::spawn(move || {
            for (script, stay) in scripts {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let mut request = vec![0; 4096];
                let n = stream.read(&mut request).unwrap_or(0);
                let _ = tell.send(String::from_utf8_lossy(&request[..n]).into_owned());
                // Held before anybody can have read the script, and say more.
                let mut held = keep.lock().unwrap();
                let _ = stream.write_all(script.as_bytes());
                if stay {
                    held.push(stream);
                }
            }
        });
        Self { folder, held, requests }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// The next request that came.
    pub(crate) fn request(&self) -> String {
        self.requests.recv_timeout(std::time::Duration::from_secs(20)).unwrap()
    }

    /// Writes to the connections that stay open.
    pub(crate) fn say(&self, text: &str) {
        for stream in self.held.lock().unwrap().iter_mut() {
            let _ = stream.write_all(text.as_bytes());
        }
    }

    /// Closes them.
    pub(crate) fn hang_up(&self) {
        self.held.lock().unwrap().clear();
    }
}
