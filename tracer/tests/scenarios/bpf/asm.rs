//! A tiny assembler: one method per instruction that the programs here need, and named
//! places to jump to. An instruction is opcode, registers, offset and constant in 8 bytes
//! (`struct bpf_insn`, linux/bpf.h).

use std::collections::HashMap;

use anyhow::{Context, Result};

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reg {
    /// Result of calls and of the program.
    R0,
    /// Arguments of calls; lost by a call.
    R1,
    /// As above.
    R2,
    /// As above.
    R3,
    /// As above.
    R4,
    /// As above.
    R5,
    /// Kept across calls.
    R6,
    /// As above.
    R7,
    /// The top of the stack, read-only.
    Fp = 10,
}

/// How much a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// One byte.
    B = 0x10,
    /// Two.
    H = 0x08,
    /// Four.
    W = 0x00,
    /// Eight.
    Dw = 0x18,
}

/// A program in the making.
#[derive(Debug, Default)]
pub(crate) struct Asm {
    code: Vec<u64>,
    places: HashMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

impl Asm {
    fn insn(&mut self, opcode: u8, dst: Reg, src: Reg, offset: i16, constant: i32) -> &mut Self {
        let registers = dst as u8 | (src as u8) << 4;
        let mut bytes = [0; 8];
        bytes[0] = opcode;
        bytes[1] = registers;
        bytes[2..4].copy_from_slice(&offset.to_le_bytes());
        bytes[4..].copy_from_slice(&constant.to_le_bytes());
        self.code.push(u64::from_le_bytes(bytes));
        self
    }

    /// `dst = src`
    pub(crate) fn mov(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.insn(0xbf, dst, src, 0, 0)
    }

    /// `dst = constant`
    pub(crate) fn set(&mut self, dst: Reg, constant: i32) -> &mut Self {
        self.insn(0xb7, dst, Reg::R0, 0, constant)
    }

    /// `dst += constant`
    pub(crate) fn add(&mut self, dst: Reg, constant: i32) -> &mut Self {
        self.insn(0x07, dst, Reg::R0, 0, constant)
    }

    /// `dst -= src`
    pub(crate) fn sub(&mut self, dst: Reg, src: Reg) -> &mut Self {
        self.insn(0x1f, dst, src, 0, 0)
    }

    /// `dst &= constant`
    pub(crate) fn and(&mut self, dst: Reg, constant: i32) -> &mut Self {
        self.insn(0x57, dst, Reg::R0, 0, constant)
    }

    /// `dst %= constant`
    pub(crate) fn modulo(&mut self, dst: Reg, constant: i32) -> &mut Self {
        self.insn(0x97, dst, Reg::R0, 0, constant)
    }

    /// `dst` = its low 16 bits, from network to host order (or back).
    pub(crate) fn be16(&mut self, dst: Reg) -> &mut Self {
        self.insn(0xdc, dst, Reg::R0, 0, 16)
    }

    /// `dst = *(size *)(src + offset)`
    pub(crate) fn load(&mut self, size: Size, dst: Reg, src: Reg, offset: i16) -> &mut Self {
        self.insn(0x61 | size as u8, dst, src, offset, 0)
    }

    /// `*(size *)(dst + offset) = src`
    pub(crate) fn store(&mut self, size: Size, dst: Reg, offset: i16, src: Reg) -> &mut Self {
        self.insn(0x63 | size as u8, dst, src, offset, 0)
    }

    /// `*(size *)(dst + offset) = constant`
    pub(crate) fn store_constant(
        &mut self,
        size: Size,
        dst: Reg,
        offset: i16,
        constant: i32,
    ) -> &mut Self {
        self.insn(0x62 | size as u8, dst, Reg::R0, offset, constant)
    }

    /// `dst` = the map with this descriptor; two instructions long.
    pub(crate) fn load_map(&mut self, dst: Reg, descriptor: i32) -> &mut Self {
        // BPF_PSEUDO_MAP_FD (1) in place of the source register.
        self.insn(0x18, dst, Reg::R1, 0, descriptor);
        self.code.push(0);
        self
    }

    /// Calls a helper by its number in linux/bpf.h.
    pub(crate) fn call(&mut self, helper: i32) -> &mut Self {
        self.insn(0x85, Reg::R0, Reg::R0, 0, helper)
    }

    /// `if dst == constant goto place`
    pub(crate) fn jump_eq(&mut self, dst: Reg, constant: i32, place: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), place));
        self.insn(0x15, dst, Reg::R0, 0, constant)
    }

    /// `if dst != constant goto place`
    pub(crate) fn jump_ne(&mut self, dst: Reg, constant: i32, place: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), place));
        self.insn(0x55, dst, Reg::R0, 0, constant)
    }

    /// `if dst > src goto place`, unsigned
    pub(crate) fn jump_gt(&mut self, dst: Reg, src: Reg, place: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), place));
        self.insn(0x2d, dst, src, 0, 0)
    }

    /// Names the next instruction.
    pub(crate) fn place(&mut self, name: &'static str) -> &mut Self {
        self.places.insert(name, self.code.len());
        self
    }

    /// `return constant`
    pub(crate) fn exit_with(&mut self, constant: i32) -> &mut Self {
        self.set(Reg::R0, constant);
        self.insn(0x95, Reg::R0, Reg::R0, 0, 0)
    }

    /// The finished program.
    pub(crate) fn finish(&mut self) -> Result<Vec<u64>> {
        for (at, name) in &self.jumps {
            let place = self.places.get(name).context("jump to nowhere")?;
            // Counted from the instruction after the jump; the offset is in bits 16 to 31.
            let distance = u16::try_from(place - at - 1)?;
            self.code[*at] |= u64::from(distance) << 16;
        }
        Ok(std::mem::take(&mut self.code))
    }
}
