//! Where kernels have had what the programs read.

use netmon_ebpf::Offsets;

use super::btf::{Btf, BtfError, Location};

/// One offset: whose place it fills, how wide the member must be, and where kernels have had it.
pub(super) struct Field {
    pub(super) of: fn(&mut Offsets) -> &mut u32,
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
    /// Where the running kernel has it.
    pub(super) fn resolve(&self, btf: &Btf) -> Result<Location, BtfError> {
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

/// Every one of them.
pub(super) const FIELDS: [&Field; 24] = [
    &SOCK_DST,
    &SOCK_RX_IFINDEX,
    &SOCK_PROTOCOL,
    &SOCK_ERROR,
    &SOCK_STATE,
    &SOCK_BOUND,
    &SOCK_NET,
    &SOCK_V4,
    &SOCK_V6,
    &SOCK_REMOTE_V4,
    &SOCK_REMOTE_V6,
    &CA_STATE,
    &SRTT,
    &SEGMENTS_OUT,
    &DST_DEV,
    &DEV_IFINDEX,
    &DEV_NAME,
    &DEV_NET,
    &NET_INUM,
    &SKB_SEGMENTS,
    &SKB_IIF,
    &SKB_DST,
    &SKB_DEV,
    &SKB_SOCK,
];

pub(super) const SOCK_DST: Field =
    Field { of: |o| &mut o.sock_dst, width: Width::Bytes(8), candidates: &[&[("sock", "sk_dst_cache")]] };
pub(super) const SOCK_RX_IFINDEX: Field = Field {
    of: |o| &mut o.sock_rx_ifindex,
    width: Width::Bytes(4),
    // 5.10 has it in inet_sock, which begins with the sock.
    candidates: &[&[("sock", "sk_rx_dst_ifindex")], &[("inet_sock", "rx_dst_ifindex")]],
};
pub(super) const SOCK_STATE: Field = Field {
    of: |o| &mut o.sock_state,
    width: Width::Bytes(1),
    candidates: &[&[("sock_common", "skc_state")]],
};
pub(super) const SOCK_BOUND: Field = Field {
    of: |o| &mut o.sock_bound,
    width: Width::Bytes(4),
    candidates: &[&[("sock_common", "skc_bound_dev_if")]],
};
pub(super) const SOCK_NET: Field = Field {
    of: |o| &mut o.sock_net,
    width: Width::Bytes(8),
    candidates: &[&[("sock_common", "skc_net.net")]],
};
pub(super) const SOCK_V4: Field = Field {
    of: |o| &mut o.sock_v4,
    width: Width::Bytes(4),
    candidates: &[&[("sock_common", "skc_rcv_saddr")]],
};
pub(super) const SOCK_V6: Field = Field {
    of: |o| &mut o.sock_v6,
    width: Width::Bytes(16),
    candidates: &[&[("sock_common", "skc_v6_rcv_saddr")]],
};
pub(super) const CA_STATE: Field = Field {
    of: |o| &mut o.ca_state,
    width: Width::WithinByte,
    candidates: &[&[("inet_connection_sock", "icsk_ca_state")]],
};
pub(super) const DST_DEV: Field = Field {
    of: |o| &mut o.dst_dev,
    width: Width::Bytes(8),
    candidates: &[&[("dst_entry", "dev")], &[("dst_entry", "dev_rcu")]],
};
pub(super) const DEV_IFINDEX: Field =
    Field { of: |o| &mut o.dev_ifindex, width: Width::Bytes(4), candidates: &[&[("net_device", "ifindex")]] };
pub(super) const DEV_NET: Field =
    Field { of: |o| &mut o.dev_net, width: Width::Bytes(8), candidates: &[&[("net_device", "nd_net.net")]] };
pub(super) const NET_INUM: Field =
    Field { of: |o| &mut o.net_inum, width: Width::Bytes(4), candidates: &[&[("net", "ns.inum")]] };
pub(super) const SKB_SEGMENTS: Field = Field {
    of: |o| &mut o.skb_segments,
    width: Width::Bytes(2),
    candidates: &[&[("sk_buff", "cb"), ("tcp_skb_cb", "tcp_gso_segs")]],
};
pub(super) const SKB_IIF: Field =
    Field { of: |o| &mut o.skb_iif, width: Width::Bytes(4), candidates: &[&[("sk_buff", "skb_iif")]] };
pub(super) const SKB_DST: Field =
    Field { of: |o| &mut o.skb_dst, width: Width::Bytes(8), candidates: &[&[("sk_buff", "_skb_refdst")]] };
pub(super) const SOCK_PROTOCOL: Field =
    Field { of: |o| &mut o.sock_protocol, width: Width::Bytes(2), candidates: &[&[("sock", "sk_protocol")]] };
pub(super) const SOCK_ERROR: Field =
    Field { of: |o| &mut o.sock_error, width: Width::Bytes(4), candidates: &[&[("sock", "sk_err")]] };
pub(super) const SOCK_REMOTE_V4: Field = Field {
    of: |o| &mut o.sock_remote_v4,
    width: Width::Bytes(4),
    candidates: &[&[("sock_common", "skc_daddr")]],
};
pub(super) const SOCK_REMOTE_V6: Field = Field {
    of: |o| &mut o.sock_remote_v6,
    width: Width::Bytes(16),
    candidates: &[&[("sock_common", "skc_v6_daddr")]],
};
pub(super) const SRTT: Field =
    Field { of: |o| &mut o.srtt, width: Width::Bytes(4), candidates: &[&[("tcp_sock", "srtt_us")]] };
pub(super) const SEGMENTS_OUT: Field =
    Field { of: |o| &mut o.segments_out, width: Width::Bytes(4), candidates: &[&[("tcp_sock", "segs_out")]] };
pub(super) const DEV_NAME: Field =
    Field { of: |o| &mut o.dev_name, width: Width::Bytes(16), candidates: &[&[("net_device", "name")]] };
pub(super) const SKB_DEV: Field =
    Field { of: |o| &mut o.skb_dev, width: Width::Bytes(8), candidates: &[&[("sk_buff", "dev")]] };
pub(super) const SKB_SOCK: Field =
    Field { of: |o| &mut o.skb_sock, width: Width::Bytes(8), candidates: &[&[("sk_buff", "sk")]] };
