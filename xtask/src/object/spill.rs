//! What a program puts aside in its stack frame: a slot that is used as a pointer holds one on
//! every path.
//!
//! Up to 4.15 the verifier forgets which number was put aside (`check_stack_write`,
//! `kernel/bpf/verifier.c`; zeros are kept from cc2b14d51053, 4.16, constants from f7cf25b2026d,
//! 5.3). A zero that stands for "no pointer" comes back as any number, so the test for zero
//! decides nothing, and what follows is refused as an access through a number.

use std::collections::BTreeMap;

use super::Rule;
use super::flow::successors;
use super::insn::{CALL, Class, Insn};

const FRAME: usize = 10;
/// Stores and loads of eight bytes.
const STORE: u8 = 0x7b;
const LOAD: u8 = 0x79;
const MAP_LOOKUP: i32 = 1;
/// Rounds until a place is given up: kinds only grow, so few are needed.
const ROUNDS: usize = 256;

/// What a register or a slot may hold, by any way that leads to an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Value {
    pointer: bool,
    number: bool,
    /// Came from a slot that held both.
    forgotten: bool,
    /// The lookup in a map that it is the answer of, before the test for null.
    answer: Option<usize>,
    /// A place in the frame, from its end.
    frame: Option<i64>,
}

const NUMBER: Value = Value {
    pointer: false,
    number: true,
    forgotten: false,
    answer: None,
    frame: None,
};

impl Value {
    fn pointer() -> Self {
        Self {
            pointer: true,
            ..Self::default()
        }
    }

