//! The parts of an object file, found as aya finds them (`aya_obj::Object::parse`).

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget,
    SectionFlags, SectionIndex, SymbolKind, elf,
};

use super::insn::SIZE;

type File<'a> = ElfFile64<'a, LittleEndian>;

/// An object file.
pub(super) struct Image<'a> {
    pub(super) license: Option<&'a [u8]>,
    pub(super) version: Option<&'a [u8]>,
    /// Sections that the loader would make a map of, or not load at all.
    pub(super) data: Vec<String>,
    pub(super) btf_maps: bool,
    pub(super) maps: Vec<Map<'a>>,
    pub(super) programs: Vec<Program<'a>>,
}

/// A map as `maps` has it.
pub(super) struct Map<'a> {
    pub(super) name: &'a str,
    /// `struct bpf_map_def`: type, size of key, size of value, entries, flags.
    pub(super) fields: Option<[u32; 5]>,
}

/// A program: a function in a section of its own kind.
pub(super) struct Program<'a> {
    /// What kind, and perhaps what it attaches to: `kprobe`, `kprobe/tcp_conn_request`.
    pub(super) section: &'a str,
    pub(super) name: &'a str,
    pub(super) code: &'a [u8],
    /// What its instructions refer to, by instruction.
    pub(super) references: BTreeMap<usize, Reference>,
}

/// What the linker or loader is to fill in.
#[derive(Clone)]
pub(super) struct Reference {
    pub(super) place: Place,
    pub(super) name: String,
}

/// Where that is.
#[derive(Clone)]
pub(super) enum Place {
    Map,
    Function,
    /// A section of data.
    Data(String),
    /// Not in this object.
    Elsewhere,
}

/// What a section is for.
enum Kind {
    License,
    Version,
    Maps,
    BtfMaps,
    /// Functions that are linked into programs which call them.
    Text,
    Program,
    Data,
    /// Not loaded.
    Other,
}

impl Kind {
    fn of(name: &str, flags: SectionFlags, size: u64) -> Self {
        let has = |flag: u32| match flags {
            SectionFlags::Elf { sh_flags } => sh_flags & u64::from(flag) != 0,
            _ => false,
        };
        match name {
            "license" => Self::License,
            "version" => Self::Version,
            "maps" => Self::Maps,
            _ if name.starts_with(".maps") => Self::BtfMaps,
            _ if name.starts_with(".text") => Self::Text,
            _ if size == 0 || !has(elf::SHF_ALLOC) => Self::Other,
            _ if has(elf::SHF_EXECINSTR) => Self::Program,
            _ => Self::Data,
        }
    }
}

impl<'a> Image<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self> {
        let file = File::parse(bytes).context("not a little-endian 64-bit ELF file")?;
        let header = file.elf_header();
        ensure!(
            header.e_machine(LittleEndian) == elf::EM_BPF,
            "not an object file of BPF programs"
        );
        let mut image = Self {
            license: None,
            version: None,
            data: Vec::new(),
            btf_maps: false,
            maps: Vec::new(),
            programs: Vec::new(),
        };
        for section in file.sections() {
            let name = section.name()?;
            // Data that only has a size, as `.bss`, has no bytes.
            let data = section.data()?;
            match Kind::of(name, section.flags(), section.size()) {
                Kind::License => image.license = Some(data),
                Kind::Version => image.version = Some(data),
                Kind::Maps => image.maps = maps(&file, section.index(), data)?,
                Kind::BtfMaps => image.btf_maps = true,
                Kind::Program => {
                    let references = references(&file, section.index())?;
                    let functions = functions(&file, section.index(), data)?;
                    image
                        .programs
                        .extend(functions.into_iter().map(|(start, name, code)| Program {
                            section: section.name().unwrap_or_default(),
                            name,
                            code,
                            references: within(&references, start, code.len()),
                        }));
                }
                Kind::Data => image.data.push(name.to_owned()),
                Kind::Text | Kind::Other => {}
            }
        }
        ensure!(!image.programs.is_empty(), "no program is in the object");
        Ok(image)
    }
}

