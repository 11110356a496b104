//! What Linux 4.14 takes of an eBPF object file: a check that needs no kernel.
//!
//! Such kernels are not in the package archives, so this stands in for loading there. It is no
//! proof: the verifier may still refuse an object that passes (its limit of 131,072 instructions
//! looked at, ranges of scalars). Only a real 4.14 tells (`cargo xtask vm --image`).

mod elf;
mod flow;
mod frame;
mod insn;
mod limits;
mod spill;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::artifacts;
use elf::{Place, Program, Reference};
use insn::Insn;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The object file
    file: PathBuf,
}

/// `cargo xtask object FILE`
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let bytes =
        fs::read(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let violations = check(&bytes)?;
    for violation in &violations {
        println!("{violation}");
    }
    println!("{} violations", violations.len());
    if violations.is_empty() {
        println!("no proof that Linux 4.14 loads it: its verifier follows values, this does not");
    }
    Ok(if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Holds the object for old kernels to the rules; what breaks one is printed.
pub(crate) fn check_built() -> Result<bool> {
    let path = artifacts::legacy_object()?;
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let violations = check(&bytes)?;
    for violation in &violations {
        println!("{violation}");
    }
    Ok(violations.is_empty())
}

/// Something that Linux 4.14 would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The program, as section and name; none where it is about the whole object.
    pub(crate) program: Option<String>,
    /// Its instruction, in slots of 8 bytes.
    pub(crate) instruction: Option<usize>,
    pub(crate) rule: Rule,
    /// What breaks the rule.
    pub(crate) what: String,
}

impl Violation {
    fn of_object(rule: Rule, what: impl Into<String>) -> Self {
        Self {
            program: None,
            instruction: None,
            rule,
            what: what.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(program) = &self.program {
            write!(out, "{program}")?;
            if let Some(instruction) = self.instruction {
                write!(out, ", instruction {instruction}")?;
            }
            write!(out, ": ")?;
        }
        write!(out, "{} ({:?}); {}", self.what, self.rule, self.rule.cure())
    }
}

/// The rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    License,
    Version,
    ProgramType,
    Data,
    BtfMaps,
    MapType,
    MapFlags,
    InstructionSet,
    Call,
    Kfunc,
    Pointer,
    Helper,
    Jump,
    Loop,
    Unreachable,
    Length,
    Stack,
    MapArgument,
    Spill,
}

impl Rule {
    /// What to do about it.
    fn cure(self) -> &'static str {
        match self {
            Self::License => "name a GPL-compatible license in the section `license`",
            Self::Version => {
                "leave the section `version` out: the loader then fills in the running kernel's, \
                 which 4.14 compares"
            }
            Self::ProgramType => "keep it out of the object for old kernels",
            Self::Data => {
                "global data came with 5.2: put it into an array map, and let no panic message \
                 and no table of constants remain"
            }
            Self::BtfMaps => "define maps in the section `maps`, with `#[map]`",
            Self::MapType => "use a type of map that 4.14 has, such as a perf event array",
            Self::MapFlags => "leave the flag out",
            Self::InstructionSet => "compile for BPF version 2 (`-C target-cpu=v2`)",
            Self::Call => "inline it: calls between BPF functions came with 4.16",
            Self::Kfunc => "functions of the kernel can be called from 5.13 on",
            Self::Pointer => "only maps can be pointed to",
            Self::Helper => "use a helper that kprobe programs have in 4.14",
            Self::Jump => "every path has to end in `exit`, within the program",
            Self::Loop => "unroll it: bounded loops came with 5.3",
            Self::Unreachable => "4.14 refuses code that nothing leads to",
            Self::Length => "split the program, or leave a feature out",
            Self::Stack => "keep large values in a per-CPU array",
            Self::Spill => {
                "do not keep an optional pointer across a call; keep whether there is one, and \
                 look it up again"
            }
            Self::MapArgument => {
                "copy it to the stack: map values as keys and values of other maps came with 4.18"
            }
        }
    }
}

