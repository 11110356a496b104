//! The plan of attachment for what each kernel of the matrix offers: pure, so that it
//! is tested anywhere.

use std::collections::BTreeMap;

use sockpick::{
    kernel::features::{Busy, Features, Function, Registers},
    probes::plan::{Decision, HOOKS, Hook, Mechanism, Plan, plan},
};
use sockpick_ebpf::abi::ArgLoc;

use There::{Nothing, Plain, PlainWithoutType, Renamed, RenamedWithoutType, TypeOnly};

const L10: &str = "net hashinfo skb doff saddr sport daddr hnum dif sdif";
const L9: &str = "net skb doff saddr sport daddr hnum dif sdif";
const STEER: &str = "net protocol skb doff saddr sport daddr hnum dif ehashfn";

/// `struct pt_regs` of `x86_64`.
const REGISTERS: Registers = Registers {
    arguments: [112, 104, 96, 88, 72, 64],
    stack_pointer: 152,
    result: 80,
};

fn function(parameters: &str) -> Function {
    Function {
        symbol: None,
        parameters: Some(parameters.split(' ').map(ToOwned::to_owned).collect()),
    }
}

/// What every kernel of the matrix has, with the given lookup.
fn features(lookup: &str, reuseport: &str) -> Features {
    let plain = [
        ("__inet_lookup_listener", lookup),
        ("inet6_lookup_listener", lookup),
        ("bpf_run_sk_reuseport", reuseport),
        ("tcp_conn_request", "rsk_ops af_ops sk skb"),
        ("inet_csk_listen_start", "sk"),
        ("inet_csk_listen_stop", "sk"),
        ("reuseport_detach_sock", "sk"),
        ("inet_csk_accept", "sk arg"),
    ];
    let functions = plain.map(|(name, parameters)| {
        let symbol = Some(name.to_owned());
        (
            name,
            Function {
                symbol,
                ..function(parameters)
            },
        )
    });
    Features {
        functions: BTreeMap::from(functions),
        registers: REGISTERS,
        kprobes: true,
        kernel_btf: true,
        ..Features::default()
    }
}

fn linux_5_10() -> Features {
    let mut features = features(L10, "reuse sk prog skb hash");
    for name in ["inet_lhash2_lookup", "inet6_lhash2_lookup"] {
        let symbol = Some(format!("{name}.isra.0"));
        features.functions.insert(
            name,
            Function {
                symbol,
                parameters: None,
            },
        );
    }
    features.fentry_max_args = Some(6);
    features
}

fn linux_6_12() -> Features {
    let mut features = features(L10, "reuse sk prog skb migrating_sk hash");
    for (name, parameters) in [
        ("inet_lookup_run_sk_lookup", STEER),
        ("inet6_lookup_run_sk_lookup", STEER),
        (
            "inet_lhash2_lookup",
            "net ilb2 skb doff saddr sport daddr hnum dif sdif",
        ),
        (
            "inet6_lhash2_lookup",
            "net ilb2 skb doff saddr sport daddr hnum dif sdif",
        ),
    ] {
        let symbol = Some(name.to_owned());
        features.functions.insert(
            name,
            Function {
                symbol,
                ..function(parameters)
            },
        );
    }
    features
}

fn linux_7() -> Features {
    let mut features = linux_6_12();
    for name in ["__inet_lookup_listener", "inet6_lookup_listener"] {
        let symbol = Some(name.to_owned());
        features.functions.insert(
            name,
            Function {
                symbol,
                ..function(L9)
            },
        );
    }
    features
}

fn mechanism(features: &Features, wanted: Option<Mechanism>, hook: Hook) -> Option<Mechanism> {
    plan(features, wanted).mechanism(hook)
}