fn maps<'a>(file: &File<'a>, section: SectionIndex, data: &[u8]) -> Result<Vec<Map<'a>>> {
    let mut maps = Vec::new();
    for symbol in file.symbols() {
        if symbol.section_index() != Some(section) || symbol.kind() == SymbolKind::Section {
            continue;
        }
        let start = usize::try_from(symbol.address()).unwrap_or(usize::MAX);
        let field = |index: usize| {
            let at = start.checked_add(index.checked_mul(4)?)?;
            let bytes = data.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let fields = || Some([field(0)?, field(1)?, field(2)?, field(3)?, field(4)?]);
        maps.push(Map {
            name: symbol.name()?,
            fields: fields(),
        });
    }
    Ok(maps)
}

/// Functions of a section: where they start in it, their names and code.
fn functions<'a>(
    file: &File<'a>,
    section: SectionIndex,
    data: &'a [u8],
) -> Result<Vec<(usize, &'a str, &'a [u8])>> {
    let mut functions = Vec::new();
    for symbol in file.symbols() {
        let in_section = symbol.section_index() == Some(section);
        if !in_section || symbol.kind() != SymbolKind::Text || symbol.size() == 0 {
            continue;
        }
        let name = symbol.name()?;
        let code = || {
            let start = usize::try_from(symbol.address()).ok()?;
            let end = start.checked_add(usize::try_from(symbol.size()).ok()?)?;
            Some((start, data.get(start..end)?))
        };
        let (start, code) = code().with_context(|| format!("`{name}` is not in its section"))?;
        ensure!(
            code.len().is_multiple_of(SIZE) && start.is_multiple_of(SIZE),
            "`{name}` is not made of whole instructions"
        );
        functions.push((start, name, code));
    }
    ensure!(!functions.is_empty(), "a section of code has no function");
    Ok(functions)
}

/// References of a section by offset in it.
fn references(file: &File<'_>, section: SectionIndex) -> Result<BTreeMap<usize, Reference>> {
    let section = file.section_by_index(section)?;
    let mut references = BTreeMap::new();
    for (offset, relocation) in section.relocations() {
        let reference = match relocation.target() {
            RelocationTarget::Symbol(index) => {
                let symbol = file.symbol_by_index(index)?;
                let (place, section) = place(file, symbol.section_index(), symbol.kind())?;
                let name = symbol.name()?;
                let name = if name.is_empty() { section } else { name };
                Reference {
                    place,
                    name: name.to_owned(),
                }
            }
            _ => Reference {
                place: Place::Elsewhere,
                name: String::new(),
            },
        };
        references.insert(usize::try_from(offset)?, reference);
    }
    Ok(references)
}

fn place<'a>(
    file: &File<'a>,
    section: Option<SectionIndex>,
    symbol: SymbolKind,
) -> Result<(Place, &'a str)> {
    let Some(section) = section else {
        return Ok((Place::Elsewhere, ""));
    };
    let section = file.section_by_index(section)?;
    let name = section.name()?;
    let place = match Kind::of(name, section.flags(), section.size()) {
        // The section as a whole is no map.
        Kind::Maps if symbol == SymbolKind::Section => Place::Elsewhere,
        Kind::Maps | Kind::BtfMaps => Place::Map,
        Kind::Text | Kind::Program => Place::Function,
        _ => Place::Data(name.to_owned()),
    };
    Ok((place, name))
}

/// The references of one function, by its instructions.
fn within(
    references: &BTreeMap<usize, Reference>,
    start: usize,
    length: usize,
) -> BTreeMap<usize, Reference> {
    references
        .range(start..start.saturating_add(length))
        .map(|(offset, reference)| ((offset - start) / SIZE, reference.clone()))
        .collect()
}
