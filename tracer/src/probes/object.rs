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
        for instruction in code.chunks_exact_mut(INSTRUCTION) {
            let offset = u16::from_le_bytes([instruction[2], instruction[3]]);
            let place = offset.wrapping_sub(MARK) / 2;
            if instruction[0] == LOAD_WORD
                && let Some(&place) = places.get(usize::from(place))
            {
                let at = if place & ArgLoc::STACK == 0 {
                    place
                } else {
                    stack_pointer
                };
                instruction[2..4].copy_from_slice(&at.to_le_bytes());
            }
        }
    }
    Ok(copy)
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