/// Everything about an object file that Linux 4.14 would refuse.
///
/// # Errors
/// If the bytes are no object file of BPF programs.
pub(crate) fn check(bytes: &[u8]) -> Result<Vec<Violation>> {
    let image = elf::Image::read(bytes)?;
    let mut violations = Vec::new();
    violations.extend(limits::license(image.license));
    violations.extend(limits::version(image.version));
    for section in &image.data {
        let what = format!("global data in section `{section}`");
        violations.push(Violation::of_object(Rule::Data, what));
    }
    if image.btf_maps {
        let what = "maps are described by BTF";
        violations.push(Violation::of_object(Rule::BtfMaps, what));
    }
    for map in &image.maps {
        violations.extend(limits::map(map));
    }
    for program in &image.programs {
        violations.extend(of_program(program));
    }
    Ok(violations)
}

fn of_program(program: &Program<'_>) -> Vec<Violation> {
    let full_name = format!("{} {}", program.section, program.name);
    let mut violations: Vec<Violation> = Vec::new();
    let mut found = |instruction: Option<usize>, rule, what: String| {
        violations.push(Violation {
            program: Some(full_name.clone()),
            instruction,
            rule,
            what,
        });
    };
    if !limits::knows_program(program.section) {
        let what = format!("a program of kind `{}`", program.section);
        found(None, Rule::ProgramType, what);
        return violations;
    }
    let slots = insn::decode(program.code);
    if slots.len() > limits::MOST_INSTRUCTIONS {
        let what = format!(
            "{} instructions, {} are allowed",
            slots.len(),
            limits::MOST_INSTRUCTIONS
        );
        found(None, Rule::Length, what);
    }
    for (at, insn) in insn::with_places(&slots) {
        if let Some((rule, what)) = of_instruction(program, at, insn) {
            found(Some(at), rule, what);
        }
    }
    for (at, rule, what) in flow::check(&slots) {
        found(Some(at), rule, what);
    }
    for (at, rule, what) in spill::check(&slots) {
        found(Some(at), rule, what);
    }
    for (at, rule, what) in frame::check(&slots) {
        found(Some(at), rule, what);
    }
    violations
}

fn of_instruction(program: &Program<'_>, at: usize, insn: &Insn) -> Option<(Rule, String)> {
    let reference = program.references.get(&at);
    if insn.is_call() {
        return call(insn, reference);
    }
    match reference.map(|reference| (&reference.place, insn.is_wide())) {
        None => {}
        Some((Place::Map, true)) if insn.src == 0 => {}
        Some((Place::Function, _)) => {
            return Some((Rule::Call, "a pointer to a function".to_owned()));
        }
        Some((Place::Data(section), _)) => {
            return Some((Rule::Data, format!("uses `{section}`")));
        }
        Some(_) => {
            return Some((Rule::Pointer, "a reference that is no map's".to_owned()));
        }
    }
    if insn.is_wide() && insn.src != 0 {
        let what = format!("a 64-bit constant of kind {}", insn.src);
        return Some((Rule::Pointer, what));
    }
    insn.refused().map(|what| (Rule::InstructionSet, what))
}

fn call(insn: &Insn, reference: Option<&Reference>) -> Option<(Rule, String)> {
    match (insn.src, reference) {
        (2, _) => Some((Rule::Kfunc, "a call of a kernel function".to_owned())),
        (0, None) if insn.code == insn::CALL && limits::HELPERS.contains(&insn.imm) => None,
        (0, None) if insn.code == insn::CALL => {
            Some((Rule::Helper, format!("a call of helper {}", insn.imm)))
        }
        (0, None) => Some((Rule::InstructionSet, "a call by register".to_owned())),
        (_, Some(reference)) => Some((Rule::Call, format!("a call of `{}`", reference.name))),
        (_, None) => Some((Rule::Call, "a call within the object".to_owned())),
    }
}
