//! A daemon that holds a connection: it sends a line a second to an echo server, and outlives outages and restarts of
//! that server. The agent shows the connection in its status, its metrics and on its page.
//!
//! `supervisor HOST:PORT [PROGRAM]`; metrics of its own come on standard output, whenever something changes.

use std::{
    env,
    error::Error,
    io::{self, BufRead, BufReader, Write},
    net::{Shutdown, TcpStream, ToSocketAddrs},
    sync::Mutex,
    thread,
    time::Duration,
};

use netmon_client::{
    Client, Monitor,
    supervise::{SuperviseOptions, Supervisor, metrics},
};

/// A question and its answer at a time.
type Echo = (Mutex<BufReader<TcpStream>>, TcpStream);

fn connect(address: &str) -> io::Result<Echo> {
    let address = address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    Ok((Mutex::new(BufReader::new(stream.try_clone()?)), stream))
}

fn ask((reader, writer): &Echo, text: &str) -> io::Result<()> {
    let mut reader = reader.lock().unwrap_or_else(|e| e.into_inner());
    writeln!(&mut &*writer, "{text}")?;
    let mut answer = String::new();
    reader.read_line(&mut answer)?;
    if answer.trim_end() == text { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().ok_or("usage: supervisor HOST:PORT [PROGRAM]")?;
    let program = arguments.next().unwrap_or_else(|| "example".to_owned());

    let agent = Client::new(Client::default_socket());
    let supervisor = Supervisor::new(Monitor::connect(agent.socket())?)?;
    supervisor.report_to(&agent, &program)?;
    let changes = supervisor.changes();
    let connection = supervisor.supervise_with(
        "echo",
        SuperviseOptions::default(),
        move || connect(&address),
        |echo| ask(echo, "are you there?"),
        // Ends a read that is under way.
        |(_, stream)| drop(stream.shutdown(Shutdown::Both)),
    )?;
    loop {
        if let Some(echo) = connection.wait(Some(Duration::from_secs(1)))
            && let Err(e) = ask(&echo, "work")
        {
            connection.failed(&echo, e);
        }
        while changes.try_recv().is_some() {
            io::stdout().write_all(metrics(&program, &supervisor.snapshots()).as_bytes())?;
        }
        thread::sleep(Duration::from_secs(1));
    }
}
