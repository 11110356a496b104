//! The scenarios. Each enters namespaces of its own, starts servers, traces, connects, and
//! compares; `all` lists them under the names they keep.

mod basic;
mod beside;
mod churn;
mod daemon;
mod descriptors;
mod dropped;
mod explain_cases;
mod explain_random;
mod explain_routes;
mod families;
mod faults;
mod flood;
mod groups;
mod handovers;
mod intruders;
mod listeners;
mod moved;
mod netfilter;
mod nginx;
mod nginx_quiet;
mod only_alerts;
mod owners;
mod packets;
mod quiet;
mod restarts;
mod scraper;
mod session;
mod soak;
mod steering;
mod surroundings;
mod systemd;
mod systemd_user;
mod verdicts;
mod volume;
mod wrong_btf;

use std::time::Duration;

use anyhow::Result;

use crate::attempt::Attempt;
use crate::compare::compare;
use crate::context::{AUTO, Context};
use crate::server::Server;
use crate::trace::Trace;
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// One scenario.
pub(crate) struct Scenario {
    /// Its name: stable.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) run: fn(&Context) -> Result<()>,
    /// How long it may take, in an emulated guest.
    pub(crate) limit: Duration,
    /// Does not depend on the backend: run with the first only.
    pub(crate) once: bool,
    /// Takes long for what a mixture of mechanisms adds to it: its lookups are those of one
    /// that runs by itself.
    pub(crate) not_mixed: bool,
    /// Runs only when its whole name is asked for.
    pub(crate) only_asked: bool,
    /// The smallest part that it is of.
    pub(crate) part: Part,
}

/// How much runs by a backend: the smaller part is in the larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// A handful, where neighbours of the kernel run the core by it.
    Smoke,
    /// Of each way to see a SYN, one, where neighbours of the kernel run everything by it.
    Core,
    Whole,
}

impl Scenario {
    /// Whether it runs with a backend, the how-manieth of the run.
    pub(crate) fn runs(&self, nth: usize, backend: &str) -> bool {
        (nth == 0 || !self.once) && !(self.not_mixed && backend == AUTO && nth > 0)
    }

    const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    const fn not_mixed(mut self) -> Self {
        self.not_mixed = true;
        self
    }

    const fn core(mut self) -> Self {
        self.part = Part::Core;
        self
    }

    const fn smoke(mut self) -> Self {
        self.part = Part::Smoke;
        self
    }

    /// The unit says by what it traces.
    const fn under_systemd(self) -> Self {
        self.only_asked().once()
    }

    const fn only_asked(mut self) -> Self {
        self.only_asked = true;
        self
    }
}

const fn within(seconds: u64, name: &'static str, run: fn(&Context) -> Result<()>) -> Scenario {
    Scenario {
        name,
        run,
        limit: Duration::from_secs(seconds),
        once: false,
        not_mixed: false,
        only_asked: false,
        part: Part::Whole,
    }
}

const fn case(name: &'static str, run: fn(&Context) -> Result<()>) -> Scenario {
    within(180, name, run)
}

/// All of them.
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = of_syns();
    all.extend(of_daemon());
    all.extend(of_commands());
    all
}

