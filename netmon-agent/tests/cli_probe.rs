//! `netmon probe` as people and scripts run it: what it prints and its exit codes, in a network namespace of its own.

#![expect(clippy::unwrap_used, reason = "a test; only functions marked as tests are exempt by themselves")]

mod netns;

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, UdpSocket},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use netns::{alone, ip};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

fn netmon(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netmon"));
    command.arg("probe").args(line.split_whitespace()).env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
fn run(line: &str) -> (i32, String, String) {
    told(&netmon(line).output().unwrap())
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The objects of single probes, and the hosts of the summary.
fn objects(stdout: &str) -> (Vec<Value>, Vec<Value>) {
    let mut objects: Vec<Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let last = objects.pop().unwrap();
    assert_eq!((&last["summary"], last.get("rtt_ns")), (&Value::Bool(true), None));
    (objects, last["hosts"].as_array().unwrap().clone())
}

/// A UDP server that turns what it hears into what it says.
fn serve(port: u16, answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Arc<Mutex<HashSet<IpAddr>>> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let peers = Arc::new(Mutex::new(HashSet::new()));
    let heard = peers.clone();
    thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            heard.lock().unwrap().insert(from.ip());
            let _ = socket.send_to(&answer(&buffer[..n]), from);
        }
    });
    peers
}

#[test]
fn datagrams_are_echoed_from_the_source_asked_for() {
    alone("probe-udp", || {
        let peers = serve(7777, <[u8]>::to_vec);
        let (code, out, err) =
            run("127.0.0.1 --udp 7777 -c 3 -i 0.02 -W 10 --json -I 127.0.0.9 -I lo -s 1200 --dscp ef");
        let (probes, hosts) = objects(&out);
        assert_eq!((code, probes.len()), (0, 3), "{out}{err}");
        assert!(probes.iter().all(|p| p["rtt_ns"].as_u64().is_some_and(|ns| ns > 0)), "{out}");
        assert_eq!(*peers.lock().unwrap(), HashSet::from([IpAddr::from([127, 0, 0, 9])]));
        assert_eq!((&hosts[0]["received"], &hosts[0]["probe"]), (&3.into(), &"udp port 7777".into()));

        let (code, out, _) = run("127.0.0.1 --udp 9 --expect unreachable -c 2 -i 0.02 -W 10 --json");
        assert_eq!(code, 0, "{out}");
        let (code, out, _) = run("127.0.0.1 --udp 9 -c 1 -W 10");
        assert_eq!(code, 1, "{out}");
        assert!(out.contains("127.0.0.1: seq=1 port_unreachable from 127.0.0.1"), "{out}");
        assert!(out.contains("failures: port_unreachable ×1"), "{out}");
    });
}

#[test]
fn resolvers_are_asked_what_one_likes() {
    alone("probe-dns", || {
        // NXDOMAIN for whatever begins with an x.
        serve(53, |query| {
            let mut bytes = query.to_vec();
            bytes[2] |= 0x80;
            bytes[3] = if bytes[13] == b'x' { 3 } else { 0 };
            bytes
        });
        let (code, out, err) = run("127.0.0.1 --dns --query a.example:AAAA -c 2 -i 0.02 -W 10 --csv");
        let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!((code, rows.len()), (0, 3), "{out}{err}");
        let cell = |row: &[&str], name| row[rows[0].iter().position(|c| *c == name).unwrap()].to_owned();
        for (i, row) in rows[1..].iter().enumerate() {
            assert_eq!(row.len(), 12, "{out}");
            assert_eq!(
                (cell(row, "target"), cell(row, "seq")),
                ("127.0.0.1".to_owned(), (i + 1).to_string())
            );
            assert!(cell(row, "rtt_ns").parse::<u64>().unwrap() > 0, "{out}");
            assert_eq!((cell(row, "failure"), cell(row, "status")), (String::new(), "0".to_owned()));
        }
        assert!(err.contains("--- 127.0.0.1 by dns ---") && err.contains("status: NOERROR ×2"), "{err}");

        let (code, out, _) = run("127.0.0.1 --dns --query x.example -c 1 -W 10 --plain");
        assert!(code == 1 && out.contains("seq=1 nxdomain status=NXDOMAIN"), "{out}");
        let (code, out, _) = run("127.0.0.1 --dns -c 1 -W 10");
        assert!(code == 0 && out.contains("status=NOERROR"), "{out}");
        let (code, out, _) = run("127.0.0.1 --dns-tcp -c 1 -W 10");
        assert!(code == 1 && out.contains("seq=1 refused"), "{out}");
        assert!(run("127.0.0.1 --dns --query a..b").2.contains("a label is empty"));
    });
}