#[test]
fn before_6_6_lookups_take_kprobes_and_the_rest_fentry() {
    let features = linux_5_10();
    for (hook, expected) in [
        (Hook::Lookup4, Some(Mechanism::Kprobe)),
        (Hook::Lookup6, Some(Mechanism::Kprobe)),
        (Hook::Walk4, Some(Mechanism::Kprobe)),
        (Hook::Steer4, None),
        (Hook::GroupProgram, Some(Mechanism::Fentry)),
        (Hook::Request, Some(Mechanism::Fentry)),
        (Hook::LeaveGroup, None),
        (Hook::DetachGroup, Some(Mechanism::Fentry)),
        (Hook::Accept, Some(Mechanism::Fentry)),
    ] {
        assert_eq!(mechanism(&features, None, hook), expected, "{hook}");
    }
    let symbol = match plan(&features, None).decision(Hook::Walk4) {
        Some(Decision::Attach { symbol, .. }) => symbol.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(symbol, "inet_lhash2_lookup.isra.0");
    assert_eq!(
        mechanism(&features, Some(Mechanism::Fentry), Hook::Lookup4),
        None
    );
}

#[test]
fn from_6_6_everything_takes_fentry_and_the_walk_is_left_alone() {
    for features in [linux_6_12(), linux_7()] {
        for hook in [
            Hook::Lookup4,
            Hook::Lookup6,
            Hook::Steer4,
            Hook::Request,
            Hook::ListenStop,
        ] {
            assert_eq!(
                mechanism(&features, None, hook),
                Some(Mechanism::Fentry),
                "{hook}"
            );
        }
        let plan = plan(&features, None);
        assert!(matches!(
            plan.decision(Hook::Walk4),
            Some(Decision::NotNeeded(_))
        ));
    }
}

#[test]
fn arguments_are_found_by_name() {
    let places = |features: &Features, wanted| plan(features, wanted).args(features).lookup4;
    let ten = places(&linux_6_12(), None);
    assert_eq!(
        (ten.net, ten.skb, ten.dif),
        (ArgLoc(0), ArgLoc(16), ArgLoc(64))
    );
    assert_eq!((ten.sdif, ten.ret), (ArgLoc(72), ArgLoc(80)));
    let nine = places(&linux_7(), None);
    assert_eq!(
        (nine.skb, nine.dif, nine.ret),
        (ArgLoc(8), ArgLoc(56), ArgLoc(72))
    );
    // In registers up to the sixth, then above the return address.
    let ten = places(&linux_6_12(), Some(Mechanism::Kprobe));
    assert_eq!(
        (ten.net, ten.skb, ten.ret),
        (ArgLoc(112), ArgLoc(96), ArgLoc(80))
    );
    let stack = |offset| ArgLoc(ArgLoc::STACK | offset);
    assert_eq!((ten.dif, ten.sdif), (stack(24), stack(32)));
    let nine = places(&linux_7(), Some(Mechanism::Kprobe));
    assert_eq!(
        (nine.skb, nine.dif, nine.sdif),
        (ArgLoc(104), stack(16), stack(24))
    );
}

#[test]
fn what_is_missing_is_said() {
    let mut features = linux_6_12();
    features.kprobes = false;
    features.functions.remove("inet_csk_accept");
    let plan = plan(&features, None);
    match plan.decision(Hook::Accept) {
        Some(Decision::Missing(why)) => assert!(why.contains("no such function"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        mechanism(&features, Some(Mechanism::Kprobe), Hook::Lookup4),
        None
    );
    assert!(Hook::Accept.loss().is_some() && Hook::Lookup4.loss().is_none());
    assert!(Hook::Lookup6.loss().is_some(), "a kernel may have no IPv6");
}

#[test]
fn a_renamed_function_is_not_hooked_where_its_arguments_are_read() {
    let mut features = linux_6_12();
    let changed = Function {
        symbol: Some("tcp_conn_request.constprop.0".into()),
        ..function("rsk_ops af_ops sk skb")
    };
    features.functions.insert("tcp_conn_request", changed);
    assert_eq!(mechanism(&features, None, Hook::Request), None);
}

#[test]
fn a_program_inside_the_lookup_needs_the_lookups_own_kprobe() {
    let mut features = linux_6_12();
    features
        .fentry_refused
        .insert("bpf_run_sk_reuseport", "refused".into());
    assert_eq!(mechanism(&features, None, Hook::GroupProgram), None);
    let kprobe = Some(Mechanism::Kprobe);
    assert_eq!(mechanism(&features, kprobe, Hook::GroupProgram), kprobe);
}

/// 4.16 to 5.8 have the walk, but use it for some look-ups only: without `sk_lookup` programs
/// its absence means nothing.
#[test]
fn without_sk_lookup_programs_nothing_is_told_by_the_walk() {
    let features = Features {
        without_sk_lookup: true,
        without_sk_reuseport: true,
        ..linux_5_10()
    };
    let plan = plan(&features, Some(Mechanism::Kprobe));
    for hook in [Hook::Walk4, Hook::Walk6, Hook::Steer4, Hook::GroupProgram] {
        let decision = plan.decision(hook);
        assert!(
            matches!(decision, Some(Decision::NotNeeded(_))),
            "{hook}: {decision:?}"
        );
    }
    let attached = plan.decision(Hook::Lookup4);
    assert!(matches!(attached, Some(Decision::Attach { .. })));
}

/// The kernel skips kprobe programs while another BPF program runs, and fentry programs not.
#[test]
fn skipped_lookups_are_asked_about_only_where_requests_are_seen_all_the_same() {
    let place = Some(Busy {
        per_cpu_offset: 0xffff_ffff_8260_0000,
        prog_active: 0x1f8a0,
        current_kprobe: 0x1f8b0,
    });
    for (mut features, wanted, expected) in [
        (linux_5_10(), None, place),
        (linux_5_10(), Some(Mechanism::Kprobe), None),
        (linux_6_12(), None, None),
        (linux_6_12(), Some(Mechanism::Kprobe), None),
    ] {
        features.busy = place;
        assert_eq!(plan(&features, wanted).busy(&features), expected);
    }
}

/// What a kernel has of one function: its symbol, and whether its type information names it.
#[derive(Clone, Copy, Debug)]
enum There {
    Plain,
    PlainWithoutType,
    Renamed,
    RenamedWithoutType,
    /// As where a compiler inlined it, or renamed it in a way of its own.
    TypeOnly,
    Nothing,
}

const EVERY: [There; 6] = [
    Plain,
    PlainWithoutType,
    Renamed,
    RenamedWithoutType,
    TypeOnly,
    Nothing,
];

/// The features once the symbols are read, and as they are assumed before.
fn read_and_assumed(base: &Features, there: &[(Hook, There)]) -> (Features, Features) {
    let mut read = base.clone();
    for &(hook, there) in there {
        let name = hook.function();
        let parameters = base.function(name).parameters;
        let symbol = match there {
            Plain | PlainWithoutType => Some(name.to_owned()),
            Renamed | RenamedWithoutType => Some(format!("{name}.isra.0")),
            TypeOnly | Nothing => None,
        };
        let parameters = match there {
            Plain | Renamed | TypeOnly => parameters,
            PlainWithoutType | RenamedWithoutType | Nothing => None,
        };
        let function = Function { symbol, parameters };
        read.functions.insert(name, function);
    }
    let mut assumed = read.clone();
    assumed.symbols_assumed = true;
    assumed.busy = None;
    for (&name, function) in &mut assumed.functions {
        function.symbol = function.parameters.as_ref().map(|_| name.to_owned());
    }
    (read, assumed)
}

/// Whether everything that the plan attaches to is there: the kernel refuses it otherwise.
fn attaches(plan: &Plan, read: &Features) -> bool {
    plan.hooks.iter().all(|(hook, decision)| match decision {
        Decision::Attach { symbol, .. } => {
            read.function(hook.function()).symbol.as_ref() == Some(symbol)
        }
        _ => true,
    })
}

/// 6.12 with every hook's function.
fn with_all_hooks() -> Features {
    let mut features = linux_6_12();
    for (hook, parameters) in [
        (Hook::Cookie, "sk skb req dst tsoff"),
        (Hook::Migrate, "sk migrating_sk skb"),
        (Hook::LeaveGroup, "sk"),
    ] {
        let symbol = Some(hook.function().to_owned());
        let function = Function {
            symbol,
            ..function(parameters)
        };
        features.functions.insert(hook.function(), function);
    }
    features.busy = Some(Busy::default());
    features
}

#[test]
fn a_plan_without_the_symbols_is_the_same_or_asks_for_them() {
    let base = with_all_hooks();
    let mut compared = 0;
    for (first, second) in HOOKS
        .iter()
        .flat_map(|a| HOOKS.iter().map(move |b| (*a, *b)))
    {
        for (one, other) in EVERY
            .iter()
            .flat_map(|a| EVERY.iter().map(move |b| (*a, *b)))
        {
            for (kprobes, most) in [(true, None), (false, None), (true, Some(6))] {
                let base = Features {
                    kprobes,
                    fentry_max_args: most,
                    ..base.clone()
                };
                let there = [(first, one), (second, other)];
                let (read, assumed) = read_and_assumed(&base, &there);
                for wanted in [None, Some(Mechanism::Fentry), Some(Mechanism::Kprobe)] {
                    let early = plan(&assumed, wanted);
                    if early.hangs_on_symbols(&assumed) || !attaches(&early, &read) {
                        continue;
                    }
                    let late = plan(&read, wanted);
                    assert_eq!(early, late, "{there:?} {kprobes} {most:?} {wanted:?}");
                    assert_eq!(early.busy(&assumed), late.busy(&read), "{there:?}");
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1000, "{compared}");
}

#[test]
fn a_member_leaves_its_group_by_the_function_that_the_kernel_has() {
    let features = with_all_hooks();
    let plan = plan(&features, None);
    assert_eq!(
        [Hook::LeaveGroup, Hook::DetachGroup].map(|hook| plan.mechanism(hook)),
        [Some(Mechanism::Fentry), None]
    );
    assert_eq!(plan.args(&features).leave_sk, ArgLoc(0));
    let before = linux_5_10();
    let places = self::plan(&before, Some(Mechanism::Kprobe)).args(&before);
    assert_eq!(
        (places.leave_sk, places.stop_sk),
        (ArgLoc(112), ArgLoc(112))
    );
}

#[test]
fn symbols_are_read_only_where_type_information_does_not_do() {
    let (_, complete) = read_and_assumed(&with_all_hooks(), &[]);
    let walks = [
        (Hook::Walk4, RenamedWithoutType),
        (Hook::Walk6, RenamedWithoutType),
    ];
    let (_, inlined) = read_and_assumed(&with_all_hooks(), &walks);
    for features in [complete, inlined] {
        assert!(!plan(&features, None).hangs_on_symbols(&features));
    }
    // Lookups by kprobe beside requests by fentry: where the kernel keeps what it skips.
    let (_, mixed) = read_and_assumed(&linux_5_10(), &[]);
    assert!(plan(&mixed, None).hangs_on_symbols(&mixed));
    let (read, _) = read_and_assumed(&linux_5_10(), &[]);
    assert!(!plan(&read, None).hangs_on_symbols(&read));
}