/// What is told of SYNs.
fn of_syns() -> Vec<Scenario> {
    vec![
        case("one_listener", basic::one_listener).core(),
        case("exact_and_wildcard", basic::exact_and_wildcard).core(),
        case("two_namespaces", basic::two_namespaces).core(),
        case("bind_to_device", basic::bind_to_device),
        case("refused", basic::refused).core(),
        case("ipv6", families::ipv6),
        case("dual_stack", families::dual_stack).smoke(),
        case("v4_mapped", families::v4_mapped),
        case("mptcp", families::mptcp),
        case("group_of_4", groups::group_of_4).smoke(),
        case("group_of_16", groups::group_of_16),
        case("group_cbpf", groups::group_cbpf).core(),
        case("group_sk_reuseport", groups::group_sk_reuseport).core(),
        case(
            "group_sk_reuseport_falls_back",
            groups::group_sk_reuseport_falls_back,
        ),
        case("group_sk_reuseport_drops", groups::group_sk_reuseport_drops),
        case("sk_lookup", steering::sk_lookup).smoke(),
        case("sk_lookup_drop", steering::sk_lookup_drop),
        case("steered_ports", steering::steered_ports),
        case("sk_assign", steering::sk_assign).core(),
        case("tproxy", netfilter::tproxy),
        case("tproxy_target_gone", netfilter::tproxy_target_gone).not_mixed(),
        case("nft_socket", netfilter::nft_socket),
        case("time_wait_reuse", packets::time_wait_reuse),
        case("syn_cookies", packets::syn_cookies).core(),
        case("cookie_handover", handovers::cookie_handover).core(),
        case("migrated", handovers::migrated).core(),
        case("stray_segments", packets::stray_segments),
        case("accept_queue", listeners::accept_queue),
        case("accept_overflow", handovers::accept_overflow).smoke(),
        case("not_taken", dropped::not_taken).not_mixed().core(),
        case("dropped_suspect", dropped::dropped_suspect).not_mixed(),
        within(300, "daemon_dropped", dropped::daemon_dropped),
        case("interrupted_program", beside::interrupted_program),
        within(300, "own_commands", beside::own_commands).once(),
        case("listeners_before_and_after", listeners::before_and_after),
        case("member_closes", listeners::member_closes),
        case("accepted_by_another", listeners::accepted_by_another).core(),
        case("no_accept", listeners::no_accept).once(),
        case("nginx_reload", nginx::reload).core(),
        within(300, "twenty_thousand", volume::twenty_thousand).not_mixed(),
        within(300, "smallest_buffer", volume::smallest_buffer)
            .not_mixed()
            .core(),
        case("passive", volume::passive),
        within(300, "kernel_filters", session::kernel_filters).not_mixed(),
        within(300, "other_filters", session::other_filters).once(),
        case("count_and_duration", session::count_and_duration).once(),
        case("closed_pipe", session::closed_pipe).once(),
        case("sigterm", session::sigterm),
        case("sigkill_leaves_nothing", session::sigkill_leaves_nothing).core(),
        case("seed_story", verdicts::seed_story).smoke(),
        case("dev_order_v4", verdicts::dev_order_v4).core(),
        case("dev_order_v6", verdicts::dev_order_v6),
        case("dual_stack_fallback", verdicts::dual_stack_fallback),
        case("dev_mismatch", verdicts::dev_mismatch),
        case("vrf_scope", verdicts::vrf_scope),
        case("two_namespaces_verdicts", verdicts::two_namespaces_verdicts),
        case(
            "configured_never_started",
            verdicts::configured_never_started,
        ),
        case("overlap_on_purpose", verdicts::overlap_on_purpose),
        case("sk_lookup_steals", verdicts::sk_lookup_steals),
        case("wrong_owner", verdicts::wrong_owner).core(),
        case("owners_churn", owners::owners_churn)
            .not_mixed()
            .core(),
        within(300, "bound_again", descriptors::bound_again).once(),
        case("many_descriptors", descriptors::many_descriptors).once(),
        within(300, "daemon_story", daemon::daemon_story).not_mixed(),
        within(300, "daemon_counts", daemon::daemon_counts).core(),
        within(300, "daemon_reload", daemon::daemon_reload).once(),
        within(300, "daemon_names", daemon::daemon_names).once(),
        within(300, "daemon_blind", daemon::daemon_blind).once(),
        case("moved", moved::moved).not_mixed(),
        case("only_alerts", only_alerts::only_alerts),
        case("counted_in_kernel", only_alerts::counted_in_kernel).smoke(),
        case("late_reader", restarts::late_reader),
        case("died_in_the_queue", restarts::died_in_the_queue),
        case("nginx_reloads_quiet", nginx_quiet::reloads).not_mixed(),
        within(7200, "nginx_hour", nginx_quiet::hour).only_asked(),
        within(100_000, "daemon_soak", soak::daemon_soak).only_asked(),
        within(7200, "daemon_quiet", quiet::daemon_quiet).only_asked(),
        within(300, "systemd_story", systemd::story).under_systemd(),
        within(300, "systemd_reload", systemd::reload).under_systemd(),
        within(300, "systemd_refused", systemd::refused).under_systemd(),
        within(300, "systemd_watchdog", systemd::watchdog).under_systemd(),
        within(300, "systemd_socket", systemd::socket).under_systemd(),
        within(300, "systemd_user", systemd_user::user).under_systemd(),
        within(300, "restarts_200", restarts::restarts_200).not_mixed(),
    ]
}

/// What becomes of the daemon in floods and when things go wrong.
fn of_daemon() -> Vec<Scenario> {
    vec![
        within(300, "daemon_disk_full", faults::daemon_disk_full).once(),
        within(300, "daemon_killed", faults::daemon_killed).once(),
        within(300, "daemon_clock", faults::daemon_clock).once(),
        case(
            "daemon_broken_configuration",
            faults::daemon_broken_configuration,
        )
        .once(),
        within(300, "daemon_namespaces", churn::daemon_namespaces).once(),
        within(300, "daemon_listeners", churn::daemon_listeners).once(),
        case("daemon_secrets", intruders::daemon_secrets).once(),
        case("daemon_unix_socket", intruders::daemon_unix_socket).once(),
        case("daemon_crowded", intruders::daemon_crowded).once(),
        within(300, "daemon_flood", flood::daemon_flood).once(),
        within(300, "daemon_flood_reload", flood::daemon_flood_reload).once(),
    ]
}

/// What the commands are asked otherwise.
fn of_commands() -> Vec<Scenario> {
    vec![
        within(300, "wrong_btf", wrong_btf::wrong_btf).once(),
        case("bad_arguments", surroundings::bad_arguments).once(),
        case("not_root", surroundings::not_root).once(),
        case("explain_cases", explain_cases::explain_cases).once(),
        case("explain_vrf", explain_cases::explain_vrf).once(),
        case("explain_routes", explain_routes::explain_routes).once(),
        case("explain_redirect", explain_routes::explain_redirect).once(),
        case("explain_link_local", explain_routes::explain_link_local).once(),
        within(300, "explain_random", explain_random::explain_random).once(),
    ]
}

/// The usual end: everything traced must be these attempts, each with whoever answered it.
fn check(
    cx: &Context,
    trace: Trace,
    servers: &[&Server],
    attempts: &[Attempt],
    expect: &Expect,
) -> Result<()> {
    let mut wants = Wants::default();
    wants.add(&Truth::of(servers), attempts, expect)?;
    compare(cx, &trace.finish()?, &wants)
}
