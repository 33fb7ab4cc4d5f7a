//! Which kernel structures each program reads, and where the running kernel keeps them.

use netmon_ebpf::{Offsets, program};

use super::btf::{Btf, BtfError, Location};

/// A program and what it cannot do without.
pub(super) struct Needs {
    /// Its name, and that of its tracepoint.
    pub(super) program: &'static str,
    fields: &'static [&'static Field],
}

impl Needs {
    /// What of it this kernel lacks, in words; `None` when it has all.
    pub(super) fn missing(&self, btf: &Btf) -> Option<String> {
        let tracepoint = btf.tracepoint_arguments(self.program).err().map(|error| error.to_string());
        let fields = self.fields.iter().filter_map(|field| field.resolve(btf).err());
        let missing: Vec<String> = tracepoint.into_iter().chain(fields.map(|e| e.to_string())).collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }
}

/// Every program, in the order in which they are attached.
pub(super) const PROGRAMS: [Needs; 4] = [
    Needs {
        program: program::RETRANSMIT,
        fields: &[
            &SOCK_NET,
            &NET_INUM,
            &SOCK_DST,
            &DST_DEV,
            &DEV_IFINDEX,
            &SKB_SEGMENTS,
            &SOCK_STATE,
            &CA_STATE,
        ],
    },
    Needs { program: program::SYNACK, fields: &[&SOCK_NET, &NET_INUM, &SOCK_V4] },
    Needs {
        program: program::SEND_RESET,
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
        fields: &[&SOCK_NET, &NET_INUM, &SOCK_STATE, &SOCK_DST, &DST_DEV, &DEV_IFINDEX],
    },
];

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

/// One offset: whose place it fills, how wide the member must be, and where kernels have had it.
struct Field {
    of: fn(&mut Offsets) -> &mut u32,
    width: Width,
    /// Tried in order. The offsets of a candidate's steps add up: one structure may lie in another's raw bytes.
    candidates: &'static [&'static [(&'static str, &'static str)]],
}

enum Width {
    Bytes(u32),
    /// A bit field, or a whole byte.
    WithinByte,
}

impl Field {
    fn resolve(&self, btf: &Btf) -> Result<Location, BtfError> {
        let mut first_error = None;
        for candidate in self.candidates {
            match locate(btf, candidate) {
                Ok(location) if self.fits(location) => return Ok(location),
                Ok(location) => {
                    let (structure, path) = candidate.last().copied().unwrap_or_default();
                    let path = format!("{path} of the expected width, but one of {} bits", location.bits);
                    first_error.get_or_insert(BtfError::NoMember { structure: structure.to_owned(), path });
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or(BtfError::Malformed("a field without candidates")))
    }

    fn fits(&self, location: Location) -> bool {
        match self.width {
            Width::Bytes(bytes) => location.shift == 0 && location.bits == bytes * 8,
            Width::WithinByte => location.bits >= 1 && location.shift + location.bits <= 8,
        }
    }
}

fn locate(btf: &Btf, steps: &[(&str, &str)]) -> Result<Location, BtfError> {
    let mut sum = Location { byte: 0, shift: 0, bits: 0 };
    for (structure, path) in steps {
        let step = btf.locate(structure, path)?;
        let byte = sum.byte.checked_add(step.byte).ok_or(BtfError::Malformed("offset beyond 2^32"))?;
        sum = Location { byte, ..step };
    }
    Ok(sum)
}

const FIELDS: [&Field; 15] = [
    &SOCK_DST,
    &SOCK_RX_IFINDEX,
    &SOCK_STATE,
    &SOCK_BOUND,
    &SOCK_NET,
    &SOCK_V4,
    &SOCK_V6,
    &CA_STATE,
    &DST_DEV,
    &DEV_IFINDEX,
    &DEV_NET,
    &NET_INUM,
    &SKB_SEGMENTS,
    &SKB_IIF,
    &SKB_DST,
];

const SOCK_DST: Field =
    Field { of: |o| &mut o.sock_dst, width: Width::Bytes(8), candidates: &[&[("sock", "sk_dst_cache")]] };
const SOCK_RX_IFINDEX: Field = Field {
    of: |o| &mut o.sock_rx_ifindex,
    width: Width::Bytes(4),
    // 5.10 has it in inet_sock, which begins with the sock.
    candidates: &[&[("sock", "sk_rx_dst_ifindex")], &[("inet_sock", "rx_dst_ifindex")]],
};
const SOCK_STATE: Field = Field {
    of: |o| &mut o.sock_state,
    width: Width::Bytes(1),
    candidates: &[&[("sock_common", "skc_state")]],
};
const SOCK_BOUND: Field = Field {
    of: |o| &mut o.sock_bound,
    width: Width::Bytes(4),
    candidates: &[&[("sock_common", "skc_bound_dev_if")]],
};
const SOCK_NET: Field = Field {
    of: |o| &mut o.sock_net,
    width: Width::Bytes(8),
    candidates: &[&[("sock_common", "skc_net.net")]],
};
const SOCK_V4: Field = Field {
    of: |o| &mut o.sock_v4,
    width: Width::Bytes(4),
    candidates: &[&[("sock_common", "skc_rcv_saddr")]],
};
const SOCK_V6: Field = Field {
    of: |o| &mut o.sock_v6,
    width: Width::Bytes(16),
    candidates: &[&[("sock_common", "skc_v6_rcv_saddr")]],
};
const CA_STATE: Field = Field {
    of: |o| &mut o.ca_state,
    width: Width::WithinByte,
    candidates: &[&[("inet_connection_sock", "icsk_ca_state")]],
};
const DST_DEV: Field = Field {
    of: |o| &mut o.dst_dev,
    width: Width::Bytes(8),
    candidates: &[&[("dst_entry", "dev")], &[("dst_entry", "dev_rcu")]],
};
const DEV_IFINDEX: Field =
    Field { of: |o| &mut o.dev_ifindex, width: Width::Bytes(4), candidates: &[&[("net_device", "ifindex")]] };
const DEV_NET: Field =
    Field { of: |o| &mut o.dev_net, width: Width::Bytes(8), candidates: &[&[("net_device", "nd_net.net")]] };
const NET_INUM: Field =
    Field { of: |o| &mut o.net_inum, width: Width::Bytes(4), candidates: &[&[("net", "ns.inum")]] };
const SKB_SEGMENTS: Field = Field {
    of: |o| &mut o.skb_segments,
    width: Width::Bytes(2),
    candidates: &[&[("sk_buff", "cb"), ("tcp_skb_cb", "tcp_gso_segs")]],
};
const SKB_IIF: Field =
    Field { of: |o| &mut o.skb_iif, width: Width::Bytes(4), candidates: &[&[("sk_buff", "skb_iif")]] };
const SKB_DST: Field =
    Field { of: |o| &mut o.skb_dst, width: Width::Bytes(8), candidates: &[&[("sk_buff", "_skb_refdst")]] };

#[cfg(test)]
mod tests {
    use netmon_ebpf::ABSENT;

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
        for needs in PROGRAMS {
            assert_eq!(needs.missing(&btf), None, "{}", needs.program);
        }
        let offsets = resolve(&btf);
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
        let missing = PROGRAMS[1].missing(&btf).unwrap();
        assert!(missing.starts_with("this kernel has no type btf_trace_tcp_retransmit_synack"), "{missing}");
        assert_eq!(resolve(&btf), Offsets::ABSENT);
    }
}
