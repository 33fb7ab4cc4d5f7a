//! A reader of BTF, the kernel's description of its own types: as much as turns `struct.member.member` into an offset.
//!
//! Format: the kernel's `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`. aya reads it too but keeps its
//! members to itself. Nothing in the bytes is trusted: every access is bounds-checked, every walk is bounded.

use std::ops::Range;

use thiserror::Error;

const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
const TYPE: usize = 12;
const MEMBER: usize = 12;

const INT: u8 = 1;
const PTR: u8 = 2;
const ARRAY: u8 = 3;
const STRUCT: u8 = 4;
const UNION: u8 = 5;
const ENUM: u8 = 6;
const TYPEDEF: u8 = 8;
const VOLATILE: u8 = 9;
const CONST: u8 = 10;
const RESTRICT: u8 = 11;
const FUNC_PROTO: u8 = 13;
const TYPE_TAG: u8 = 18;

/// Typedefs, qualifiers and array dimensions in a row; the kernel has a handful.
const MAX_CHAIN: usize = 32;
/// Anonymous structures within each other; `sk_buff` has four.
const MAX_DEPTH: usize = 16;
/// Members visited in one look-up; the kernel's largest structures have some hundred.
const MAX_MEMBERS: usize = 100_000;

/// Why BTF could not answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// The bytes end, or point, where they should not.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// Not BTF of this machine's byte order.
    #[error("no BTF of this machine's byte order")]
    Magic,
    /// There is no such type.
    #[error("this kernel has no type {0}")]
    NoType(String),
    /// The type has no such member.
    #[error("this kernel has no {structure}.{path}")]
    NoMember {
        /// The structure the look-up started from.
        structure: String,
        /// The member path.
        path: String,
    },
}

/// Where a member is within its outermost structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Offset in bytes; of a bit field, of the byte that holds its first bit.
    pub byte: u32,
    /// Bits to the right of a bit field within that byte (little-endian); 0 of a whole member.
    pub shift: u32,
    /// Size in bits.
    pub bits: u32,
}

/// Parsed BTF.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// Position of each type in `bytes`, by id from 1.
    types: Vec<u32>,
    /// The structures, unions, enumerations and typedefs among them, which are all that is looked up by name.
    named: Vec<u32>,
}

struct Type {
    position: usize,
    name: u32,
    kind: u8,
    flag: bool,
    len: usize,
    /// The size or the id of another type, by kind.
    size_or_type: u32,
}

struct Member {
    bit_offset: u32,
    /// 0 unless a bit field.
    bits: u32,
    type_id: u32,
}

