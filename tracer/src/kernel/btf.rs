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
    /// Indexes the bytes of a BTF file (not ELF), keeping the structures and
    /// functions whose names are asked for.
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
            functions: HashMap::new(),
        };
        let header = btf.word(4)?;
        let types = header + btf.word(8)?;
        let types_end = types + btf.word(12)?;
        btf.strings = (header + btf.word(16)?) as usize;
        btf.strings_end = btf.strings + btf.word(20)? as usize;
        ensure!(
            btf.strings_end <= btf.data.len() && types_end as usize <= btf.data.len(),
            "the file is cut short"
        );
        btf.index(types, types_end, names)?;
        Ok(btf)
    }

    fn index(&mut self, start: u32, end: u32, names: &[&str]) -> Result<()> {
        let mut at = start;
        while at < end {
            let id = self.types.len() as u32;
            self.types.push(at);
            let header = self.header(at as usize)?;
            if matches!(header.kind, KIND_STRUCT | KIND_FUNC) {
                let name = self.string(header.name)?;
                if names.iter().any(|wanted| wanted.as_bytes() == name) {
                    let name: Box<[u8]> = name.into();
                    if header.kind == KIND_STRUCT {
                        self.structs.entry(name).or_insert(id);
                    } else {
                        self.functions.entry(name).or_insert(id);
                    }
                }
            }
            at = header.body as u32 + body_size(header.kind, header.vlen)?;
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
            bits += offset;
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

    /// Whether the structure is there at all.
    #[must_use]
    pub fn has_struct(&self, name: &str) -> bool {
        self.structs.contains_key(name.as_bytes())
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
                return Ok(Some((kind, offset + inner, size)));
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
