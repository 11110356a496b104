//! Loads the programs and attaches them by plan. A hook that refuses its mechanism
//! is planned anew without it: what a kernel takes is found by trying.

use std::{cell::OnceCell, path::PathBuf};

use anyhow::Result;
use aya::{Btf as AyaBtf, EbpfLoader};
use aya_obj::btf::{BtfType, Func, FuncLinkage};
use log::{debug, log_enabled};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use sockpick_ebpf::abi::{Config, maps};

use super::{
    counters,
    examine::{Kernel, Refusal},
    filters::Filters,
    maps::configure,
    object::{Abi, LEGACY_OBJECT, OBJECT, Places, with_places},
    plan::{Choice, Decision, HOOKS, Hook, Mechanism, Plan},
    programs::Programs,
    refusal::{brief, is_permission, is_verifiers, refused_maps, refused_program, show_log},
    rights::{self, Level},
    tracefs,
};
use crate::{failure::Failure, kernel::features::Receiver};

/// Most plans that are tried: each takes two refusals of every hook into account at the most,
/// and one look at the kernel's symbols.
const ROUNDS: usize = 2 * HOOKS.len() + 2;

/// What a session asks of the kernel side.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this, if given.
    pub backend: Option<Choice>,
    /// Type information to take the offsets from, instead of the kernel's own.
    pub btf: Option<PathBuf>,
    /// Size of the ring buffer in bytes: a power of two, at least a page.
    pub buffer_bytes: u32,
    /// In-kernel filters.
    pub filters: Filters,
    /// Of which SYNs there is a record.
    pub level: Level,
    /// Whether it is looked who accepts.
    pub acceptors: bool,
    /// Whether the programs log what they do.
    pub debug_programs: bool,
}

/// Loads and attaches. Nothing is recorded until [`Programs::record`] says so.
///
/// # Errors
/// If the lookups cannot be hooked, or the kernel refuses to load programs.
pub fn programs(kernel: &mut Kernel, options: &Options) -> Result<Programs> {
    // Before 5.11 maps count against this limit, which is small by default; a
    // failure shows when the maps are made.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    if tracefs::needed() {
        tracefs::remove_leftovers();
    }
    let targets = target_btf(&kernel.targets);
    let configs = [const { OnceCell::new() }; ROUNDS];
    let files = Abi(kernel.files.unwrap_or_default());
    let mut loader = loader(kernel.legacy, options)?;
    if !kernel.legacy {
        loader.override_global("FILES", &files, true);
    }
    // Each round either attaches everything or learns of one more refusal.
    for config in &configs {
        let mut plan = kernel.settled_plan(options.backend)?;
        if !options.acceptors {
            plan.leave_out(Hook::Accept);
        }
        if let Some(Decision::Missing(why)) = plan.decision(Hook::Lookup4) {
            // By fentry the verifier holds each field against the kernel's own types.
            let file = match options.btf {
                Some(_) => " The file of --btf may be another kernel's.",
                None => "",
            };
            return Err(Failure::environment(format!(
                "cannot hook {}, without which there is nothing to tell: {why}.{file}",
                Hook::Lookup4
            ))
            .see_doctor()
            .into());
        }
        let config = config.get_or_init(|| configuration(kernel, options, &plan));
        let mut programs = load(&mut loader, config, kernel.legacy, options, plan)?;
        match attach_all(&mut programs, &targets, options.debug_programs)? {
            None => {
                let known = kernel.files.is_some() && !kernel.legacy;
                programs.complete(known.then_some(&targets));
                let receiver = if kernel.legacy {
                    Receiver::Unknown
                } else {
                    kernel.features.receiver
                };
                programs.settle_ends(options.level, receiver, &targets);
                return Ok(programs);
            }
            Some(refusal) => kernel.learn(refusal)?,
        }
    }
    let message = "no way was found to attach the hooks.";
    Err(Failure::environment(message).see_doctor().into())
}

fn load<'config>(
    loader: &mut EbpfLoader<'config>,
    config: &'config Abi<Config>,
    legacy: bool,
    options: &Options,
    plan: Plan,
) -> Result<Programs> {
    if !legacy {
        loader.override_global("CONFIG", config, true);
    }
    let object = if legacy { LEGACY_OBJECT } else { OBJECT };
    let places = Places {
        args: &config.0.args,
        fields: &config.0.off,
        stack_pointer: config.0.regs_sp,
    };
    let object = with_places(object, places)?;
    let mut ebpf = loader
        .load(object.bytes())
        .map_err(|error| refused_maps(&error))?;
    debug!("the maps are made");
    if legacy {
        configure(&mut ebpf, *config)?;
    }
    options.filters.fill(&mut ebpf)?;
    let mut programs = Programs::of(ebpf, plan, legacy, options.buffer_bytes)?;
    programs.record_nothing()?;
    Ok(programs)
}

