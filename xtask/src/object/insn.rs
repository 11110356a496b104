//! Instructions of BPF, and which of them 4.14 has (`include/uapi/linux/bpf.h`; the checks are
//! those of `check_alu_op`, `do_check` and `replace_map_fd_with_map_ptr` in
//! `kernel/bpf/verifier.c`).

/// Bytes of an instruction; a 64-bit constant takes two.
pub(super) const SIZE: usize = 8;

pub(super) const CALL: u8 = 0x85;
const CALL_BY_REGISTER: u8 = 0x8d;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const WIDE: u8 = 0x18;

/// The low three bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Ld,
    Ldx,
    St,
    Stx,
    Alu,
    Jmp,
    /// 32-bit comparisons, from 5.1.
    Jmp32,
    Alu64,
}

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Insn {
    pub(super) code: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) off: i16,
    pub(super) imm: i32,
}

/// Every slot, the second halves of 64-bit constants included.
pub(super) fn decode(code: &[u8]) -> Vec<Insn> {
    code.as_chunks::<SIZE>()
        .0
        .iter()
        .map(
            |&[code, registers, off0, off1, imm0, imm1, imm2, imm3]| Insn {
                code,
                dst: registers & 0xf,
                src: registers >> 4,
                off: i16::from_le_bytes([off0, off1]),
                imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
            },
        )
        .collect()
}

/// The instructions with their places, without second halves.
pub(super) fn with_places(slots: &[Insn]) -> impl Iterator<Item = (usize, &Insn)> {
    let mut half = false;
    slots.iter().enumerate().filter(move |(_, insn)| {
        let second = half;
        half = !second && insn.is_wide();
        !second
    })
}

impl Insn {
    pub(super) fn class(&self) -> Class {
        match self.code & 7 {
            0 => Class::Ld,
            1 => Class::Ldx,
            2 => Class::St,
            3 => Class::Stx,
            4 => Class::Alu,
            5 => Class::Jmp,
            6 => Class::Jmp32,
            _ => Class::Alu64,
        }
    }

    /// The high four bits: what is computed or compared.
    pub(super) fn operation(&self) -> u8 {
        self.code & 0xf0
    }

    /// Whether the second operand is a register.
    pub(super) fn by_register(&self) -> bool {
        self.code & 8 != 0
    }

    pub(super) fn is_call(&self) -> bool {
        matches!(self.code, CALL | CALL_BY_REGISTER)
    }

    pub(super) fn is_exit(&self) -> bool {
        self.code == EXIT
    }

    /// A jump without a condition.
    pub(super) fn is_jump(&self) -> bool {
        self.code == JUMP
    }

    /// A jump with a condition, of either width.
    pub(super) fn is_branch(&self) -> bool {
        let class = matches!(self.class(), Class::Jmp | Class::Jmp32);
        class && !self.is_call() && !self.is_exit() && !self.is_jump()
    }

    /// A 64-bit constant, in two slots.
    pub(super) fn is_wide(&self) -> bool {
        self.code == WIDE
    }

    /// What 4.14 would say against it, whatever it stands in. Calls are not looked at.
    pub(super) fn refused(&self) -> Option<String> {
        let why = match self.class() {
            _ if self.dst > 10 || !self.is_wide() && self.src > 10 => Some("no such register"),
            Class::Ld => (!self.is_wide()).then_some("a load from a packet"),
            Class::Ldx | Class::St => (self.code & 0xe0 != 0x60).then_some("such a load or store"),
            Class::Stx => self.store(),
            Class::Alu | Class::Alu64 => self.arithmetic(),
            Class::Jmp => self.jump(),
            Class::Jmp32 => Some("a 32-bit jump"),
        };
        why.map(|why| format!("{why} (opcode {:#04x})", self.code))
    }

    fn store(&self) -> Option<&'static str> {
        match self.code & 0xe0 {
            0x60 => None,
            // BPF_XADD, of 32 or 64 bits; the others tell themselves apart by the constant
            0xc0 if self.imm == 0 && matches!(self.code & 0x18, 0 | 0x18) => None,
            0xc0 => Some("an atomic operation other than an addition"),
            _ => Some("such a store"),
        }
    }

    fn arithmetic(&self) -> Option<&'static str> {
        let long = self.class() == Class::Alu64;
        match self.operation() {
            0xb0 if self.off != 0 => Some("a move with sign extension"),
            0x30 | 0x90 if self.off != 0 => Some("a signed division"),
            // bpf: arsh is not supported in 32 bit alu thus reject it (7891a87efc71)
            0xc0 if !long => Some("a 32-bit arithmetic shift"),
            0xd0 if long => Some("an unconditional swap of bytes"),
            0xe0 | 0xf0 => Some("no such operation"),
            _ => None,
        }
    }

    fn jump(&self) -> Option<&'static str> {
        let by_register = self.by_register();
        match self.operation() {
            0x00 | 0x90 if by_register => Some("no such jump"),
            0xe0 | 0xf0 => Some("no such jump"),
            _ => None,
        }
    }
}
