//! Reads type information (BTF) for two questions only: where a member lies in a
//! structure, and how a function's parameters are called.
//!
//! Written here rather than taken from a library because start-up depends on it:
//! a kernel's BTF has some 150,000 types, and the parsers at hand build an owned
//! value for each, while these questions need one walk over the bytes.
//! Format: Documentation/bpf/btf.rst.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Type information of one kernel, with an index of its structures and functions.
pub struct Btf {
    data: Vec<u8>,
    strings: usize,
    strings_end: usize,
    /// Byte offset of each type; index 0 is `void`.
    types: Vec<u32>,
    structs: HashMap<Box<[u8]>, u32>,
    enums: HashMap<Box<[u8]>, u32>,
    functions: HashMap<Box<[u8]>, u32>,
}

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Offset of the member, or of the byte that holds a bit-field, in bytes.
    pub offset: u32,
    /// Size in bytes; 0 for a flexible array.
    pub size: u32,
    /// Mask within the byte at `offset` for a bit-field of up to 8 bits (little endian).
    pub mask: Option<u8>,
}

/// The fixed part of a type.
struct Header {
    name: u32,
    kind: u32,
    vlen: usize,
    bitfields: bool,
    size_or_type: u32,
    /// Byte offset of what follows.
    body: usize,
}

impl Btf {
    /// Indexes the bytes of a BTF file (not ELF), keeping the structures, enumerations
    /// and functions whose names are asked for.
    ///
    /// # Errors
    /// If the bytes are no BTF of this machine's byte order, or cut short.
    pub fn parse(data: Vec<u8>, names: &[&str]) -> Result<Self> {
        ensure!(data.len() >= 24, "the file is too short to be BTF");
        ensure!(
            u16::from_le_bytes([data[0], data[1]]) == MAGIC,
            "the file does not begin like BTF (wrong magic number)"
        );
        let mut btf = Self {
            data,
            strings: 0,
            strings_end: 0,
            types: vec![0],
            structs: HashMap::new(),
            enums: HashMap::new(),
            functions: HashMap::new(),
        };
        let size = |at| btf.word(at).map(|word| word as usize);
        let (header, types, strings) = (size(4)?, size(8)?, size(16)?);
        let types = header + types;
        let types_end = types + size(12)?;
        let strings_end = header + strings + size(20)?;
        btf.strings = header + strings;
        btf.strings_end = strings_end;
        ensure!(
            btf.strings_end <= btf.data.len() && types_end <= btf.data.len(),
            "the file is cut short"
        );
        btf.index(types, types_end, names)?;
        Ok(btf)
    }

    fn index(&mut self, start: usize, end: usize, names: &[&str]) -> Result<()> {
        let mut at = start;
        while at < end {
            let id = self.types.len() as u32;
            self.types.push(at as u32);
            let header = self.header(at)?;
            if matches!(header.kind, KIND_STRUCT | KIND_ENUM | KIND_FUNC) {
                let name = self.string(header.name)?;
                if names.iter().any(|wanted| wanted.as_bytes() == name) {
                    let name: Box<[u8]> = name.into();
                    let of_kind = match header.kind {
                        KIND_STRUCT => &mut self.structs,
                        KIND_ENUM => &mut self.enums,
                        _ => &mut self.functions,
                    };
                    of_kind.entry(name).or_insert(id);
                }
            }
            at = header.body + body_size(header.kind, header.vlen)? as usize;
        }
        Ok(())
    }

    /// Names of a function's parameters, in order; `None` if the kernel's BTF has
    /// no such function (it is inlined, renamed by the compiler, or not there).
    ///
    /// # Errors
    /// If the type information is inconsistent.
    pub fn parameters(&self, function: &str) -> Result<Option<Vec<String>>> {
        let Some(&id) = self.functions.get(function.as_bytes()) else {
            return Ok(None);
        };
        let function = self.by_id(id)?;
        let proto = self.by_id(function.size_or_type)?;
        ensure!(
            proto.kind == KIND_FUNC_PROTO,
            "a function without prototype"
        );
        (0..proto.vlen)
            .map(|index| {
                let name = self.word(proto.body + index * 8)?;
                Ok(String::from_utf8_lossy(self.string(name)?).into_owned())
            })
            .collect::<Result<Vec<_>>>()
            .map(Some)
    }

