//! The two objects of programs that are built in, and what passes into them.

use anyhow::{Context as _, Result};
use aya::programs::{Program, ProgramError};
use object::{LittleEndian, Object as _, ObjectSection as _, SectionKind, read::elf::ElfFile64};
use sockpick_ebpf::abi::{ArgLoc, Args, MARK};

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

/// A marked instruction: `LDX_MEM | DW`.
const LOAD_WORD: u8 = 0x79;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

/// A copy of an object whose programs read their arguments where they are: the offsets of the
/// marked instructions ([`MARK`]) are put in. `stack_pointer`: place of it in a kprobe's
/// registers, for arguments on the stack.
///
/// # Errors
/// If it is no object.
pub(super) fn with_arguments(object: &[u8], args: &Args, stack_pointer: u16) -> Result<Bytes> {
    let file = ElfFile64::<LittleEndian>::parse(object).context("no object of programs")?;
    let mut copy = Bytes::of(object);
    let bytes = copy.bytes_mut();
    let places: &[u16] = bytemuck::cast_slice(bytemuck::bytes_of(args));
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
        put_in(code, places, stack_pointer);
    }
    Ok(copy)
}

/// A place that cannot be had stays marked, so that the verifier refuses whatever reads it.
fn put_in(code: &mut [u8], places: &[u16], stack_pointer: u16) {
    for instruction in code.chunks_exact_mut(INSTRUCTION) {
        let offset = u16::from_le_bytes([instruction[2], instruction[3]]);
        let place = places.get(usize::from(offset.wrapping_sub(MARK) / 2));
        let at = match place.map(|&place| ArgLoc(place)) {
            Some(place) if instruction[0] == LOAD_WORD && place != ArgLoc::NONE => {
                if place.0 & ArgLoc::STACK == 0 {
                    place.0
                } else {
                    stack_pointer
                }
            }
            _ => continue,
        };
        instruction[2..4].copy_from_slice(&at.to_le_bytes());
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
            .filter(|instruction| instruction[0] == LOAD_WORD)
            .map(|instruction| u16::from_le_bytes([instruction[2], instruction[3]]));
        let marked = |offset: &u16| usize::from(offset.wrapping_sub(MARK)) < size_of::<Args>();
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
            let mut places = vec![ArgLoc(PLACE); size_of::<Args>() / 2];
            // On the stack: the stack pointer is read.
            places[0] = ArgLoc(ArgLoc::STACK | 8);
            let args: Args = bytemuck::pod_read_unaligned(bytemuck::cast_slice(&places));
            let patched = with_arguments(object, &args, PLACE)?;
            assert_eq!(loads(patched.bytes()), (0, marked));
            let differ = patched.bytes().iter().zip(object).filter(|(a, b)| a != b);
            assert!(differ.count() <= 2 * marked);
        }
        Ok(())
    }
}
