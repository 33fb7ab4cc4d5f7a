//! What the records of classic tracepoints look like: the `format` files of tracefs
//! (the kernel's `Documentation/trace/events.rst`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use netmon_ebpf::{ABSENT, Format};

/// Where tracefs is mounted, in the order in which it is looked for.
const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) offset: u32,
    pub(super) size: u32,
}

/// The fields of one tracepoint's record.
#[derive(Debug)]
pub(super) struct Record(pub(super) String);

impl Record {
    fn read(mount: &Path, tracepoint: &str) -> io::Result<Self> {
        fs::read_to_string(mount.join("events").join(tracepoint).join("format")).map(Self)
    }

    /// The field of that name: lines such as `field:__u8 saddr_v6[16]; offset:42; size:16; signed:0;`.
    pub(super) fn field(&self, name: &str) -> Option<Field> {
        self.0.lines().find_map(|line| {
            let mut parts = line.trim().split(';').map(str::trim);
            let declared = parts.next()?.strip_prefix("field:")?;
            let word = declared.split([' ', '*']).next_back()?;
            if word.split('[').next() != Some(name) {
                return None;
            }
            let number = |part: Option<&str>, of| part?.strip_prefix(of)?.parse().ok();
            Some(Field { offset: number(parts.next(), "offset:")?, size: number(parts.next(), "size:")? })
        })
    }

    /// Where the field of that name and size is; absent otherwise.
    pub(super) fn offset(&self, name: &str, size: u32) -> u32 {
        self.field(name).filter(|field| field.size == size).map_or(ABSENT, |field| field.offset)
    }
}

/// The layout of every record that the programs read. What can't be read stays absent.
pub(super) fn resolve() -> Format {
    let mount = MOUNTS.iter().map(PathBuf::from).find(|mount| mount.join("events/tcp").is_dir());
    mount.map_or(Format::ABSENT, |mount| resolve_in(&mount))
}

fn resolve_in(mount: &Path) -> Format {
    let record = |name| Record::read(mount, name).unwrap_or_else(|_| Record(String::new()));
    let retransmit = record("tcp/tcp_retransmit_skb");
    let send_reset = record("tcp/tcp_send_reset");
    let state = record("sock/inet_sock_set_state");
    // A `sockaddr_in6` is 28 bytes; before 6.10 there were the address alone.
    let sockaddr = send_reset.offset("saddr", 28);
    Format {
        retransmit_local: retransmit.offset("saddr_v6", 16),
        retransmit_state: retransmit.offset("state", 4),
        retransmit_err: retransmit.offset("err", 4),
        synack_local: record("tcp/tcp_retransmit_synack").offset("saddr_v6", 16),
        send_reset_local: if sockaddr == ABSENT { send_reset.offset("saddr_v6", 16) } else { sockaddr },
        reset_sockaddr: u32::from(sockaddr != ABSENT),
        receive_reset_local: record("tcp/tcp_receive_reset").offset("saddr_v6", 16),
        state_local: state.offset("saddr_v6", 16),
        state_old: state.offset("oldstate", 4),
        state_new: state.offset("newstate", 4),
        // A `u8` before 5.6, when no protocol had a larger number; the programs take it as a `u16`.
        state_protocol: state.offset("protocol", 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRANSMIT: &str = "name: tcp_retransmit_skb\nID: 1337\nformat:\n\
        \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\
        \tfield:const void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;\n\
        \tfield:int state;\toffset:24;\tsize:4;\tsigned:1;\n\
        \tfield:__u8 saddr[4];\toffset:34;\tsize:4;\tsigned:0;\n\
        \tfield:__u8 saddr_v6[16];\toffset:42;\tsize:16;\tsigned:0;\n\
        \nprint fmt: \"state=%s\", REC->state\n";

    #[test]
    fn a_field_is_found_by_its_whole_name_and_size() {
        let record = Record(RETRANSMIT.to_owned());
        assert_eq!(record.field("saddr"), Some(Field { offset: 34, size: 4 }));
        assert_eq!(record.offset("saddr_v6", 16), 42);
        assert_eq!(record.offset("saddr_v6", 4), ABSENT);
        assert_eq!(record.field("skbaddr"), Some(Field { offset: 8, size: 8 }));
        assert_eq!(record.offset("state", 4), 24);
        assert_eq!(record.field("addr"), None);
        assert_eq!(record.field("REC"), None);
    }

    #[test]
    fn resets_are_recorded_in_two_ways() {
        let folder = tempfile::tempdir().unwrap();
        let events = folder.path().join("events/tcp/tcp_send_reset");
        fs::create_dir_all(&events).unwrap();
        for (field, expected) in [
            ("__u8 saddr[28];\toffset:32;\tsize:28;", (32, 1)),
            ("__u8 saddr_v6[16];\toffset:40;\tsize:16;", (40, 0)),
        ] {
            fs::write(events.join("format"), format!("\tfield:{field}\tsigned:0;\n")).unwrap();
            let format = resolve_in(folder.path());
            assert_eq!((format.send_reset_local, format.reset_sockaddr), expected);
            assert_eq!(format.retransmit_local, ABSENT);
        }
    }
}