    /// The value that has this name in an enumeration; `None` if there is none.
    ///
    /// # Errors
    /// If the type information is inconsistent.
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Result<Option<u32>> {
        let Some(&id) = self.enums.get(enumeration.as_bytes()) else {
            return Ok(None);
        };
        let header = self.by_id(id)?;
        for index in 0..header.vlen {
            let at = header.body + index * 8;
            if self.string(self.word(at)?)? == name.as_bytes() {
                return self.word(at + 4).map(Some);
            }
        }
        Ok(None)
    }

    /// The number of a function's type.
    #[must_use]
    pub fn function_id(&self, function: &str) -> Option<u32> {
        self.functions.get(function.as_bytes()).copied()
    }

    /// A member by its path, as in `member("sock", "__sk_common.skc_num")`. Members
    /// of unnamed structures and unions are found by their own name.
    ///
    /// # Errors
    /// If there is no such structure or member.
    pub fn member(&self, structure: &str, path: &str) -> Result<Member> {
        let mut id = *self
            .structs
            .get(structure.as_bytes())
            .with_context(|| format!("no struct {structure}"))?;
        let mut bits = 0;
        let mut bitfield = 0;
        for name in path.split('.') {
            let (next, offset, size) = self
                .find(id, name.as_bytes(), 0)?
                .with_context(|| format!("struct {structure} has no member {path}"))?;
            id = next;
            bits = offset.saturating_add(bits);
            bitfield = size;
        }
        let mask = (bitfield > 0 && bitfield + bits % 8 <= 8)
            .then(|| (((1_u16 << bitfield) - 1) << (bits % 8)) as u8);
        Ok(Member {
            offset: bits / 8,
            size: if mask.is_some() {
                1
            } else {
                self.size_of(id, 0)?
            },
            mask,
        })
    }

    /// Type, bit offset and bit-field size of a member.
    fn find(&self, id: u32, name: &[u8], depth: u32) -> Result<Option<(u32, u32, u32)>> {
        ensure!(depth < 16, "structures nested too deeply");
        let header = self.resolved(id)?;
        if !matches!(header.kind, KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        for index in 0..header.vlen {
            let at = header.body + index * 12;
            let (member, kind, raw) = (self.word(at)?, self.word(at + 4)?, self.word(at + 8)?);
            let (offset, size) = if header.bitfields {
                (raw & 0xff_ffff, raw >> 24)
            } else {
                (raw, 0)
            };
            let member = self.string(member)?;
            if member == name {
                return Ok(Some((kind, offset, size)));
            }
            if member.is_empty()
                && let Some((kind, inner, size)) = self.find(kind, name, depth + 1)?
            {
                return Ok(Some((kind, offset.saturating_add(inner), size)));
            }
        }
        Ok(None)
    }

    fn size_of(&self, id: u32, depth: u32) -> Result<u32> {
        ensure!(depth < 16, "types nested too deeply");
        let header = self.resolved(id)?;
        match header.kind {
            KIND_PTR => Ok(8),
            KIND_ARRAY => {
                let element = self.size_of(self.word(header.body)?, depth + 1)?;
                Ok(element.saturating_mul(self.word(header.body + 8)?))
            }
            _ => Ok(header.size_or_type),
        }
    }

    /// The type behind typedefs and qualifiers.
    fn resolved(&self, id: u32) -> Result<Header> {
        let mut header = self.by_id(id)?;
        for _ in 0..16 {
            match header.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    header = self.by_id(header.size_or_type)?;
                }
                _ => return Ok(header),
            }
        }
        bail!("a chain of qualifiers without end")
    }

    fn by_id(&self, id: u32) -> Result<Header> {
        let at = self.types.get(id as usize).filter(|_| id != 0);
        self.header(*at.context("a reference to a type that is not there")? as usize)
    }

    fn header(&self, at: usize) -> Result<Header> {
        let info = self.word(at + 4)?;
        Ok(Header {
            name: self.word(at)?,
            kind: info >> 24 & 0x1f,
            vlen: (info & 0xffff) as usize,
            bitfields: info >> 31 != 0,
            size_or_type: self.word(at + 8)?,
            body: at + 12,
        })
    }

    fn string(&self, offset: u32) -> Result<&[u8]> {
        let rest = self
            .data
            .get(self.strings + offset as usize..self.strings_end)
            .context("a name outside the strings")?;
        let end = rest.iter().position(|&byte| byte == 0);
        Ok(&rest[..end.context("a name without end")?])
    }

    fn word(&self, at: usize) -> Result<u32> {
        let bytes = self.data.get(at..at + 4).context("the file is cut short")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}

