//! Every input that is kept, through its target, and some that are near to it: no fuzzer, no C++, a stable toolchain.

use std::{collections::BTreeSet, fs, path::Path};

use netmon_fuzz::{TARGETS, corpus, named};

/// Inputs near to each one of the corpus that are tried too.
const NEAR: usize = 8;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn inputs(name: &str) -> Vec<Vec<u8>> {
    let path = folder().join("corpus").join(name).with_extension("txt");
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    corpus::unpack(&text).unwrap_or_else(|line| panic!("{}:{line} can't be read", path.display()))
}

fn replay(name: &str) {
    let target = named(name).expect("a target");
    let inputs = inputs(name);
    assert!(inputs.len() >= 5, "{name} has {} inputs", inputs.len());
    let mut played = 0;
    for (seed, input) in (1..).zip(&inputs) {
        target.run(input);
        for near in near(input, seed) {
            target.run(&near);
            played += 1;
        }
    }
    println!("{name}: {} inputs, and {played} near to them", inputs.len());
}

/// The same ones every time: with a byte changed, cut off, doubled.
fn near(input: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut random = |below: usize| {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut all = vec![Vec::new(); NEAR];
    for (i, one) in all.iter_mut().enumerate() {
        one.extend_from_slice(input);
        let at = random(input.len());
        match i % 4 {
            0 if !one.is_empty() => one[at] = random(256) as u8,
            1 => one.truncate(at),
            2 if !one.is_empty() => one[at] ^= 1 << random(8),
            _ => one.extend_from_slice(&input[at.min(input.len())..]),
        }
    }
    all
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed_and_has_its_entry_and_its_corpus() {
            let known: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(known, BTreeSet::from([$(stringify!($name)),*]));
            let table: toml::Table = fs::read_to_string(folder().join("targets.toml")).unwrap().parse().unwrap();
            assert_eq!(known, table.keys().map(String::as_str).collect());
            for (name, of) in &table {
                for file in of["files"].as_array().unwrap() {
                    let file = folder().join("..").join(file.as_str().unwrap());
                    assert!(file.is_file(), "{name}: there is no {}", file.display());
                }
            }
            let files = fs::read_dir(folder().join("corpus")).unwrap().map(|entry| entry.unwrap());
            let (mut corpora, mut bytes) = (0, 0);
            for entry in files {
                corpora += 1;
                bytes += entry.metadata().unwrap().len();
            }
            assert_eq!(corpora, known.len());
            assert!(bytes < 1 << 20, "{bytes} bytes of corpora");
        }
    };
}

replays! {
    netlink sock_diag proc_net bpf icmp trace dns resolv_conf http_answer http_events http_request config web_config
    discovery exit_codes exposition text
}
