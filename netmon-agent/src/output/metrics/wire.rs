//! The wire format of protocol buffers, as far as it is written here, and what Prometheus' and OpenTelemetry's messages are
//! both made from.

/// Below this a time counts as none; the value of Prometheus' own clients, 2⁻¹²⁸.
pub(crate) const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// The labels of a text that [`super::labels`] wrote.
pub(crate) fn each_label(text: &str, each: &mut impl FnMut(&str, &str)) {
    let (mut rest, mut value) = (text, String::new());
    while let Some((name, after)) = rest.split_once("=\"") {
        value.clear();
        let mut chars = after.char_indices();
        let mut end = after.len();
        while let Some((i, c)) = chars.next() {
            match c {
                '"' => {
                    end = i + 1;
                    break;
                }
                '\\' => value.extend(chars.next().map(|(_, c)| if c == 'n' { '\n' } else { c })),
                c => value.push(c),
            }
        }
        each(name, &value);
        rest = after[end..].trim_start_matches(',');
    }
}

pub(crate) fn put_uint(out: &mut Vec<u8>, field: u32, n: u64) {
    varint(out, u64::from(field) << 3);
    varint(out, n);
}

pub(crate) fn put_double(out: &mut Vec<u8>, field: u32, x: f64) {
    varint(out, u64::from(field) << 3 | 1);
    out.extend(x.to_le_bytes());
}

/// Eight bytes as they are: `fixed64`, `sfixed64`.
#[cfg(any(feature = "otlp", test))]
pub(crate) fn put_fixed(out: &mut Vec<u8>, field: u32, n: u64) {
    varint(out, u64::from(field) << 3 | 1);
    out.extend(n.to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    varint(out, u64::from(field) << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

pub(crate) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// A signed number as `sint32` and `sint64` have it.
pub(crate) fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}
