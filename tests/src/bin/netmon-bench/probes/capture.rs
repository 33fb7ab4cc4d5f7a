//! Round trips as a capture on the device saw them: tcpdump's, whose stamps are the kernel's.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::lab::{Netns, find_program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A capture under way.
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
}

/// Round trips by destination, in the order of departure; `None` where nothing came back.
pub type Trips = HashMap<Ipv4Addr, Vec<Option<Duration>>>;

impl Capture {
    /// Starts on a device, and waits until it listens.
    pub fn start(netns: &Netns, device: &str) -> Result<Self> {
        let program = find_program("tcpdump").context("tcpdump is not installed: apt-get install tcpdump")?;
        let file = netns.folder()?.join("pcap");
        let mut command = Command::new(program);
        command.args(["-n", "-i", device, "-B", "32768", "-s", "96", "--time-stamp-precision=nano"]);
        command.args(["-Z", "root", "-w"]).arg(&file).arg("icmp or tcp[tcpflags] & tcp-syn != 0");
        let mut tcpdump = netns.run(|| command.stderr(Stdio::piped()).spawn())??;
        let errors = tcpdump.stderr.take().context("a pipe")?;
        let mut line = String::new();
        let mut errors = BufReader::new(errors);
        while !line.contains("listening on") {
            line.clear();
            ensure!(errors.read_line(&mut line)? > 0, "tcpdump did not start");
        }
        tcpdump.stderr = Some(errors.into_inner());
        Ok(Self { tcpdump, file })
    }

    /// Ends it and reads what it saw.
    pub fn finish(mut self) -> Result<Trips> {
        // It writes by blocks, and a block may stay for a second.
        std::thread::sleep(Duration::from_millis(1_500));
        kill(Pid::from_raw(self.tcpdump.id() as i32), Signal::SIGINT)?;
        self.tcpdump.wait()?;
        trips(&fs::read(&self.file)?)
    }
}

/// Reads a capture file of nanosecond stamps in this machine's byte order, Ethernet.
fn trips(bytes: &[u8]) -> Result<Trips> {
    ensure!(bytes.get(..4) == Some(&0xa1b2_3c4du32.to_ne_bytes()[..]), "not a capture with nanoseconds");
    let mut out = Trips::new();
    let mut waiting = HashMap::new();
    let mut at = 24;
    while let Some(header) = bytes.get(at..at + 16) {
        let word = |i: usize| u32::from_ne_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let stamp = Duration::new(word(0).into(), word(4));
        let length = word(8) as usize;
        let Some(frame) = bytes.get(at + 16..at + 16 + length) else { break };
        at += 16 + length;
        match packet(frame) {
            Some((flow, false)) => {
                let of = out.entry(flow.0).or_default();
                // A retransmitted SYN is the same probe.
                if let std::collections::hash_map::Entry::Vacant(new) = waiting.entry(flow) {
                    new.insert((stamp, of.len()));
                    of.push(None);
                }
            }
            Some((flow, true)) => {
                if let Some((sent, index)) = waiting.remove(&flow)
                    && let Some(trip) = out.get_mut(&flow.0).and_then(|of| of.get_mut(index))
                {
                    *trip = stamp.checked_sub(sent);
                }
            }
            None => {}
        }
    }
    Ok(out)
}

/// The far address with what else names a probe, and whether this is the way back.
fn packet(frame: &[u8]) -> Option<((Ipv4Addr, u16, u16), bool)> {
    let ip = frame.get(14..).filter(|ip| ip.first().is_some_and(|b| b >> 4 == 4))?;
    let payload = ip.get(usize::from(ip[0] & 15) * 4..)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(ip.get(at..at + 4)?).ok()?));
    let word = |at: usize| Some(u16::from_be_bytes([*payload.get(at)?, *payload.get(at + 1)?]));
    match (*ip.get(9)?, *payload.first()?) {
        (1, 8) => Some(((address(16)?, word(4)?, word(6)?), false)),
        (1, 0) => Some(((address(12)?, word(4)?, word(6)?), true)),
        (6, _) if payload.get(13)? & 0x12 == 0x02 => Some(((address(16)?, word(0)?, word(2)?), false)),
        (6, _) if payload.get(13)? & 0x12 == 0x12 => Some(((address(12)?, word(2)?, word(0)?), true)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(nanos: u32, source: [u8; 4], destination: [u8; 4], kind: u8, sequence: u8) -> Vec<u8> {
        let mut frame = vec![0; 14];
        frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0]);
        frame.extend([source, destination].concat());
        frame.extend([kind, 0, 0, 0, 0, 7, 0, sequence]);
        let length = frame.len() as u32;
        let header = [1u32, nanos, length, length].map(u32::to_ne_bytes).concat();
        [header, frame].concat()
    }

    #[test]
    fn answers_are_matched_to_requests_in_order_of_departure() {
        let (near, far) = ([10, 77, 0, 1], [10, 78, 0, 1]);
        let mut file = 0xa1b2_3c4du32.to_ne_bytes().to_vec();
        file.resize(24, 0);
        file.extend(record(100, near, far, 8, 1));
        file.extend(record(200, near, far, 8, 2));
        file.extend(record(700, far, near, 0, 2));
        let found = trips(&file).unwrap();
        assert_eq!(found[&Ipv4Addr::from(far)], [None, Some(Duration::from_nanos(500))]);
        file[..4].fill(0);
        assert!(trips(&file).is_err());
    }
}