fn body_size(kind: u32, vlen: usize) -> Result<u32> {
    let vlen = vlen as u32;
    Ok(match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => vlen * 12,
        KIND_ENUM | KIND_FUNC_PROTO => vlen * 8,
        KIND_PTR | 7..=KIND_FUNC | KIND_FLOAT | KIND_TYPE_TAG => 0,
        other => bail!("a kind of type (number {other}) that this version does not know"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { u32 first; struct { u16 inner; }; u8 low:4, flag:1; }` and
    /// `u32 work(u32 alpha, u32 beta)`.
    fn example() -> Vec<u8> {
        let strings = b"\0u32\0outer\0first\0inner\0low\0flag\0work\0alpha\0beta\0u16\0u8\0";
        let name = |wanted: &str| -> u32 {
            let found = strings.windows(wanted.len() + 2).position(|part| {
                part[0] == 0
                    && &part[1..=wanted.len()] == wanted.as_bytes()
                    && part[wanted.len() + 1] == 0
            });
            found.map_or(0, |at| at as u32 + 1)
        };
        let info = |kind: u32, vlen: u32, flag: u32| kind << 24 | vlen | flag << 31;
        let bits = |offset: u32, size: u32| offset + (size << 24);
        let types: Vec<u32> = [
            // 1 u32, 2 u16, 3 u8
            vec![name("u32"), info(KIND_INT, 0, 0), 4, 32],
            vec![name("u16"), info(KIND_INT, 0, 0), 2, 16],
            vec![name("u8"), info(KIND_INT, 0, 0), 1, 8],
            // 4 the unnamed structure, 5 outer
            vec![0, info(KIND_STRUCT, 1, 0), 4, name("inner"), 2, 0],
            vec![name("outer"), info(KIND_STRUCT, 4, 1), 12],
            vec![name("first"), 1, 0, 0, 4, 32],
            vec![name("low"), 3, bits(64, 4), name("flag"), 3, bits(68, 1)],
            // 6 the prototype, 7 work
            vec![
                0,
                info(KIND_FUNC_PROTO, 2, 0),
                1,
                name("alpha"),
                1,
                name("beta"),
                1,
            ],
            vec![name("work"), info(KIND_FUNC, 1, 0), 6],
        ]
        .concat();
        let length = types.len() as u32 * 4;
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, strings.len() as u32] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(types.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn members_and_parameters_are_found() -> Result<()> {
        let btf = Btf::parse(example(), &["outer", "work"])?;
        let plain = |offset, size| Member {
            offset,
            size,
            mask: None,
        };
        assert_eq!(btf.member("outer", "first")?, plain(0, 4));
        assert_eq!(btf.member("outer", "inner")?, plain(4, 2));
        let flag = Member {
            offset: 8,
            size: 1,
            mask: Some(0x10),
        };
        assert_eq!(btf.member("outer", "flag")?, flag);
        let names = btf.parameters("work")?;
        assert_eq!(names, Some(vec!["alpha".into(), "beta".into()]));
        assert_eq!(btf.parameters("rest")?, None);
        assert_eq!(
            (btf.function_id("work"), btf.function_id("rest")),
            (Some(7), None)
        );
        assert!(btf.member("outer", "nothing").is_err() && btf.member("none", "first").is_err());
        Ok(())
    }

    #[test]
    fn damaged_files_are_errors_not_panics() {
        let whole = example();
        for length in 0..whole.len() {
            assert!(
                Btf::parse(whole[..length].to_vec(), &["outer"]).is_err(),
                "{length}"
            );
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            if let Ok(btf) = Btf::parse(damaged, &["outer", "work"]) {
                // What it says does not matter, only that it says something.
                let _ = (btf.member("outer", "flag"), btf.parameters("work"));
            }
        }
    }
}