#[test]
fn what_must_not_be_fragmented_has_to_fit() {
    alone("probe-df", || {
        ip("link set lo mtu 1500");
        for (line, code, expected) in [
            ("127.0.0.1 -c 1 -W 10 -s 1472 --df", 0, "1 received"),
            ("127.0.0.1 -c 1 -W 10 -s 1473 --df", 1, "seq=1 packet_too_big"),
            ("127.0.0.1 -c 1 -W 10 -s 4000", 0, "1 received"),
            ("127.0.0.1 -c 1 -W 10 -s 1473 --df --udp 9", 1, "seq=1 packet_too_big"),
        ] {
            let (found, out, err) = run(line);
            assert!(found == code && out.contains(expected), "{line}: {found} {out}{err}");
        }
    });
}

#[test]
fn exit_codes_are_pings() {
    alone("probe-codes", || {
        for (line, code, said) in [
            ("127.0.0.1 ::1 -c 1 -W 10", 0, ""),
            ("127.0.0.1 198.51.100.1 -c 1 -W 0.1", 1, "cannot send to 198.51.100.1: Network is unreachable"),
            ("127.0.0.1 a..b -c 1", 2, "netmon probe: a..b: cannot resolve"),
            ("a..b", 2, "a..b"),
            ("127.0.0.1 -c 1 -I none-such0", 2, "cannot send by device none-such0"),
            ("127.0.0.1 -c 1 -I 192.0.2.2", 2, "cannot send from 192.0.2.2"),
            ("127.0.0.1 -c 1 -I ::1", 2, "no IPv6 address"),
            ("127.0.0.1 -c 1 -I 127.0.0.1 -I 127.0.0.2", 2, "one address and one device"),
            ("-f /none/such", 2, "/none/such: cannot read it"),
            ("--http https://a --http http://b 127.0.0.1", 2, "one URL only"),
            ("127.0.0.1 --tcp 1 --udp 1", 2, "cannot be used with"),
            ("", 2, "required"),
        ] {
            let (found, out, err) = run(line);
            assert!(found == code && err.contains(said), "{line}: {found} {out}{err}");
        }
        let (code, out, _) = run("127.0.0.1 -i 0.05 -w 0.5 -q");
        assert_eq!(code, 0);
        assert!(!out.contains("seq=") && out.contains("--- 127.0.0.1 by "), "{out}");
    });
}

#[test]
fn hosts_come_from_a_file_by_the_thousand() {
    alone("probe-file", || {
        let mut child = netmon("-f - 127.0.0.1 -c 1 -i 0.5 -W 10 -q")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let list: String = (0..2000).map(|i| format!("127.1.{}.{} # {i}\n", i / 250, i % 250 + 1)).collect();
        child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
        let (code, out, _) = told(&child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{out}");
        // Probing so many, a line a host, an empty one before and after, the sums.
        assert_eq!(out.lines().count(), 2001 + 5, "{out}");
        assert!(out.starts_with("probing 2001 hosts by icmp"), "{out}");
        assert!(
            out.contains("2001 hosts, 0 failing, 0 without any answer; 2001 sent, 2001 received"),
            "{out}"
        );

        let list: String = (0..101).map(|i| format!("127.1.0.{}\n", i + 1)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, list).unwrap();
        let (code, _, err) = run(&format!("-f {} -i 0.01", path.display()));
        assert!(code == 2 && err.contains("101 hosts every 10ms would be 10100 probes a second"), "{err}");
    });
}

#[test]
fn signals_bring_a_summary() {
    alone("probe-signals", || {
        let mut child =
            netmon("127.0.0.1 -i 0.05").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let signal = |child: &Child, signal| kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut err = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("seq=1 rtt=") {
            line.clear();
            assert!(out.read_line(&mut line).unwrap() > 0);
        }
        signal(&child, Signal::SIGQUIT);
        line.clear();
        while !line.starts_with("127.0.0.1 ") {
            line.clear();
            assert!(err.read_line(&mut line).unwrap() > 0);
        }
        assert!(line.contains(" 0.0% "), "{line}");
        signal(&child, Signal::SIGINT);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("--- 127.0.0.1 by ") && rest.contains(" 0 lost (0.0 %)"), "{rest}");
        assert_eq!(child.wait().unwrap().code(), Some(0));
    });
}
