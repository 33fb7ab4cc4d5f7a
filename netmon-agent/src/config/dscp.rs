//! Names of differentiated services code points.

/// The code point of a word, in either case: `default`, `EF`, `LE`, `VA`, `CS0` to `CS7`, `AF11` to `AF43` (RFC 2474,
/// 2597, 3246, 5865, 8622), or of a number from 0 to 63.
pub fn dscp(word: &str) -> Option<u8> {
    if let Ok(number) = word.parse() {
        return Some(number).filter(|n| *n < 64);
    }
    let word = word.to_ascii_uppercase();
    let digits = |prefix: &str| -> Option<[u8; 2]> {
        let rest = word.strip_prefix(prefix).filter(|rest| rest.bytes().all(|b| b.is_ascii_digit()))?;
        rest.bytes().map(|b| b - b'0').collect::<Vec<_>>().try_into().ok()
    };
    match word.as_str() {
        "DEFAULT" | "BE" => return Some(0),
        "LE" => return Some(1),
        "VA" => return Some(44),
        "EF" => return Some(46),
        _ => {}
    }
    match (word.strip_prefix("CS").and_then(|n| n.parse::<u8>().ok()), digits("AF")) {
        (Some(class @ 0..=7), _) => Some(class * 8),
        (_, Some([class @ 1..=4, drop @ 1..=3])) => Some(class * 8 + drop * 2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::dscp;

    #[test]
    fn words_are_those_of_the_rfcs() {
        for (word, point) in [
            ("EF", 46),
            ("ef", 46),
            ("CS0", 0),
            ("cs7", 56),
            ("AF11", 10),
            ("AF43", 38),
            ("AF41", 34),
            ("8", 8),
            ("63", 63),
        ] {
            assert_eq!(dscp(word), Some(point), "{word}");
        }
        for word in ["", "64", "-1", "AF1", "AF14", "AF51", "AF411", "CS8", "CS", "XF"] {
            assert_eq!(dscp(word), None, "{word}");
        }
    }
}
