//! What a program does with its stack frame: how deep it reaches, and whether what it hands
//! to map helpers lies there.

use super::Rule;
use super::flow::successors;
use super::insn::{CALL, Class, Insn};
use super::limits::STACK;

/// Register 10 points to the end of the frame.
const FRAME: u8 = 10;
const REGISTERS: usize = 11;

/// Times an instruction is looked at before its loop is given up; without loops, joins add
/// no more than a few.
const ROUNDS: usize = 64;

/// What a register may hold, by any way that leads to an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Value {
    /// A pointer into the frame: the lowest it may point, from its end.
    frame: Option<i64>,
    /// Something that is certainly no pointer into the frame.
    other: bool,
}

const UNKNOWN: Value = Value {
    frame: None,
    other: false,
};
const OTHER: Value = Value {
    frame: None,
    other: true,
};

type Registers = [Value; REGISTERS];

impl Value {
    fn join(self, with: Self) -> Self {
        Self {
            frame: match (self.frame, with.frame) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            other: self.other || with.other,
        }
    }

    fn moved(self, by: i64) -> Self {
        Self {
            frame: self.frame.and_then(|frame| frame.checked_add(by)),
            ..self
        }
    }
}

/// What is wrong with the use of the frame.
pub(super) fn check(slots: &[Insn]) -> Vec<(usize, Rule, String)> {
    let mut found = Vec::new();
    let mut lowest = 0;
    for (at, registers) in states(slots).into_iter().enumerate() {
        let (Some(registers), Some(insn)) = (registers, slots.get(at)) else {
            continue;
        };
        // Told once, where it is deepest by the order of the code.
        if let Some(depth) = reach(&registers, insn).filter(|&reach| reach < lowest) {
            lowest = depth;
            if depth < -STACK {
                let what = format!("{} bytes of stack, {STACK} are there", -depth);
                found.push((at, Rule::Stack, what));
            }
        }
        found.extend(map_arguments(&registers, insn).map(|what| (at, Rule::MapArgument, what)));
    }
    found
}

/// What the registers may hold before each instruction that is reached.
fn states(slots: &[Insn]) -> Vec<Option<Registers>> {
    let mut states: Vec<Option<Registers>> = vec![None; slots.len()];
    let mut rounds = vec![0_usize; slots.len()];
    let mut start = [OTHER; REGISTERS];
    write(
        &mut start,
        FRAME,
        Value {
            frame: Some(0),
            other: false,
        },
    );
    if let Some(first) = states.first_mut() {
        *first = Some(start);
    }
    let mut due = vec![0_usize];
    while let Some(at) = due.pop() {
        let (Some(insn), Some(Some(before))) = (slots.get(at), states.get(at)) else {
            continue;
        };
        let after = step(*before, insn);
        for next in successors(at, insn).into_iter().flatten() {
            let (Some(state), Some(round)) = (states.get_mut(next), rounds.get_mut(next)) else {
                continue;
            };
            let joined = state.map_or(after, |state| join(&state, &after));
            if *state != Some(joined) && *round < ROUNDS {
                *state = Some(joined);
                *round += 1;
                due.push(next);
            }
        }
    }
    states
}

fn join(one: &Registers, other: &Registers) -> Registers {
    let mut joined = *one;
    for (value, with) in joined.iter_mut().zip(other) {
        *value = value.join(*with);
    }
    joined
}

fn read(registers: &Registers, register: u8) -> Value {
    registers
        .get(usize::from(register))
        .copied()
        .unwrap_or(UNKNOWN)
}

fn write(registers: &mut Registers, register: u8, value: Value) {
    if let Some(place) = registers.get_mut(usize::from(register)) {
        *place = value;
    }
}

/// The registers after an instruction.
fn step(mut registers: Registers, insn: &Insn) -> Registers {
    let before = read(&registers, insn.dst);
    let value = match insn.class() {
        // What was put aside in the frame may be a pointer into it.
        Class::Ldx if read(&registers, insn.src).frame.is_some() => UNKNOWN,
        Class::Ld | Class::Ldx | Class::Alu => OTHER,
        Class::Alu64 => match (insn.operation(), insn.by_register()) {
            (0xb0, true) => read(&registers, insn.src),
            (0x00, false) => before.moved(insn.imm.into()),
            (0x10, false) => before.moved(-i64::from(insn.imm)),
            (0x00 | 0x10, true) => {
                let by = read(&registers, insn.src);
                if before.frame.or(by.frame).is_some() {
                    UNKNOWN
                } else {
                    OTHER
                }
            }
            _ => OTHER,
        },
        Class::Jmp | Class::Jmp32 if insn.is_call() => {
            for register in 0..=5 {
                write(&mut registers, register, OTHER);
            }
            return registers;
        }
        Class::St | Class::Stx | Class::Jmp | Class::Jmp32 => return registers,
    };
    write(&mut registers, insn.dst, value);
    registers
}

/// The lowest place in the frame that an instruction touches or points to.
fn reach(registers: &Registers, insn: &Insn) -> Option<i64> {
    let touched = |register| read(registers, register).moved(insn.off.into()).frame;
    match insn.class() {
        Class::Ldx => touched(insn.src),
        Class::St | Class::Stx => touched(insn.dst),
        Class::Alu64 => read(&step(*registers, insn), insn.dst).frame,
        _ => None,
    }
}

/// Keys and values of `map_lookup_elem`, `map_update_elem` and `map_delete_elem` have to lie
/// in the frame (`check_func_arg`; relaxed by d71962f3e627, 4.18).
fn map_arguments(registers: &Registers, insn: &Insn) -> Option<String> {
    if insn.code != CALL || insn.src != 0 {
        return None;
    }
    let key = read(registers, 2).other;
    let value = read(registers, 3).other;
    match insn.imm {
        1..=3 if key => Some("the key given to a map is not on the stack".to_owned()),
        2 if value => Some("the value given to a map is not on the stack".to_owned()),
        _ => None,
    }
}
