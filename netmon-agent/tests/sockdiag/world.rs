//! Two network namespaces that a test has to itself, joined by a veth pair, and what `ss` sees in the near one.

#![expect(clippy::unwrap_used, reason = "what a test stands on fails the test")]

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use netmon_agent::{observation::IfIndex, time::Mono};
use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Type};

use crate::netns::ip;

/// However slow the machine, it is done by then.
const DEADLINE: Duration = Duration::from_secs(30);

/// The index of an interface of this namespace.
pub fn index_of(name: &str) -> IfIndex {
    IfIndex(nix::net::if_::if_nametoindex(name).unwrap())
}

type Job = Box<dyn FnOnce() + Send>;

/// The far namespace: 10.98.0.2 and fd98::2 on `nmsd1`, where the near one has 10.98.0.1 and fd98::1 on `nmsd0`. A
/// thread lives in it, and it ends with the thread.
pub struct Peer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    pub fn join() -> Self {
        let near = nix::unistd::gettid();
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link add nmsd1 type veth peer name nmsd0");
            ip(&format!("link set nmsd0 netns {near}"));
            ip("addr add 10.98.0.2/24 dev nmsd1");
            ip("-6 addr add fd98::2/64 dev nmsd1 nodad");
            ip("link set nmsd1 up");
            for job in todo {
                job();
            }
        });
        let peer = Self { jobs: Some(jobs), thread: Some(thread) };
        peer.with(|| ());
        ip("addr add 10.98.0.1/24 dev nmsd0");
        ip("-6 addr add fd98::1/64 dev nmsd0 nodad");
        ip("link set nmsd0 up");
        peer
    }

    /// Does something in the far namespace.
    pub fn with<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::channel();
        let job = Box::new(move || drop(done.send(job())));
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().unwrap()
    }

    /// `ip` with these words, in the far namespace.
    pub fn ip(&self, words: &'static str) {
        self.with(move || ip(words));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the far namespace's thread ran to the end");
        }
    }
}

/// A connection from the near namespace to the far one.
pub struct Pair {
    pub near: TcpStream,
    pub far: TcpStream,
}

impl Pair {
    /// An IPv4-mapped address is connected to by an IPv6 socket.
    pub fn new(peer: &Peer, address: &str, device: Option<&str>) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let listener = peer.with(move || TcpListener::bind((address.to_canonical(), 0)).unwrap());
        let to = SocketAddr::new(address, listener.local_addr().unwrap().port());
        let near = socket2::Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        near.bind_device(device.map(str::as_bytes)).unwrap();
        near.connect(&to.into()).unwrap();
        Self { near: near.into(), far: listener.accept().unwrap().0 }
    }

    /// Sends so many bytes, and waits until they are read and acknowledged.
    pub fn send(&mut self, bytes: usize) {
        let data = vec![42; 16_384];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(data.len());
            self.near.write_all(&data[..piece]).unwrap();
            self.far.read_exact(&mut vec![0; piece]).unwrap();
            left -= piece;
        }
        settle();
    }
}

/// Waits until everything that sockets of this namespace sent is acknowledged: then no segment is under way, and no
/// acknowledgement is put off.
pub fn settle() {
    let deadline = Mono::now() + DEADLINE;
    while ss().values().any(|socket| socket.unacknowledged > 0) {
        assert!(Mono::now() < deadline, "{:?}", ss());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A line of `ss`.
#[derive(Debug)]
pub struct Told {
    pub local: IpAddr,
    pub remote: IpAddr,
    unacknowledged: u64,
    words: String,
}

impl Told {
    /// What follows `name` in the line.
    pub fn word(&self, name: &str) -> Option<&str> {
        self.words.split(' ').find_map(|word| word.strip_prefix(name))
    }

    /// The same as a number. `ss` leaves out what is 0.
    pub fn figure(&self, name: &str) -> u64 {
        self.word(name).map_or(0, |word| word.parse().unwrap())
    }

    /// The round-trip time, which `ss` prints in milliseconds, beside its variation.
    pub fn rtt_micros(&self) -> u64 {
        let millis = self.word("rtt:").map_or("0", |word| word.split_once('/').unwrap().0);
        (millis.parse::<f64>().unwrap() * 1000.0).round() as u64
    }
}

/// What `ss` tells of this namespace, by cookie.
pub fn ss() -> BTreeMap<u64, Told> {
    let output = Command::new("ss").arg("-tineHO").output().expect("iproute2");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let mut columns = line.split_whitespace().skip(2);
            let unacknowledged = columns.next().unwrap().parse().unwrap();
            let (local, remote) = (address(columns.next().unwrap()), address(columns.next().unwrap()));
            let words = columns.collect::<Vec<_>>().join(" ");
            let told = Told { local, remote, unacknowledged, words };
            (u64::from_str_radix(told.word("sk:").expect("a cookie"), 16).unwrap(), told)
        })
        .collect()
}

/// `192.0.2.1:80`, `192.0.2.1%eth0:80`, `[::1]:80`.
fn address(text: &str) -> IpAddr {
    let host = text.rsplit_once(':').unwrap().0;
    let host = host.split('%').next().unwrap().trim_matches(['[', ']']);
    host.parse::<IpAddr>().unwrap().to_canonical()
}
