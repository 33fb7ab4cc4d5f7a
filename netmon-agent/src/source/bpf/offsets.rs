//! Which kernel structures each program reads, and where the running kernel keeps them.

use netmon_ebpf::{ABSENT, Offsets, program};

use super::{
    btf::{Btf, Location},
    fields::*,
};

/// A program on a raw tracepoint and what it cannot do without.
pub(super) struct Needs {
    /// Its name.
    pub(super) program: &'static str,
    /// The name of its tracepoint.
    pub(super) tracepoint: &'static str,
    /// How many arguments the tracepoint must pass.
    arguments: usize,
    fields: &'static [&'static Field],
}

impl Needs {
    /// What of it this kernel lacks, in words; `None` when it has all. `offsets` are this kernel's.
    pub(super) fn missing(&self, btf: &Btf, offsets: &Offsets) -> Option<String> {
        let tracepoint = match btf.tracepoint_arguments(self.tracepoint) {
            Ok(count) if count < self.arguments => Some(format!(
                "this kernel's tracepoint {} passes {count} arguments, not {}",
                self.tracepoint, self.arguments
            )),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        let absent = |field: &&&Field| *(field.of)(&mut offsets.clone()) == ABSENT;
        // Looked for once more only to say what is wrong.
        let fields = self.fields.iter().filter(absent).filter_map(|field| field.resolve(btf).err());
        let missing: Vec<String> = tracepoint.into_iter().chain(fields.map(|e| e.to_string())).collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// Every program, in the order in which they are attached.
pub(super) const PROGRAMS: [Needs; 8] = [
    Needs {
        program: program::RETRANSMIT,
        tracepoint: program::RETRANSMIT,
        arguments: 2,
        fields: RETRANSMIT_FIELDS,
    },
    Needs {
        program: program::RETRANSMIT_TWIN,
        tracepoint: program::RETRANSMIT,
        arguments: 2,
        fields: RETRANSMIT_FIELDS,
    },
    Needs {
        program: program::SYNACK,
        tracepoint: program::SYNACK,
        arguments: 2,
        fields: &[&SOCK_NET, &NET_INUM, &SOCK_V4],
    },
    Needs {
        program: program::SEND_RESET,
        tracepoint: program::SEND_RESET,
        arguments: 2,
        fields: &[
            &SOCK_NET,
            &NET_INUM,
            &SOCK_STATE,
            &SOCK_DST,
            &DST_DEV,
            &DEV_IFINDEX,
            &DEV_NET,
            &SKB_IIF,
            &SKB_DST,
        ],
    },
    Needs {
        program: program::RECEIVE_RESET,
        tracepoint: program::RECEIVE_RESET,
        arguments: 1,
        fields: &[&SOCK_NET, &NET_INUM, &SOCK_STATE, &SOCK_DST, &DST_DEV, &DEV_IFINDEX],
    },
    Needs {
        program: program::SET_STATE,
        tracepoint: program::SET_STATE,
        arguments: 3,
        fields: &[
            &SOCK_PROTOCOL,
            &SOCK_ERROR,
            &SOCK_NET,
            &NET_INUM,
            &SOCK_DST,
            &DST_DEV,
            &DEV_IFINDEX,
            &SEGMENTS_OUT,
        ],
    },
    Needs {
        program: program::PROBE,
        tracepoint: program::PROBE,
        arguments: 1,
        fields: &[&SOCK_NET, &NET_INUM, &SOCK_DST, &DST_DEV, &DEV_IFINDEX, &SRTT],
    },
    Needs {
        program: program::DROP,
        tracepoint: program::DROP,
        // The third is the reason, from 5.17.
        arguments: 3,
        fields: &[&SKB_IIF, &SKB_DEV, &SKB_DST, &DST_DEV, &DEV_IFINDEX, &DEV_NET, &NET_INUM],
    },
];

const RETRANSMIT_FIELDS: &[&Field] =
    &[&SOCK_NET, &NET_INUM, &SOCK_DST, &DST_DEV, &DEV_IFINDEX, &SKB_SEGMENTS, &SOCK_STATE, &CA_STATE];

/// All offsets this kernel has; the others stay [absent](netmon_ebpf::ABSENT).
pub(super) fn resolve(btf: &Btf) -> Offsets {
    let mut offsets = Offsets::ABSENT;
    for field in FIELDS {
        if let Ok(location) = field.resolve(btf) {
            *(field.of)(&mut offsets) = location.byte;
        }
    }
    if let Ok(Location { shift, bits, .. }) = CA_STATE.resolve(btf) {
        offsets.ca_shift = shift;
        offsets.ca_mask = (1 << bits) - 1;
    }
    // (sk, skb) up to 6.16, (sk, skb, err) from 6.17.
    let arguments = btf.tracepoint_arguments(program::RETRANSMIT);
    offsets.retransmit_has_err = u32::from(arguments.is_ok_and(|count| count >= 3));
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running_kernel() -> Option<Btf> {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
        Some(Btf::parse(bytes).expect("the running kernel's BTF is well-formed"))
    }

    #[test]
    fn the_running_kernel_has_what_every_program_needs() {
        let Some(btf) = running_kernel() else {
            assert!(std::env::var_os("CI").is_none(), "this kernel has no BTF");
            println!("skipped: this kernel has no BTF");
            return;
        };
        let offsets = resolve(&btf);
        for needs in PROGRAMS {
            assert_eq!(needs.missing(&btf, &offsets), None, "{}", needs.program);
        }
        assert_ne!(offsets.sock_rx_ifindex, ABSENT);
        assert_ne!(offsets.sock_bound, ABSENT);
        // A bit field of five bits since 5.3; a tracepoint that passed the error would have three arguments.
        assert!(offsets.ca_mask >= 0b111, "{offsets:?}");
        assert!(offsets.retransmit_has_err <= 1);
    }

    #[test]
    fn every_offset_is_in_the_table() {
        let mut offsets = Offsets::ABSENT;
        for field in FIELDS {
            *(field.of)(&mut offsets) = 1;
        }
        let filled = Offsets { ca_shift: 0, ca_mask: 0, retransmit_has_err: 0, ..offsets };
        assert!(!format!("{filled:?}").contains(&ABSENT.to_string()), "{filled:?}");
    }

    #[test]
    fn a_kernel_without_a_member_is_told_by_name() {
        let mut empty = 0xeb9f_u16.to_ne_bytes().to_vec();
        empty.extend([1, 0]);
        for word in [24_u32, 0, 0, 0, 0] {
            empty.extend(word.to_ne_bytes());
        }
        let btf = Btf::parse(empty).unwrap();
        let missing = PROGRAMS[2].missing(&btf, &resolve(&btf)).unwrap();
        assert!(missing.starts_with("this kernel has no type btf_trace_tcp_retransmit_synack"), "{missing}");
        assert_eq!(resolve(&btf), Offsets::ABSENT);
    }
}
