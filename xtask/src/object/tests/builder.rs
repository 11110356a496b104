//! Small object files, as aya's macros and linker make them.

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope, elf,
};

use crate::object::insn::CALL;
use crate::object::{Rule, check};

/// An instruction: code, destination, source, offset, constant.
pub(super) type Line = (u8, u8, u8, i16, i32);

/// `struct bpf_map_def` of a hash: type, sizes, entries, flags, id, pinning.
pub(super) const HASH: [u32; 7] = [1, 8, 8, 1024, 0, 0, 0];

/// An object as aya's macros and linker make it.
pub(super) struct Builder {
    pub(super) object: Object<'static>,
    maps: SectionId,
}

impl Builder {
    pub(super) fn new(license: &[u8]) -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let maps = object.add_section(Vec::new(), b"maps".to_vec(), SectionKind::Data);
        let mut builder = Self { object, maps };
        if !license.is_empty() {
            builder.section("license", SectionKind::ReadOnlyData, license);
        }
        builder
    }

    pub(super) fn section(&mut self, name: &str, kind: SectionKind, data: &[u8]) -> SectionId {
        let name = name.as_bytes().to_vec();
        let section = self.object.add_section(Vec::new(), name, kind);
        self.object.append_section_data(section, data, 8);
        section
    }

    pub(super) fn symbol(
        &mut self,
        name: &str,
        kind: SymbolKind,
        place: (SectionId, u64),
        size: u64,
    ) -> SymbolId {
        self.object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value: place.1,
            size,
            kind,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(place.0),
            flags: SymbolFlags::None,
        })
    }

    pub(super) fn map(&mut self, name: &str, fields: [u32; 7]) -> SymbolId {
        let bytes: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        let at = self.object.append_section_data(self.maps, &bytes, 4);
        self.symbol(name, SymbolKind::Data, (self.maps, at), 28)
    }

    /// A program, with references of its instructions to symbols.
    pub(super) fn program(
        &mut self,
        section: &str,
        lines: &[Line],
        references: &[(usize, SymbolId)],
    ) {
        let section = self.section(section, SectionKind::Text, &code(lines));
        let size = lines.len() as u64 * 8;
        self.symbol("probe", SymbolKind::Text, (section, 0), size);
        for &(at, symbol) in references {
            let relocation = Relocation {
                offset: at as u64 * 8,
                symbol,
                addend: 0,
                flags: RelocationFlags::Elf {
                    r_type: if lines[at].0 == CALL {
                        elf::R_BPF_64_32
                    } else {
                        elf::R_BPF_64_64
                    },
                },
            };
            self.object
                .add_relocation(section, relocation)
                .expect("a relocation");
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.object.write().expect("an object")
    }

    pub(super) fn rules(&self) -> Vec<Rule> {
        let violations = check(&self.bytes()).expect("an object of BPF programs");
        violations.iter().map(|violation| violation.rule).collect()
    }
}

pub(super) fn code(lines: &[Line]) -> Vec<u8> {
    let bytes = |&(code, dst, src, off, imm): &Line| {
        let mut bytes = vec![code, dst | src << 4];
        bytes.extend(off.to_le_bytes());
        bytes.extend(imm.to_le_bytes());
        bytes
    };
    lines.iter().flat_map(bytes).collect()
}
