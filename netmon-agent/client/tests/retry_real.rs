//! Errors as the system makes them, and a whole retry over loopback.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use netmon_client::retry::{Policy, Retryer, Verdict, classify};

const RETRY: Verdict = Verdict::RETRYABLE;
const NEVER: Verdict = Verdict::Permanent;

fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback")
}

/// What a failure is.
fn of<T: std::fmt::Debug>(result: io::Result<T>) -> Verdict {
    classify::error(&result.expect_err("it has to fail"))
}

#[test]
fn what_a_network_does_passes() {
    let closed = listen().local_addr().unwrap();
    assert_eq!(of(TcpStream::connect(closed)), RETRY, "refused");

    // Closed with something unread, the kernel resets the connection.
    let listener = listen();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (there, _) = listener.accept().unwrap();
    here.write_all(b"hello").unwrap();
    there.peek(&mut [0; 5]).unwrap();
    drop(there);
    assert_eq!(of(here.read(&mut [0; 1])), RETRY, "reset");
    let written = (0..100).try_for_each(|_| here.write_all(&[0; 65536]));
    assert_eq!(of(written), RETRY, "broken pipe");

    let mut silent = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    silent.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    assert_eq!(of(silent.read(&mut [0; 1])), RETRY, "a time-out of the socket's");

    let cut = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    cut.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(of((&cut).read_exact(&mut [0; 1])), RETRY, "the end in the middle");
}

#[test]
fn what_files_do_never_passes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f");
    assert_eq!(of(File::open(&path)), NEVER);
    fs::write(&path, "x").unwrap();
    assert_eq!(of(File::create_new(&path)), NEVER);
    assert_eq!(of(File::open(path.join("below"))), NEVER);
    assert_eq!(of(File::create(folder.path())), NEVER);
    assert_eq!(of(fs::remove_dir(folder.path())), NEVER);
    assert_eq!(of(File::open(folder.path().join("n".repeat(300)))), NEVER);
    let mut full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(of(full.write_all(b"x")), NEVER);
}

#[test]
fn a_server_that_comes_back_is_reached() {
    let listener = listen();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let policy = Policy {
        initial: Duration::from_millis(20),
        max_delay: Duration::from_millis(40),
        attempts: None,
        ..Policy::default()
    };
    let retryer = Retryer::new(policy).unwrap();
    let server = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        let listener = TcpListener::bind(address).unwrap();
        // The first who comes is sent away.
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"welcome").unwrap();
    });
    let answer = retryer.run(|attempt| {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(attempt.remaining())?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok::<_, io::Error>(answer)
    });
    assert_eq!(&answer.unwrap(), b"welcome");
    server.join().unwrap();
}
