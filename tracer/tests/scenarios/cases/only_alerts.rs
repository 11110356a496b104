//! Where only alerts are told.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::verdicts::{TIMES, a, b, host};
use crate::attempt::Attempt;
use crate::client::connect;
use crate::compare::compare;
use crate::context::{Context, LEGACY, Skip};
use crate::ledger::Ledger;
use crate::want::{Expect, Wants};

/// SYNs that are right take no room in the buffer, though nobody reads it; one that is wrong has
/// its event as ever.
pub(crate) fn counted_in_kernel(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    if cx.backend == LEGACY {
        return Err(Skip("these programs record every SYN".into()).into());
    }
    let cx = &cx.of_suspects();
    let _netns = host()?;
    let mut ledger = Ledger::default();
    let _b = ledger.start(b(1)?)?;
    let first_a = ledger.start(a(1)?)?;
    // Room for some twenty records.
    let trace = cx.trace(&["--buffer-size", "4096"])?;
    let visit = |times| -> Result<Vec<Attempt>> {
        let mut attempts = connect("6.6.6.6:80", times)?;
        attempts.extend(connect("127.0.0.1:80", times)?);
        attempts.extend(connect("6.6.6.6:99", times)?);
        Ok(attempts)
    };
    let mut attempts = visit(3)?;
    sleep(Duration::from_secs(2));
    trace.signal(Signal::SIGSTOP)?;
    attempts.extend(visit(10 * TIMES)?);
    trace.signal(Signal::SIGCONT)?;
    let mut wants = Wants::default();
    let shown = Expect {
        sequential: false,
        ..Expect::default()
    };
    wants.add_judged(&ledger, &attempts, &shown)?;
    ledger.stop(first_a)?;
    wants.add_judged(&ledger, &visit(5)?, &shown)?;
    let recorded = trace.finish()?;
    if recorded.events.len() != 5 {
        bail!("{} events instead of 5", recorded.events.len());
    }
    compare(cx, &recorded, &wants)
}

/// Only alerts, or only one verdict, are printed; the rest is filtered and accounted for.
pub(crate) fn only_alerts(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    cx.need_all()?;
    let _netns = host()?;
    let mut ledger = Ledger::default();
    let _b = ledger.start(b(1)?)?;
    let first_a = ledger.start(a(1)?)?;
    let alerts = cx.trace(&["--only-alerts"])?;
    let refusals = cx.trace(&["--verdict", "refused"])?;
    let more = cx.trace(&["--only-alerts", "--alert-on", "no_listener"])?;
    connect("6.6.6.6:80", 4)?;
    ledger.stop(first_a)?;
    let uncovered: Vec<Attempt> = connect("6.6.6.6:80", 5)?;
    // The kernel skips kprobes while a process there is in a system call on a map, and three
    // sockpicks take in what just came: of a refused SYN nobody could tell (ARCHITECTURE.md).
    sleep(Duration::from_millis(500));
    let refused = connect("6.6.6.6:99", 3)?;
    let mut wants = Wants::default();
    let shown = Expect {
        sequential: false,
        ..Expect::default()
    };
    wants.add_judged(&ledger, &uncovered, &shown)?;
    compare(cx, &alerts.finish()?, &wants)?;
    wants.add_judged(&ledger, &refused, &shown)?;
    compare(cx, &more.finish()?, &wants)?;
    let mut wants = Wants::default();
    wants.add_judged(&ledger, &refused, &shown)?;
    compare(cx, &refusals.finish()?, &wants)
}
