//! How far a reported round trip is from what the device's capture says, at rest and on a busy machine.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netmon_tests::lab::{Netns, find_program};

use super::capture::{Capture, Trips};
use super::engine::Job;
use super::wire::{DEVICE, Wire, host};
use super::{Arguments, cost, subject};
use crate::quantile;

/// Round trips as a program told them: destination, its number there from 0, time.
type Told = Vec<(Ipv4Addr, usize, Duration)>;

/// Prints the errors of each subject under each load.
pub fn measure(arguments: &Arguments) -> Result<()> {
    println!("error of a round trip against the capture, a path of 5 ms, µs p50 / p99 / max (samples)");
    for &hogs in &arguments.hogs {
        let wire = Wire::new()?;
        let port = cost::listen(&wire.far)?;
        let _hogs = Hogs::start(hogs);
        let sparse = Job::icmp(host(1), 20, Duration::from_millis(200), arguments.time());
        let dense = Job::icmp(host(1), 2_000, Duration::from_secs(1), arguments.time());
        println!("  {hogs} busy threads");
        report(&wire, "icmp, 20 targets at 5/s", |near| ours(near, &sparse))?;
        report(&wire, "icmp, 2,000 targets at 1/s", |near| ours(near, &dense))?;
        report(&wire, "tcp, 20 targets at 5/s", |near| ours(near, &sparse.clone().tcp(port)))?;
        if !arguments.alone {
            report(&wire, "ping, one target at 50/s", |near| ping(near, arguments.seconds))?;
            report(&wire, "fping, 20 targets at 5/s", |near| fping(near, arguments.seconds))?;
        }
    }
    Ok(())
}

fn report(wire: &Wire, name: &str, probe: impl FnOnce(&Netns) -> Result<Told>) -> Result<()> {
    let capture = Capture::start(&wire.near, DEVICE)?;
    let told = probe(&wire.near);
    let seen = capture.finish()?;
    let mut errors = errors(&told?, &seen);
    ensure!(!errors.is_empty(), "{name}: no round trip was both told and seen");
    let micros = |errors: &mut Vec<Duration>, q| quantile(errors, q).as_secs_f64() * 1e6;
    let values = [0.5, 0.99, 1.0].map(|q| micros(&mut errors, q));
    let [p50, p99, max] = values;
    println!("    {name:<28} {p50:>8.1} {p99:>9.1} {max:>9.1}  ({})", errors.len());
    Ok(())
}

fn errors(told: &Told, seen: &Trips) -> Vec<Duration> {
    let of = |(address, index, rtt): &(Ipv4Addr, usize, Duration)| {
        Some(seen.get(address)?.get(*index)?.as_ref()?.abs_diff(*rtt))
    };
    told.iter().filter_map(of).collect()
}

fn ours(netns: &Netns, job: &Job) -> Result<Told> {
    let file = netns.folder()?.join("trips");
    job.clone().tracing(file.clone()).run(netns)?;
    let line = |line: &str| {
        let mut words = line.split(' ');
        let address = words.next()?.parse().ok()?;
        let number: usize = words.next()?.parse().ok()?;
        Some((address, number.checked_sub(1)?, Duration::from_nanos(words.next()?.parse().ok()?)))
    };
    Ok(fs::read_to_string(file)?.lines().filter_map(line).collect())
}

fn ping(netns: &Netns, seconds: u64) -> Result<Told> {
    let program = find_program("ping").context("ping is not installed")?;
    let mut command = Command::new(program);
    command.args(["-n", "-i", "0.02", "-c", &(50 * seconds).to_string(), &host(1).to_string()]);
    let output = subject::run(netns, &mut command, "")?.output;
    let line = |line: &str| {
        let number: usize = after(line, "icmp_seq=")?.parse().ok()?;
        Some((host(1), number.checked_sub(1)?, millis(after(line, "time=")?)?))
    };
    Ok(output.lines().filter_map(line).collect())
}

/// fping prints three digits, so of 5 ms 10 µs.
fn fping(netns: &Netns, seconds: u64) -> Result<Told> {
    let program = find_program("fping").context("fping is not installed: apt-get install fping")?;
    let mut command = Command::new(program);
    command.args(["-i", "10", "-p", "200", "-c", &(5 * seconds).to_string()]);
    command.args((1..=20).map(|n| host(n).to_string()));
    let output = subject::run(netns, &mut command, "")?.output;
    let line = |line: &str| {
        let address = line.split(' ').next()?.parse().ok()?;
        let number = after(line, "[")?.strip_suffix("],")?.parse().ok()?;
        Some((address, number, millis(after(line, "bytes, ")?)?))
    };
    Ok(output.lines().filter_map(line).collect())
}

/// The word that follows a mark.
fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark)?.1.split(' ').next()
}

fn millis(word: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(word.parse::<f64>().ok()? / 1e3).ok()
}

/// Threads that do nothing but spend time.
struct Hogs {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start(count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        };
        Self { threads: (0..count).map(|_| thread::spawn(spin(stop.clone()))).collect(), stop }
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|t| _ = t.join());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn an_error_is_taken_only_of_what_both_know() {
        let ms = Duration::from_millis;
        let seen = HashMap::from([(host(1), vec![Some(ms(5)), None])]);
        let told = vec![(host(1), 0, ms(7)), (host(1), 1, ms(7)), (host(1), 2, ms(7)), (host(2), 0, ms(7))];
        assert_eq!(errors(&told, &seen), [ms(2)]);
    }

    #[test]
    fn a_value_is_what_follows_its_mark() {
        let line = "64 bytes from 10.78.0.1: icmp_seq=3 ttl=64 time=5.02 ms";
        assert_eq!((after(line, "icmp_seq="), after(line, "time=")), (Some("3"), Some("5.02")));
        assert_eq!(millis("5.02"), Some(Duration::from_micros(5_020)));
        assert_eq!((millis("-1"), after(line, "none=")), (None, None));
    }
}
