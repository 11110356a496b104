//! Which hook is served by which mechanism: a pure function of what the kernel
//! offers and what the session wants.

use clap::ValueEnum;
use serde::Serialize;
use sockpick_ebpf::abi::{ArgLoc, Args};

use super::hooks::RESULT;
pub use super::hooks::{HOOKS, Hook, Mechanism};
use crate::kernel::features::{Busy, Features, Function, Receiver, Registers};

/// What a session may be restricted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// fentry and fexit only
    Fentry,
    /// kprobes and kretprobes only
    Kprobe,
    /// The programs for Linux 4.14 to 5.7: kprobes, without BTF and ring buffer
    Legacy,
}

impl Choice {
    /// The mechanism that it leaves.
    #[must_use]
    pub fn mechanism(self) -> Mechanism {
        match self {
            Self::Fentry => Mechanism::Fentry,
            Self::Kprobe | Self::Legacy => Mechanism::Kprobe,
        }
    }
}

/// What becomes of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is attached to this symbol.
    Attach {
        /// How.
        mechanism: Mechanism,
        /// Symbol, as the compiler named it.
        symbol: String,
    },
    /// Another hook tells the same on this kernel.
    NotNeeded(String),
    /// It cannot be attached, and why.
    Missing(String),
}

/// What becomes of every hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One decision per hook, in the order of [`HOOKS`].
    pub hooks: Vec<(Hook, Decision)>,
}

impl Plan {
    /// The decision for a hook.
    #[must_use]
    pub fn decision(&self, hook: Hook) -> Option<&Decision> {
        self.hooks
            .iter()
            .find(|(candidate, _)| *candidate == hook)
            .map(|(_, decision)| decision)
    }

    /// How a hook is attached, if it is.
    #[must_use]
    pub fn mechanism(&self, hook: Hook) -> Option<Mechanism> {
        match self.decision(hook)? {
            Decision::Attach { mechanism, .. } => Some(*mechanism),
            _ => None,
        }
    }

    /// Goes without a hook that nobody asks for.
    pub(super) fn leave_out(&mut self, hook: Hook) {
        for (_, decision) in self.hooks.iter_mut().filter(|(one, _)| *one == hook) {
            *decision = Decision::NotNeeded("nobody asks for it".to_owned());
        }
    }

    /// The mechanism of the lookups: the one that observes nearly every SYN.
    #[must_use]
    pub fn lookup_mechanism(&self) -> Option<Mechanism> {
        self.mechanism(Hook::Lookup4)
    }

    /// What tells that the kernel skipped the lookup's hooks, where it may skip those and not
    /// that of the request.
    #[must_use]
    pub fn busy(&self, features: &Features) -> Option<Busy> {
        features.busy.filter(|_| self.asks_whether_busy())
    }

    fn asks_whether_busy(&self) -> bool {
        self.lookup_mechanism() == Some(Mechanism::Kprobe)
            && self.mechanism(Hook::Request) == Some(Mechanism::Fentry)
    }

    /// Whether the plan may be another one once the kernel's symbols are read, though each
    /// function that it attaches to is there as [`Features::symbols_assumed`] has it (attaching
    /// proves that), or lacks something else that only they tell.
    #[must_use]
    pub fn hangs_on_symbols(&self, features: &Features) -> bool {
        let missing = |(_, decision): &(Hook, Decision)| matches!(decision, Decision::Missing(_));
        // Without these a kernel is taken for an older one.
        let unknown = [Hook::Migrate, Hook::LeaveGroup]
            .iter()
            .any(|hook| features.function(hook.function()).symbol.is_none());
        features.symbols_assumed
            && (unknown || self.asks_whether_busy() || self.hooks.iter().any(missing))
    }

    /// Where the programs find arguments and results under this plan.
    #[must_use]
    pub fn args(&self, features: &Features) -> Args {
        let mut args = Args::default();
        let places: &mut [ArgLoc] = bytemuck::cast_slice_mut(bytemuck::bytes_of_mut(&mut args));
        places.fill(ArgLoc::NONE);
        for (hook, decision) in &self.hooks {
            if let Decision::Attach { mechanism, .. } = decision {
                for (name, place_of) in hook.args() {
                    *place_of(&mut args) = place(features, *hook, *mechanism, name);
                }
            }
        }
        match features.receiver {
            Receiver::Reason { place, .. } => args.drop_reason = in_array(place),
            Receiver::Socket { place } => args.drop_sk = in_array(place),
            Receiver::Unknown => {}
        }
        args
    }
}

fn place(features: &Features, hook: Hook, mechanism: Mechanism, name: &str) -> ArgLoc {
    let Some(parameters) = features.function(hook.function()).parameters else {
        return ArgLoc::NONE;
    };
    let position = parameters.iter().position(|parameter| parameter == name);
    if position.is_none() && name != RESULT {
        return ArgLoc::NONE;
    }
    match mechanism {
        Mechanism::Fentry => in_array(position.unwrap_or(parameters.len())),
        Mechanism::Kprobe => in_registers(&features.registers, position),
    }
}

/// fentry and fexit get an array of the arguments, with the result behind them.
fn in_array(position: usize) -> ArgLoc {
    ArgLoc(position as u16 * 8)
}

/// The System V calling convention: six registers, then the stack above the return
/// address, as both stand when a kprobe at the first instruction fires.
fn in_registers(registers: &Registers, position: Option<usize>) -> ArgLoc {
    match position {
        None => ArgLoc(registers.result),
        Some(position) => match registers.arguments.get(position) {
            Some(&offset) => ArgLoc(offset),
            None => ArgLoc(ArgLoc::STACK | (8 + (position - registers.arguments.len()) as u16 * 8)),
        },
    }
}