/// Attaches every hook of the plan; stops at the first that is refused. `verbose` shows all that
/// a verifier says against a program.
fn attach_all(programs: &mut Programs, targets: &AyaBtf, verbose: bool) -> Result<Option<Refusal>> {
    for (hook, decision) in programs.plan.hooks.clone() {
        let Decision::Attach { mechanism, symbol } = decision else {
            continue;
        };
        debug!("{hook}: trying {mechanism} on {symbol}");
        // Return probes first: a lookup seen to start must be seen to end.
        for &(name, is_return) in hook.programs(mechanism).iter().rev() {
            let result = match mechanism {
                Mechanism::Fentry => programs.attach_fentry(name, is_return, &symbol, targets),
                Mechanism::Kprobe => programs.attach_kprobe(name, &symbol),
            };
            if let Err(error) = result {
                debug!("{hook} refused {mechanism}: {error}");
                if verbose {
                    show_log(name, &error);
                }
                if is_permission(&error) {
                    return Err(refused_program(name, &error));
                }
                return Ok(Some(Refusal {
                    hook,
                    mechanism,
                    why: brief(&error),
                    by_verifier: is_verifiers(&error),
                }));
            }
            if log_enabled!(log::Level::Debug) {
                programs.describe(name);
            }
        }
    }
    Ok(None)
}

/// Type information for aya with nothing but these functions, each under the number that it has
/// in the kernel's: all that attaching by fentry asks it for. Reading the kernel's own takes aya
/// as long as everything else at the start.
fn target_btf(targets: &[(&'static str, u32)]) -> AyaBtf {
    let mut targets = targets.to_vec();
    targets.sort_unstable_by_key(|&(_, id)| id);
    let mut btf = AyaBtf::new();
    let mut next = 1;
    for (name, id) in targets {
        for _ in next..id {
            btf.add_type(BtfType::Unknown);
        }
        let name = btf.add_string(name);
        // Nobody asks for its prototype.
        btf.add_type(BtfType::Func(Func::new(name, 0, FuncLinkage::Static)));
        next = id + 1;
    }
    btf
}

/// What every round loads alike. To make it takes a while: aya reads the kernel's type
/// information, though there is nothing to relocate.
fn loader(legacy: bool, options: &Options) -> Result<EbpfLoader<'static>> {
    let mut loader = EbpfLoader::new();
    // There is nothing to relocate: offsets are in `CONFIG`.
    loader.btf(None);
    if !legacy {
        let log_level: &u8 = if options.debug_programs { &u8::MAX } else { &0 };
        let log_bytes = if options.debug_programs {
            1 << 20
        } else {
            4096
        };
        loader
            .override_global("AYA_LOG_LEVEL", log_level, false)
            .map_max_entries(maps::EVENTS, options.buffer_bytes)
            .map_max_entries(maps::STATS, counters::rows()?)
            .map_max_entries("AYA_LOGS", log_bytes);
        rights::size(&mut loader, options.level);
    }
    options.filters.size(&mut loader);
    Ok(loader)
}

/// What the programs have to know.
fn configuration(kernel: &Kernel, options: &Options, plan: &Plan) -> Abi<Config> {
    let busy = plan.busy(&kernel.features).unwrap_or_default();
    Abi(Config {
        per_cpu_offset: busy.per_cpu_offset,
        prog_active: busy.prog_active,
        current_kprobe: busy.current_kprobe,
        off: kernel.offsets,
        args: plan.args(&kernel.features),
        regs_sp: kernel.features.registers.stack_pointer,
        filters: options.filters.bits(),
        wake_bytes: options.buffer_bytes / 2,
        no_socket: match kernel.features.receiver {
            Receiver::Reason { no_socket, .. } => no_socket,
            _ => 0,
        },
        reserved_end: 0,
    })
}

#[cfg(test)]
mod tests {
    use aya_obj::btf::{BtfError, BtfKind};

    use super::*;

    #[test]
    fn targets_have_the_numbers_that_the_kernel_gives_them() -> Result<(), BtfError> {
        let targets = [
            ("tcp_conn_request", 70_007),
            ("inet_csk_listen_stop", 3),
            ("b", 4),
        ];
        let btf = target_btf(&targets);
        for (name, id) in targets {
            assert_eq!(btf.id_by_type_name_kind(name, BtfKind::Func)?, id, "{name}");
        }
        let absent = btf.id_by_type_name_kind("inet_csk_accept", BtfKind::Func);
        assert!(absent.is_err());
        assert!(
            target_btf(&[])
                .id_by_type_name_kind("b", BtfKind::Func)
                .is_err()
        );
        Ok(())
    }
}