    fn join(self, with: Self) -> Self {
        Self {
            pointer: self.pointer || with.pointer,
            number: self.number || with.number,
            forgotten: self.forgotten || with.forgotten,
            answer: self.answer.filter(|_| self.answer == with.answer),
            frame: self.frame.filter(|_| self.frame == with.frame),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
    registers: [Value; FRAME + 1],
    slots: BTreeMap<i64, Value>,
}

impl State {
    fn start() -> Self {
        let mut state = Self::default();
        state.registers[1] = Value::pointer();
        state.registers[FRAME] = Value {
            frame: Some(0),
            ..Value::pointer()
        };
        state
    }

    fn get(&self, register: u8) -> Value {
        let value = self.registers.get(usize::from(register));
        value.copied().unwrap_or(NUMBER)
    }

    fn set(&mut self, register: u8, value: Value) {
        if let Some(place) = self.registers.get_mut(usize::from(register)) {
            *place = value;
        }
    }

    /// The slot that an instruction touches whole, by this register.
    fn slot(&self, register: u8, insn: &Insn) -> Option<i64> {
        Some(self.get(register).frame? + i64::from(insn.off))
    }

    /// A slot that one of the ways did not write holds nothing that may be read.
    fn join(&self, with: &Self) -> Self {
        let mut joined = self.clone();
        for (value, other) in joined.registers.iter_mut().zip(with.registers) {
            *value = value.join(other);
        }
        for (slot, value) in &with.slots {
            let there = joined.slots.entry(*slot).or_insert(*value);
            *there = there.join(*value);
        }
        joined
    }

    /// The answer of this lookup is null, or it is not, wherever it is kept.
    fn decide(&mut self, lookup: usize, is_null: bool) {
        let all = self.registers.iter_mut().chain(self.slots.values_mut());
        for value in all.filter(|value| value.answer == Some(lookup)) {
            *value = if is_null { NUMBER } else { Value::pointer() };
        }
    }
}

/// Accesses through what a slot held that was a pointer on some paths only.
pub(super) fn check(slots: &[Insn]) -> Vec<(usize, Rule, String)> {
    let mut found = Vec::new();
    for (at, state) in states(slots).into_iter().enumerate() {
        let (Some(state), Some(insn)) = (state, slots.get(at)) else {
            continue;
        };
        let base = match insn.class() {
            Class::Ldx => insn.src,
            Class::St | Class::Stx => insn.dst,
            _ => continue,
        };
        if state.get(base).forgotten {
            let what = "an access through a pointer that was put aside as one or as none";
            found.push((at, Rule::Spill, what.to_owned()));
        }
    }
    found
}

/// What there may be before each instruction that is reached.
fn states(slots: &[Insn]) -> Vec<Option<State>> {
    let mut states: Vec<Option<State>> = vec![None; slots.len()];
    let mut rounds = vec![0_usize; slots.len()];
    if let Some(first) = states.first_mut() {
        *first = Some(State::start());
    }
    let mut due = vec![0_usize];
    while let Some(at) = due.pop() {
        let (Some(insn), Some(Some(before))) = (slots.get(at), states.get(at)) else {
            continue;
        };
        for (next, after) in steps(before, at, insn) {
            let (Some(state), Some(round)) = (states.get_mut(next), rounds.get_mut(next)) else {
                continue;
            };
            let joined = match state.as_ref() {
                Some(state) => state.join(&after),
                None => after,
            };
            if state.as_ref() != Some(&joined) && *round < ROUNDS {
                *state = Some(joined);
                *round += 1;
                due.push(next);
            }
        }
    }
    states
}

/// Where control goes after an instruction, with what there is then.
fn steps(before: &State, at: usize, insn: &Insn) -> Vec<(usize, State)> {
    let after = step(before, at, insn);
    let ways = successors(at, insn).into_iter().enumerate();
    let ways = ways.filter_map(|(nth, next)| {
        let mut state = after.clone();
        if let (Some(lookup), Some(null_when)) = (before.get(insn.dst).answer, null_when(insn)) {
            state.decide(lookup, (nth == 1) == null_when);
        }
        Some((next?, state))
    });
    ways.collect()
}

/// Of a test for null: whether it is null where the jump is taken.
fn null_when(insn: &Insn) -> Option<bool> {
    let to_zero = insn.is_branch() && !insn.by_register() && insn.imm == 0;
    match insn.operation() {
        0x10 if to_zero => Some(true),
        0x50 if to_zero => Some(false),
        _ => None,
    }
}

fn step(before: &State, at: usize, insn: &Insn) -> State {
    let mut state = before.clone();
    let (from, to) = (before.get(insn.src), before.get(insn.dst));
    match insn.class() {
        Class::Ld => state.set(
            insn.dst,
            if insn.src == 0 {
                Value::pointer()
            } else {
                NUMBER
            },
        ),
        Class::Ldx => state.set(insn.dst, loaded(before, insn)),
        Class::St | Class::Stx => {
            if let Some(slot) = before.slot(insn.dst, insn) {
                let whole = insn.code == STORE;
                state
                    .slots
                    .insert(slot & !7, if whole { from } else { NUMBER });
            }
        }
        Class::Alu64 => match (insn.operation(), insn.by_register()) {
            (0xb0, true) => state.set(insn.dst, from),
            (0x00, false) if to.pointer => {
                let frame = to.frame.map(|frame| frame + i64::from(insn.imm));
                let answer = None;
                state.set(
                    insn.dst,
                    Value {
                        answer,
                        frame,
                        ..to
                    },
                );
            }
            (0x00, true) if to.pointer || from.pointer => {
                let sum = if to.pointer { to } else { from };
                let (frame, answer) = (None, None);
                state.set(
                    insn.dst,
                    Value {
                        answer,
                        frame,
                        ..sum
                    },
                );
            }
            _ => state.set(insn.dst, NUMBER),
        },
        Class::Alu => state.set(insn.dst, NUMBER),
        Class::Jmp | Class::Jmp32 if insn.is_call() => {
            let lookup = insn.code == CALL && insn.imm == MAP_LOOKUP;
            for register in 1..=5 {
                state.set(register, Value::default());
            }
            let answer = Value {
                answer: Some(at),
                ..Value::pointer()
            };
            state.set(0, if lookup { answer } else { NUMBER });
        }
        Class::Jmp | Class::Jmp32 => {}
    }
    state
}

/// What a load brings: only the frame holds pointers.
fn loaded(before: &State, insn: &Insn) -> Value {
    let slot = before.slot(insn.src, insn).filter(|_| insn.code == LOAD);
    let held = slot.and_then(|slot| before.slots.get(&slot)).copied();
    let held = held.unwrap_or(NUMBER);
    Value {
        forgotten: held.forgotten || held.pointer && held.number,
        ..held
    }
}
