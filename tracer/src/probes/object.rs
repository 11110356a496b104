//! The two objects of programs that are built in, and what passes into them.

use anyhow::{Context as _, Result};
use aya::programs::{Program, ProgramError};
use object::{LittleEndian, Object as _, ObjectSection as _, SectionKind, read::elf::ElfFile64};
use sockpick_ebpf::abi::{ABSENT, ArgLoc, Args, FIELD_MARK, MARK, Offsets};

/// The usual programs.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sockpick-ebpf"));

/// The same programs for kernels from 4.14.
pub(super) static LEGACY_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sockpick-ebpf-legacy"));

/// A structure of the ABI, in the form that aya's maps and globals take.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Abi<T>(pub(super) T);

// SAFETY: the structures of the ABI are `repr(C)` integers without padding, which
// their `bytemuck::Pod` proves.
unsafe impl<T: bytemuck::Pod> aya::Pod for Abi<T> {}

/// A marked instruction that reads the context: `LDX_MEM | DW`.
const LOAD_WORD: u8 = 0x79;
/// The size in such an instruction: any is marked that reads a field.
const SIZE: u8 = 0x18;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// What is put into the marked instructions of the programs.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    /// Those of arguments ([`MARK`]).
    pub(super) args: &'a Args,
    /// Those of fields ([`FIELD_MARK`]).
    pub(super) fields: &'a Offsets,
    /// That of the stack pointer in a kprobe's registers, for arguments on the stack.
    pub(super) stack_pointer: u16,
}

/// A copy of an object whose programs read arguments and their fields where they are.
///
/// # Errors
/// If it is no object.
pub(super) fn with_places(object: &[u8], places: Places<'_>) -> Result<Bytes> {
    let file = ElfFile64::<LittleEndian>::parse(object).context("no object of programs")?;
    let mut copy = Bytes::of(object);
    let bytes = copy.bytes_mut();
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let Some((start, length)) = section.file_range() else {
            continue;
        };
        let code = bytes
            .get_mut(start as usize..(start + length) as usize)
            .context("a section that is not in its object")?;
        for instruction in code.chunks_exact_mut(INSTRUCTION) {
            let marked = u16::from_le_bytes([instruction[2], instruction[3]]);
            if let Some(place) = places.of(instruction[0], marked) {
                instruction[2..4].copy_from_slice(&place.to_le_bytes());
            }
        }
    }
    Ok(copy)
}

impl Places<'_> {
    /// What a marked instruction is to have instead. `None`: it is none, or reads what cannot be
    /// had. It stays marked then, so that the verifier refuses whatever comes to it.
    fn of(&self, instruction: u8, marked: u16) -> Option<u16> {
        if instruction | SIZE != LOAD_WORD | SIZE {
            return None;
        }
        if marked >= FIELD_MARK {
            let fields: &[u16] = bytemuck::cast_slice(bytemuck::bytes_of(self.fields));
            let place = fields.get(usize::from(marked - FIELD_MARK) / 2).copied();
            return place.filter(|&place| place != ABSENT);
        }
        let args: &[u16] = bytemuck::cast_slice(bytemuck::bytes_of(self.args));
        let place = args
            .get(usize::from(marked.checked_sub(MARK)?) / 2)
            .copied();
        let place =
            place.filter(|&place| instruction == LOAD_WORD && ArgLoc(place) != ArgLoc::NONE);
        place.map(|place| {
            if place & ArgLoc::STACK == 0 {
                place
            } else {
                self.stack_pointer
            }
        })
    }
}

/// An object's bytes, aligned as the parser wants them.
pub(super) struct Bytes {
    words: Vec<u64>,
    length: usize,
}

impl Bytes {
    fn of(object: &[u8]) -> Self {
        let mut words = vec![0_u64; object.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..object.len()].copy_from_slice(object);
        Self {
            words,
            length: object.len(),
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.length]
    }

    /// To be loaded.
    pub(super) fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }
}

/// Detaches a program and frees it.
pub(super) fn unload(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of the marked instructions that are left, and of those that read a place now.
    fn loads(object: &[u8]) -> (usize, usize) {
        let file = ElfFile64::<LittleEndian>::parse(object).expect("an object");
        let code = file
            .sections()
            .filter(|one| one.kind() == SectionKind::Text);
        let code: Vec<&[u8]> = code.map(|one| one.data().expect("code")).collect();
        let offsets = code
            .iter()
            .flat_map(|code| code.chunks_exact(INSTRUCTION))
            .filter(|instruction| instruction[0] | SIZE == LOAD_WORD | SIZE)
            .map(|instruction| u16::from_le_bytes([instruction[2], instruction[3]]));
        let marked = |offset: &u16| {
            usize::from(offset.wrapping_sub(MARK)) < size_of::<Args>()
                || usize::from(offset.wrapping_sub(FIELD_MARK)) < size_of::<Offsets>()
        };
        let (marked, others): (Vec<u16>, Vec<u16>) = offsets.partition(marked);
        (
            marked.len(),
            others.iter().filter(|&&at| at == PLACE).count(),
        )
    }

    /// A place that no other instruction reads.
    const PLACE: u16 = 0x6ff8;

    #[test]
    fn every_marked_instruction_gets_its_place_and_no_other_is_touched() -> Result<()> {
        for object in [OBJECT, LEGACY_OBJECT] {
            let (marked, others) = loads(object);
            assert!(marked > 20, "{marked}");
            assert_eq!(others, 0);
            let mut args = vec![PLACE; size_of::<Args>() / 2];
            // On the stack: the stack pointer is read.
            args[0] = ArgLoc::STACK | 8;
            let fields = vec![PLACE; size_of::<Offsets>() / 2];
            let places = Places {
                args: &bytemuck::pod_read_unaligned(bytemuck::cast_slice(&args)),
                fields: &bytemuck::pod_read_unaligned(bytemuck::cast_slice(&fields)),
                stack_pointer: PLACE,
            };
            let patched = with_places(object, places)?;
            assert_eq!(loads(patched.bytes()), (0, marked));
            let differ = patched.bytes().iter().zip(object).filter(|(a, b)| a != b);
            assert!(differ.count() <= 2 * marked);
        }
        Ok(())
    }
}