impl Btf {
    /// Reads the header and finds where each type begins.
    ///
    /// A kind of type that is newer than this reader ends the list of types: what came before stays usable.
    ///
    /// # Errors
    /// [`BtfError::Magic`], or [`BtfError::Malformed`] when a section lies outside the bytes.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if bytes.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(BtfError::Magic);
        }
        let word = |at| word(&bytes, at).ok_or(BtfError::Malformed("header"));
        let header = word(4)? as usize;
        if header < HEADER {
            return Err(BtfError::Malformed("header length"));
        }
        let section = |offset: u32, len: u32| {
            let start = header.checked_add(offset as usize)?;
            let end = start.checked_add(len as usize)?;
            (end <= bytes.len() && u32::try_from(end).is_ok()).then_some(start..end)
        };
        let types = section(word(8)?, word(12)?).ok_or(BtfError::Malformed("type section"))?;
        let strings = section(word(16)?, word(20)?).ok_or(BtfError::Malformed("string section"))?;

        let mut btf = Self { bytes, strings, types: Vec::new(), named: Vec::new() };
        btf.index(types)?;
        Ok(btf)
    }

    /// Finds a member by its path, through anonymous structures and unions and named ones alike.
    ///
    /// # Errors
    /// [`BtfError::NoType`], [`BtfError::NoMember`], or [`BtfError::Malformed`].
    pub fn locate(&self, structure: &str, path: &str) -> Result<Location, BtfError> {
        let missing = || BtfError::NoMember { structure: structure.to_owned(), path: path.to_owned() };
        let mut id = self
            .find(structure, |kind| kind == STRUCT || kind == UNION)
            .ok_or_else(|| BtfError::NoType(format!("struct {structure}")))?;
        let (mut offset, mut bits) = (0_u32, 0);
        for name in path.split('.') {
            let mut budget = MAX_MEMBERS;
            let member = self.member(id, name.as_bytes(), MAX_DEPTH, &mut budget)?.ok_or_else(missing)?;
            offset = offset
                .checked_add(member.bit_offset)
                .ok_or(BtfError::Malformed("offset beyond 2^32 bits"))?;
            (bits, id) = (member.bits, member.type_id);
        }
        if bits != 0 {
            return Ok(Location { byte: offset / 8, shift: offset % 8, bits });
        }
        let size = self.size(id)?.checked_mul(8).ok_or(BtfError::Malformed("size beyond 2^32 bits"))?;
        Ok(Location { byte: offset / 8, shift: 0, bits: size })
    }

    /// How many arguments a tracepoint passes.
    ///
    /// # Errors
    /// [`BtfError::NoType`] when there is no such tracepoint, or [`BtfError::Malformed`].
    pub fn tracepoint_arguments(&self, tracepoint: &str) -> Result<usize, BtfError> {
        let name = format!("btf_trace_{tracepoint}");
        let id = self.find(&name, |kind| kind == TYPEDEF).ok_or(BtfError::NoType(name))?;
        let pointer = self.resolve(id)?;
        let function = self.resolve(pointer.size_or_type)?;
        if pointer.kind != PTR || function.kind != FUNC_PROTO {
            return Err(BtfError::Malformed("tracepoint is no function pointer"));
        }
        // The first parameter is the tracepoint's private data.
        function.len.checked_sub(1).ok_or(BtfError::Malformed("tracepoint without parameters"))
    }

    /// The value of each name of an enumeration of 32 bits.
    ///
    /// # Errors
    /// [`BtfError::NoType`], or [`BtfError::Malformed`].
    pub fn enumerators(&self, name: &str) -> Result<Vec<(&str, u32)>, BtfError> {
        let missing = || BtfError::NoType(format!("enum {name}"));
        let ty = self.ty(self.find(name, |kind| kind == ENUM).ok_or_else(missing)?)?;
        let one = |i| {
            let at = ty.position + TYPE + i * 8;
            Ok((self.string(self.word(at)?), self.word(at + 4)?))
        };
        (0..ty.len).map(one).collect()
    }

    fn index(&mut self, section: Range<usize>) -> Result<(), BtfError> {
        let mut position = section.start;
        while position < section.end {
            let ty = self.type_at(position)?;
            let Some(trailer) = trailer(ty.kind, ty.len) else { break };
            let end = position + TYPE + trailer;
            if end > section.end {
                return Err(BtfError::Malformed("type crosses the end of its section"));
            }
            self.types.push(position as u32);
            if matches!(ty.kind, STRUCT | UNION | ENUM | TYPEDEF) && ty.name != 0 {
                self.named.push(self.types.len() as u32);
            }
            position = end;
        }
        Ok(())
    }

    fn find(&self, name: &str, wanted: impl Fn(u8) -> bool) -> Option<u32> {
        self.named
            .iter()
            .copied()
            .find(|id| self.ty(*id).is_ok_and(|ty| wanted(ty.kind) && self.name_is(ty.name, name.as_bytes())))
    }

    fn member(
        &self,
        id: u32,
        name: &[u8],
        depth: usize,
        budget: &mut usize,
    ) -> Result<Option<Member>, BtfError> {
        let outer = self.resolve(id)?;
        if depth == 0 || !matches!(outer.kind, STRUCT | UNION) {
            return Ok(None);
        }
        for i in 0..outer.len {
            *budget = budget.checked_sub(1).ok_or(BtfError::Malformed("members without end"))?;
            let at = outer.position + TYPE + i * MEMBER;
            let (member_name, type_id, offset) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let found = if self.name_is(member_name, name) {
                Some(self.declared(type_id, offset, outer.flag)?)
            } else if self.name_is(member_name, b"") {
                let bit_offset = if outer.flag { offset & 0x00ff_ffff } else { offset };
                self.member(type_id, name, depth - 1, budget)?
                    .map(|inner| {
                        let bit_offset = inner.bit_offset.checked_add(bit_offset);
                        let bit_offset = bit_offset.ok_or(BtfError::Malformed("offset beyond 2^32 bits"))?;
                        Ok(Member { bit_offset, ..inner })
                    })
                    .transpose()?
            } else {
                None
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Bit fields are told in two ways: in the member's own offset, or, before 5.0, in the integer's encoding.
    fn declared(&self, type_id: u32, offset: u32, in_offset: bool) -> Result<Member, BtfError> {
        if in_offset {
            return Ok(Member { bit_offset: offset & 0x00ff_ffff, bits: offset >> 24, type_id });
        }
        let ty = self.resolve(type_id)?;
        if ty.kind != INT {
            return Ok(Member { bit_offset: offset, bits: 0, type_id });
        }
        let encoding = self.word(ty.position + TYPE)?;
        let (bits, shift) = (encoding & 0xff, encoding >> 16 & 0xff);
        let bit_offset = offset.checked_add(shift).ok_or(BtfError::Malformed("offset beyond 2^32 bits"))?;
        let whole = ty.size_or_type.checked_mul(8) == Some(bits) && shift == 0;
        Ok(Member { bit_offset, bits: if whole { 0 } else { bits }, type_id })
    }

    fn size(&self, id: u32) -> Result<u32, BtfError> {
        let (mut id, mut count) = (id, 1_u32);
        for _ in 0..MAX_CHAIN {
            let ty = self.resolve(id)?;
            let element = match ty.kind {
                PTR => 8,
                ARRAY => {
                    let dimension = self.word(ty.position + TYPE + 8)?;
                    count = count.checked_mul(dimension).ok_or(BtfError::Malformed("array size"))?;
                    id = self.word(ty.position + TYPE)?;
                    continue;
                }
                _ => ty.size_or_type,
            };
            return count.checked_mul(element).ok_or(BtfError::Malformed("array size"));
        }
        Err(BtfError::Malformed("arrays without end"))
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Result<Type, BtfError> {
        for _ in 0..MAX_CHAIN {
            let ty = self.ty(id)?;
            if !matches!(ty.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) {
                return Ok(ty);
            }
            id = ty.size_or_type;
        }
        Err(BtfError::Malformed("typedefs without end"))
    }

    fn ty(&self, id: u32) -> Result<Type, BtfError> {
        // Id 0 is `void`, which no look-up has any use for.
        let index = (id as usize).checked_sub(1).ok_or(BtfError::Malformed("void where a type should be"))?;
        let position = self.types.get(index).ok_or(BtfError::Malformed("type id"))?;
        self.type_at(*position as usize)
    }

    fn type_at(&self, position: usize) -> Result<Type, BtfError> {
        let info = self.word(position + 4)?;
        Ok(Type {
            position,
            name: self.word(position)?,
            kind: (info >> 24 & 0x1f) as u8,
            flag: info >> 31 == 1,
            len: (info & 0xffff) as usize,
            size_or_type: self.word(position + 8)?,
        })
    }

    fn word(&self, at: usize) -> Result<u32, BtfError> {
        word(&self.bytes, at).ok_or(BtfError::Malformed("type section"))
    }

    /// Empty when the bytes there are no text.
    fn string(&self, offset: u32) -> &str {
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        let rest = strings.get(offset as usize..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    fn name_is(&self, offset: u32, name: &[u8]) -> bool {
        let strings = self.bytes.get(self.strings.clone()).unwrap_or_default();
        let Some(rest) = strings.get(offset as usize..) else { return false };
        rest.starts_with(name) && rest.get(name.len()) == Some(&0)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(word.try_into().ok()?))
}

/// Bytes that follow a type of `kind`; `None` for a kind that did not exist when this was written.
fn trailer(kind: u8, len: usize) -> Option<usize> {
    match kind {
        // INT, VAR, DECL_TAG
        INT | 14 | 17 => Some(4),
        ARRAY => Some(12),
        // STRUCT, UNION, DATASEC, ENUM64
        STRUCT | UNION | 15 | 19 => Some(12 * len),
        ENUM | FUNC_PROTO => Some(8 * len),
        // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
        PTR | 7 | TYPEDEF | VOLATILE | CONST | RESTRICT | 12 | 16 | TYPE_TAG => Some(0),
        _ => None,
    }
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
