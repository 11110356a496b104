//! Makes a wrong BTF file: the running kernel's with one member moved.
//!
//! Layout (Documentation/bpf/btf.rst): a header, the types one after the other, the
//! strings. A type is three words — name, info, size or type — and what its kind adds.

use anyhow::{Context, Result, bail};

const STRUCT: u32 = 4;
const UNION: u32 = 5;

/// How many words a type of this kind has after its first three.
fn extra_words(kind: u32, members: usize) -> Result<usize> {
    Ok(match kind {
        // int, var, decl_tag
        1 | 14 | 17 => 1,
        // array
        3 => 3,
        // struct, union, datasec, enum64
        STRUCT | UNION | 15 | 19 => 3 * members,
        // enum, func_proto
        6 | 13 => 2 * members,
        // ptr, fwd, typedef, volatile, const, restrict, func, float, type_tag
        2 | 7..=12 | 16 | 18 => 0,
        other => bail!("BTF kind {other} is unknown here"),
    })
}

struct Btf<'a> {
    bytes: &'a [u8],
    types: usize,
    types_end: usize,
    strings: usize,
}

impl<'a> Btf<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self> {
        let mut btf = Self {
            bytes,
            types: 0,
            types_end: 0,
            strings: 0,
        };
        if bytes.get(..2) != Some(&[0x9f, 0xeb]) {
            bail!("not a little-endian BTF file");
        }
        let header = btf.word(4)?;
        btf.types = header + btf.word(8)?;
        btf.types_end = btf.types + btf.word(12)?;
        btf.strings = header + btf.word(16)?;
        Ok(btf)
    }

    fn word(&self, at: usize) -> Result<usize> {
        let bytes = self.bytes.get(at..at + 4).context("BTF file too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    }

    fn name_is(&self, at: usize, name: &str) -> Result<bool> {
        let start = self.strings + self.word(at)?;
        let text = self.bytes.get(start..).context("BTF file too short")?;
        Ok(text.starts_with(name.as_bytes()) && text.get(name.len()) == Some(&0))
    }

    /// Places in the file of the offsets of this member: in the structure of that name, or,
    /// if it has none such itself, in the unnamed ones that structures contain.
    fn members(&self, structure: &str, member: &str) -> Result<Vec<usize>> {
        let (mut named, mut unnamed) = (Vec::new(), Vec::new());
        let mut at = self.types;
        while at < self.types_end {
            let info = self.word(at + 4)? as u32;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if kind == STRUCT || kind == UNION {
                if self.name_is(at, structure)? {
                    named.extend(self.find(at, count, member)?);
                } else if self.name_is(at, "")? {
                    unnamed.extend(self.find(at, count, member)?);
                }
            }
            at += 4 * (3 + extra_words(kind, count)?);
        }
        Ok(if named.is_empty() { unnamed } else { named })
    }

    /// Among the members of the structure at this place; each is name, type, offset in bits.
    fn find(&self, structure: usize, count: usize, member: &str) -> Result<Option<usize>> {
        for place in (0..count).map(|nth| structure + 12 + nth * 12) {
            if self.name_is(place, member)? {
                return Ok(Some(place + 8));
            }
        }
        Ok(None)
    }
}

/// A copy of a BTF file in which `structure.member` (or a member of an unnamed structure,
/// as the kernel's unions are) seems to be 8 bytes further on than it is.
pub(crate) fn shifted(btf: &[u8], structure: &str, member: &str) -> Result<Vec<u8>> {
    let places = Btf::new(btf)?.members(structure, member)?;
    if places.is_empty() {
        bail!("this kernel's BTF has no {structure}.{member}");
    }
    let mut wrong = btf.to_vec();
    for place in places {
        // The low 24 bits are the offset, even where the high ones give a bit-field's size.
        let bytes: [u8; 4] = wrong[place..place + 4].try_into()?;
        let moved = u32::from_le_bytes(bytes) + 64;
        wrong[place..place + 4].copy_from_slice(&moved.to_le_bytes());
    }
    Ok(wrong)
}
