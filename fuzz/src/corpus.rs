//! A corpus as a file that can be read: an input a line, as a byte string of Rust is written; `#` begins a comment.

/// The inputs of a file.
///
/// # Errors
/// The line that can't be read, by its number.
pub fn unpack(text: &str) -> Result<Vec<Vec<u8>>, usize> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
    lines.map(|(number, line)| bytes(line).ok_or(number + 1)).collect()
}

/// An input as a line.
pub fn pack(input: &[u8]) -> String {
    // A line that began with it would be a comment.
    match input.strip_prefix(b"#") {
        Some(rest) => format!("\\x23{}", rest.escape_ascii()),
        None => input.escape_ascii().to_string(),
    }
}

fn bytes(line: &str) -> Option<Vec<u8>> {
    let (mut out, mut rest) = (Vec::with_capacity(line.len()), line.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let (escape, after) = rest.split_first()?;
        rest = after;
        out.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'\\' | b'"' | b'\'' => *escape,
            b'x' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?
            }
            _ => return None,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_comes_back_as_it_was() {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        for input in [&all[..], b"", b"# no comment", b"\\x", b"a\nb\r\t\"'"] {
            let line = pack(input);
            assert!(line.is_ascii() && !line.contains('\n'));
            assert_eq!(unpack(&format!("# a comment\n{line}\n")), Ok(vec![input.to_vec()]));
        }
        assert_eq!(unpack("a\n\\q\n"), Err(2));
        assert_eq!(unpack("\\x2"), Err(1));
    }
}
