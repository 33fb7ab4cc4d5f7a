use proptest::prelude::*;

use super::*;

/// Writes BTF by hand: types in order of their ids, names as they come.
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Writer {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], count: 0 }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn ty(&mut self, name: &str, kind: u8, flag: bool, len: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        self.words(&[name, u32::from(flag) << 31 | u32::from(kind) << 24 | len, size_or_type]);
        self.words(rest);
        self.count += 1;
        self.count
    }

    fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.ty(name, INT, false, 0, bytes, &[bytes * 8])
    }

    fn structure(&mut self, name: &str, bytes: u32, flag: bool, members: &[(&str, u32, u32)]) -> u32 {
        let rest: Vec<u32> =
            members.iter().flat_map(|(name, ty, offset)| [self.name(name), *ty, *offset]).collect();
        self.ty(name, STRUCT, flag, members.len() as u32, bytes, &rest)
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [HEADER as u32, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }

    fn btf(&self) -> Btf {
        Btf::parse(self.bytes()).unwrap()
    }
}

fn location(byte: u32, shift: u32, bits: u32) -> Location {
    Location { byte, shift, bits }
}

fn sample() -> Writer {
    let mut w = Writer::new();
    let byte = w.int("u8", 1);
    let int = w.int("int", 4);
    let pointer = w.ty("", PTR, false, 0, 0, &[]);
    let alias = w.ty("alias_t", TYPEDEF, false, 0, int, &[]);
    let constant = w.ty("", CONST, false, 0, alias, &[]);
    let array = w.ty("", ARRAY, false, 0, 0, &[constant, int, 3]);
    let inner = w.structure("inner", 8, false, &[("first", int, 0), ("second", constant, 32)]);
    let anonymous = w.structure("", 8, false, &[("deep", byte, 8), ("pointer", pointer, 64)]);
    w.structure(
        "outer",
        64,
        true,
        &[
            ("head", int, 0),
            ("", anonymous, 64),
            ("list", array, 192),
            ("flags", byte, 5 << 24 | 299),
            ("inner", inner, 320),
        ],
    );
    w
}

#[test]
fn finds_plain_nested_and_anonymous_members() {
    let btf = sample().btf();
    assert_eq!(btf.locate("outer", "head"), Ok(location(0, 0, 32)));
    assert_eq!(btf.locate("outer", "inner.second"), Ok(location(44, 0, 32)));
    assert_eq!(btf.locate("outer", "deep"), Ok(location(9, 0, 8)));
    assert_eq!(btf.locate("outer", "pointer"), Ok(location(16, 0, 64)));
    assert_eq!(btf.locate("outer", "list"), Ok(location(24, 0, 96)));
}

#[test]
fn finds_bit_fields_in_both_encodings() {
    assert_eq!(sample().btf().locate("outer", "flags"), Ok(location(37, 3, 5)));

    let mut w = Writer::new();
    let five_bits_from_the_second = w.ty("u8", INT, false, 0, 1, &[1 << 16 | 5]);
    w.structure("old", 4, false, &[("state", five_bits_from_the_second, 16)]);
    assert_eq!(w.btf().locate("old", "state"), Ok(location(2, 1, 5)));
}

#[test]
fn says_what_is_missing() {
    let btf = sample().btf();
    assert_eq!(btf.locate("absent", "x").unwrap_err().to_string(), "this kernel has no type struct absent");
    assert_eq!(btf.locate("outer", "inner.x").unwrap_err().to_string(), "this kernel has no outer.inner.x");
    assert_eq!(btf.locate("outer", "head.x").unwrap_err().to_string(), "this kernel has no outer.head.x");
}

#[test]
fn counts_tracepoint_arguments() {
    let mut w = Writer::new();
    let function = w.ty("", FUNC_PROTO, false, 3, 0, &[0, 0, 0, 0, 0, 0]);
    let pointer = w.ty("", PTR, false, 0, function, &[]);
    w.ty("btf_trace_event", TYPEDEF, false, 0, pointer, &[]);
    w.ty("btf_trace_odd", TYPEDEF, false, 0, function, &[]);
    let btf = w.btf();
    assert_eq!(btf.tracepoint_arguments("event"), Ok(2));
    assert!(matches!(btf.tracepoint_arguments("odd"), Err(BtfError::Malformed(_))));
    assert!(matches!(btf.tracepoint_arguments("other"), Err(BtfError::NoType(_))));
}

#[test]
fn a_kind_from_the_future_ends_the_list_and_spoils_nothing_before_it() {
    let mut w = sample();
    w.ty("", 31, false, 0, 0, &[1, 2, 3]);
    w.structure("after", 4, false, &[]);
    let btf = w.btf();
    assert_eq!(btf.locate("outer", "head"), Ok(location(0, 0, 32)));
    assert!(matches!(btf.locate("after", "x"), Err(BtfError::NoType(_))));
}

#[test]
fn circles_end() {
    let mut w = Writer::new();
    w.ty("loop_a", TYPEDEF, false, 0, 2, &[]);
    w.ty("loop_b", TYPEDEF, false, 0, 1, &[]);
    w.structure("holds_loop", 4, false, &[("x", 1, 0)]);
    w.ty("", ARRAY, false, 0, 0, &[4, 4, 1]);
    w.structure("holds_array", 4, true, &[("x", 4, 0)]);
    // It holds itself a thousand times, without a name: a search to the greatest depth would visit 1000^16 members.
    let wide: Vec<(&str, u32, u32)> = vec![("", 6, 0); 1000];
    w.structure("wide", 4, false, &wide);
    let btf = w.btf();
    assert_eq!(btf.locate("holds_loop", "x"), Err(BtfError::Malformed("typedefs without end")));
    assert_eq!(btf.locate("holds_array", "x"), Err(BtfError::Malformed("arrays without end")));
    assert_eq!(btf.locate("wide", "x"), Err(BtfError::Malformed("members without end")));
}

#[test]
fn every_truncation_is_refused_or_answered_without_a_panic() {
    let whole = sample().bytes();
    for len in 0..whole.len() {
        if let Ok(btf) = Btf::parse(whole[..len].to_vec()) {
            let _ = btf.locate("outer", "inner.second");
        }
    }
    assert_eq!(Btf::parse(Vec::new()).unwrap_err(), BtfError::Magic);
}

proptest! {
    #[test]
    fn damage_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = sample().bytes();
        for (place, value) in changes {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(btf) = Btf::parse(bytes) {
            for path in ["head", "deep", "list", "flags", "inner.second", "absent"] {
                let _ = btf.locate("outer", path);
            }
            let _ = btf.tracepoint_arguments("event");
        }
    }
}
