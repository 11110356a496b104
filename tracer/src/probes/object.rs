//! The two objects of programs that are built in, and what passes into them.

use aya::programs::{Program, ProgramError};

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