/// Decides for every hook. `wanted` restricts the session to one mechanism.
#[must_use]
pub fn plan(features: &Features, wanted: Option<Mechanism>) -> Plan {
    let mut plan = Plan { hooks: Vec::new() };
    for hook in HOOKS {
        let decision = decide(features, &plan, hook, wanted);
        plan.hooks.push((hook, decision));
    }
    // The walk is what tells steering apart only where steering itself is not hooked.
    for (walk, steer) in [(Hook::Walk4, Hook::Steer4), (Hook::Walk6, Hook::Steer6)] {
        if matches!(plan.decision(steer), Some(Decision::Attach { .. })) {
            let why = format!("{steer} tells the same at less cost");
            set(&mut plan, walk, Decision::NotNeeded(why));
        } else if matches!(plan.decision(walk), Some(Decision::Attach { .. })) {
            let why = format!("inlined here; {walk} tells the same");
            set(&mut plan, steer, Decision::NotNeeded(why));
        }
    }
    // From 5.14 a listener that closes stays in its group for its connections, and leaves the table there.
    if features
        .function(Hook::LeaveGroup.function())
        .symbol
        .is_some()
    {
        let why = format!("{} tells the same", Hook::LeaveGroup);
        set(&mut plan, Hook::DetachGroup, Decision::NotNeeded(why));
    } else {
        let why = format!(
            "this kernel has {} instead (before Linux 5.14)",
            Hook::DetachGroup
        );
        set(&mut plan, Hook::LeaveGroup, Decision::NotNeeded(why));
    }
    if features.function(Hook::Migrate.function()).symbol.is_none() {
        let why = "this kernel has no migration of connections (Linux 5.14)".to_owned();
        set(&mut plan, Hook::Migrate, Decision::NotNeeded(why));
    }
    plan
}

fn set(plan: &mut Plan, hook: Hook, decision: Decision) {
    if let Some(entry) = plan
        .hooks
        .iter_mut()
        .find(|(candidate, _)| *candidate == hook)
    {
        entry.1 = decision;
    }
}

fn decide(features: &Features, so_far: &Plan, hook: Hook, wanted: Option<Mechanism>) -> Decision {
    // The walk tells steering by its absence, so it must not be taken for that where nothing
    // steers: the port's chain (before 5.0) is walked without it.
    let steering = matches!(
        hook,
        Hook::Walk4 | Hook::Walk6 | Hook::Steer4 | Hook::Steer6
    );
    if steering && features.without_sk_lookup {
        return Decision::NotNeeded("this kernel has no sk_lookup programs".into());
    }
    if hook == Hook::GroupProgram && features.without_sk_reuseport {
        return Decision::NotNeeded("this kernel has no SK_REUSEPORT programs".into());
    }
    let function = features.function(hook.function());
    let Some(symbol) = function.symbol.clone() else {
        return Decision::Missing("no such function in this kernel, or inlined".into());
    };
    let mut reasons = Vec::new();
    for mechanism in [Mechanism::Fentry, Mechanism::Kprobe] {
        if wanted.is_some_and(|wanted| wanted != mechanism) {
            continue;
        }
        match allowed(features, so_far, hook, &function, mechanism) {
            Ok(()) => return Decision::Attach { mechanism, symbol },
            Err(reason) => reasons.push(format!("{mechanism}: {reason}")),
        }
    }
    Decision::Missing(reasons.join("; "))
}

fn allowed(
    features: &Features,
    so_far: &Plan,
    hook: Hook,
    function: &Function,
    mechanism: Mechanism,
) -> Result<(), String> {
    if hook.programs(mechanism).is_empty() {
        return Err("not used for this hook".into());
    }
    if hook.parameters().next().is_some() {
        let Some(parameters) = &function.parameters else {
            return Err("its parameters are not in the kernel's BTF".into());
        };
        if !function.is_plain() {
            return Err("the compiler changed its parameters".into());
        }
        let missing = hook
            .parameters()
            .find(|name| !parameters.iter().any(|p| p == name));
        if let Some(name) = missing {
            return Err(format!("it has no parameter {name}"));
        }
    }
    match mechanism {
        Mechanism::Fentry => fentry_allowed(features, hook, function),
        Mechanism::Kprobe => kprobe_allowed(features, so_far, hook),
    }
}

fn fentry_allowed(features: &Features, hook: Hook, function: &Function) -> Result<(), String> {
    if !features.kernel_btf {
        return Err("the kernel has no BTF".into());
    }
    if let Some(error) = features.fentry_refused.get(hook.function()) {
        return Err(error.clone());
    }
    let count = function.parameters.as_ref().map_or(0, Vec::len);
    match features.fentry_max_args {
        Some(most) if count > most => Err(format!(
            "refused for {count} arguments (this kernel takes {most})"
        )),
        _ => Ok(()),
    }
}

fn kprobe_allowed(features: &Features, so_far: &Plan, hook: Hook) -> Result<(), String> {
    if !features.kprobes {
        return Err("the kernel has no kprobes".into());
    }
    if let Some(error) = features.kprobe_refused.get(hook.function()) {
        return Err(error.clone());
    }
    // Inside the lookup, a return probe knows the packet only from the lookup's own
    // kprobe.
    let inside = matches!(
        hook,
        Hook::Walk4 | Hook::Walk6 | Hook::Steer4 | Hook::Steer6 | Hook::GroupProgram
    );
    if inside && so_far.lookup_mechanism() == Some(Mechanism::Fentry) {
        return Err("needs the lookup to be hooked by kprobe too".into());
    }
    Ok(())
}
