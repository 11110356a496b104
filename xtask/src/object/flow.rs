//! Where control can go: no loops, no way out but `exit`, nothing that is not reached
//! (`check_cfg`, `kernel/bpf/verifier.c`).

use super::Rule;
use super::insn::Insn;

/// Where control goes after an instruction; the places may lie outside the program.
pub(super) fn successors(at: usize, insn: &Insn) -> Vec<Option<usize>> {
    let after = |slots: usize| at.checked_add(slots);
    let target = || after(1)?.checked_add_signed(isize::from(insn.off));
    if insn.is_exit() {
        Vec::new()
    } else if insn.is_jump() {
        vec![target()]
    } else if insn.is_branch() {
        vec![after(1), target()]
    } else if insn.is_wide() {
        vec![after(2)]
    } else {
        vec![after(1)]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    /// On the way from the start to where the search is.
    Open,
    Done,
}

/// What is wrong with the ways through a program.
pub(super) fn check(slots: &[Insn]) -> Vec<(usize, Rule, String)> {
    let mut found = Vec::new();
    let mut marks = vec![Mark::New; slots.len()];
    let halves: Vec<bool> = halves(slots);
    // Places on the way, each with how many of its successors were looked at.
    let mut way: Vec<(usize, usize)> = vec![(0, 0)];
    while let Some((at, looked)) = way.pop() {
        let Some(insn) = slots.get(at) else { continue };
        if looked == 0 {
            set(&mut marks, at, Mark::Open);
        }
        let Some(&next) = successors(at, insn).get(looked) else {
            set(&mut marks, at, Mark::Done);
            continue;
        };
        way.push((at, looked + 1));
        let next = next.filter(|&next| halves.get(next) == Some(&false));
        match next.and_then(|next| Some((next, *marks.get(next)?))) {
            None => {
                let what = "control leaves the program here".to_owned();
                found.push((at, Rule::Jump, what));
            }
            Some((next, Mark::New)) => way.push((next, 0)),
            Some((next, Mark::Open)) => {
                let what = format!("a jump back to instruction {next}");
                found.push((at, Rule::Loop, what));
            }
            Some((_, Mark::Done)) => {}
        }
    }
    let unreached = marks
        .iter()
        .zip(&halves)
        .position(|(mark, half)| *mark == Mark::New && !half);
    if let Some(at) = unreached {
        found.push((at, Rule::Unreachable, "nothing leads here".to_owned()));
    }
    found
}

fn set(marks: &mut [Mark], at: usize, to: Mark) {
    if let Some(mark) = marks.get_mut(at) {
        *mark = to;
    }
}

/// Which slots are second halves of 64-bit constants.
fn halves(slots: &[Insn]) -> Vec<bool> {
    let mut halves = vec![true; slots.len()];
    for (at, _) in super::insn::with_places(slots) {
        if let Some(half) = halves.get_mut(at) {
            *half = false;
        }
    }
    halves
}
