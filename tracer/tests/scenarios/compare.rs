//! Compares what sockpick said with what the servers say, one to one.

mod handovers;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;

use anyhow::Result;

use crate::alerts;
use crate::context::{Context, Failure};
use crate::event::{Event, Listener};
use crate::ledger::{WantVerdict, is_alert};
use crate::trace::Recorded;
use crate::want::{AcceptedBy, Want, WantGroup, WantListener, Wants};
use handovers::handovers;

/// Differences shown before "and so many more".
const SHOWN: usize = 10;
/// Lines shown of what sockpick said on stderr.
const LAST_WORDS: usize = 30;

/// Fails unless the recording says exactly what is wanted.
pub(crate) fn compare(cx: &Context, recorded: &Recorded, wants: &Wants) -> Result<()> {
    if cx.ground_truth {
        show(wants);
        return Ok(());
    }
    let mut problems = Vec::new();
    for lost in &recorded.lost {
        problems.push(format!("{} events lost ({})", lost.lost, lost.stage));
    }
    let mut missing = Vec::new();
    let alerts;
    let wants = if cx.suspects {
        if let Some(counted) = recorded.counted
            && counted != wants.all.len() as u64
        {
            problems.push(format!("{counted} SYNs counted, of {}", wants.all.len()));
        }
        alerts = wants.alerts(recorded);
        &alerts
    } else {
        wants
    };
    let pairs = pair(recorded, wants, &mut problems, &mut missing);
    for (want, event) in &pairs {
        let said = differences(cx, want, event);
        if !said.is_empty() {
            let attempt = &want.attempt;
            let head = format!("{} -> {}", attempt.client, attempt.destination);
            problems.push(format!("{head}: {}", said.join("; ")));
        }
    }
    consistent(&pairs, &mut problems);
    handovers(recorded, &wants.handovers, &mut problems);
    // Last: they say the least about what went wrong.
    problems.append(&mut missing);
    verdict(problems, recorded, wants.all.len())
}

/// Fails with these problems, if there are any.
pub(crate) fn verdict(problems: Vec<String>, recorded: &Recorded, attempts: usize) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let events = recorded.events.len();
    let message = format!(
        "{} differences; {attempts} connection attempts, {events} events",
        problems.len()
    );
    let more = problems.len().saturating_sub(SHOWN);
    let mut details: Vec<String> = problems.into_iter().take(SHOWN).collect();
    if more > 0 {
        details.push(format!("and {more} more"));
    }
    let said = &recorded.stderr[recorded.stderr.len().saturating_sub(LAST_WORDS)..];
    details.extend(said.iter().map(|line| format!("sockpick said: {line}")));
    Err(Failure { message, details }.into())
}

/// Finds the one event of each attempt; notes what is missing, twice there or unasked for.
fn pair<'a>(
    recorded: &'a Recorded,
    wants: &'a Wants,
    problems: &mut Vec<String>,
    missing: &mut Vec<String>,
) -> Vec<(&'a Want, &'a Event)> {
    let mut events: HashMap<_, Vec<&Event>> = HashMap::new();
    for event in &recorded.events {
        events.entry(event.key()).or_default().push(event);
    }
    let mut pairs = Vec::new();
    for want in &wants.all {
        let attempt = &want.attempt;
        let all = events.entry(attempt.key()).or_default();
        // The same client port may be used again later: then the time tells.
        let during = attempt.began_ns..=attempt.ended_ns;
        let (mine, others): (Vec<&Event>, Vec<&Event>) = all
            .drain(..)
            .partition(|event| during.contains(&event.ktime_ns));
        match mine.as_slice() {
            [event] => pairs.push((want, *event)),
            mine => {
                if want
                    .verdict
                    .any_of
                    .iter()
                    .all(|(verdict, _)| is_alert(verdict))
                {
                    alerts::missed();
                }
                missing.push(format!(
                    "{} -> {} ({:?}): {} events in its time, {} at other times, instead of one",
                    attempt.client,
                    attempt.destination,
                    attempt.outcome,
                    mine.len(),
                    others.len()
                ));
            }
        }
        *all = others;
    }
    for event in events.values().flatten() {
        problems.push(format!("nobody connected, yet: {event:?}"));
    }
    pairs
}

/// Collects what differs between a wanted and a seen value.
struct Differences(Vec<String>);

impl Differences {
    fn check<A, B>(&mut self, field: &str, wanted: A, said: B)
    where
        A: PartialEq<B> + Copy + Debug,
        B: Copy + Debug,
    {
        if wanted != said {
            self.0.push(format!("{field} is {wanted:?}, said {said:?}"));
        }
    }
}

fn differences(cx: &Context, want: &Want, event: &Event) -> Vec<String> {
    let mut all = Differences(Vec::new());
    all.check("schema", 1, event.schema);
    all.check("backend", cx.event_backend(), event.backend.as_str());
    all.check("match", want.matched, &event.matched);
    all.check("via", want.via, &event.via);
    verdict_of(&mut all, &want.verdict, event);
    steered_by(&mut all, want, event);
    all.check("ifindex", want.interface.0, event.ifindex);
    let name = event.ifname.as_deref();
    // The name is known wherever sockpick knows a process of that namespace.
    if name.is_some() || want.listener.is_some() {
        all.check("ifname", Some(want.interface.1.as_str()), name);
    }
    if want.netns_name.is_some() {
        all.check("netns.name", &want.netns_name, &event.netns.name);
    }
    if !well_formed(&event.time) {
        all.0.push(format!("time is {}", event.time));
    }
    match (&want.listener, &event.listener) {
        (Some(want), Some(said)) => {
            listener(&mut all, want, said);
            let mut wanted = want.group.clone();
            if let Some(group) = &mut wanted
                && !cx.knows_programs()
            {
                // Measured structures do not include the program's.
                group.program_id = None;
            }
            group(&mut all, wanted.as_ref(), event);
        }
        (None, None) => {}
        (want, said) => {
            let inode = |i: Option<u64>| i.map_or("none".into(), |i| i.to_string());
            let want = inode(want.as_ref().map(|want| want.socket.inode));
            let said = said
                .as_ref()
                .map_or("none".into(), |said| inode(said.inode));
            all.0.push(format!("listener is {want}, said {said}"));
        }
    }
    all.0
}

/// Verdict, reason, and who is expected.
fn verdict_of(all: &mut Differences, want: &WantVerdict, event: &Event) {
    alerts::count(want, &event.verdict);
    let reason = event.reason.as_deref();
    let fits = |(verdict, because): &(&str, Option<&str>)| {
        *verdict == event.verdict && (because.is_none() || *because == reason)
    };
    if !want.any_of.iter().any(fits) {
        let said = (&event.verdict, reason);
        all.0.push(format!(
            "verdict is one of {:?}, said {said:?}",
            want.any_of
        ));
    }
    // Of what is ok, only a SYN that was dropped has a reason, or one that a service took
    // elsewhere than before.
    let full = |listener: &Listener| listener.queue.length > listener.queue.limit;
    let with_ok = |word| want.any_of.contains(&("ok", Some(word))) && reason == Some(word);
    let moved = with_ok("moved");
    let dropped = event.verdict == "ok" && event.listener.as_ref().is_some_and(full);
    if dropped {
        all.check("reason", Some("accept_overflow"), reason);
    } else if !moved && !with_ok("not_taken") && (event.verdict == "ok") != reason.is_none() {
        all.0
            .push(format!("{} has the reason {reason:?}", event.verdict));
    }
    let refused = !want.expected.is_empty() && event.verdict == "refused";
    if !is_alert(&event.verdict) && !refused && !moved {
        return;
    }
    let service = event.expected.as_ref().and_then(|e| e.service.as_deref());
    all.check("expected.service", want.service, service);
    let listener = event.expected.as_ref().and_then(|e| e.listener.as_ref());
    let closed = listener.and_then(|listener| listener.closed.as_deref());
    // Both are UTC with nanoseconds.
    if closed.is_some_and(|closed| closed > event.time.as_str()) {
        all.0
            .push(format!("closed at {closed:?}, after {}", event.time));
    }
    let inode = listener.and_then(|listener| listener.inode);
    let named = inode.is_some_and(|inode| want.expected.contains(&inode));
    let nobody = want.expected.is_empty() && listener.is_none();
    if !named && !nobody {
        all.0.push(format!(
            "expected listener is one of {:?}, said {inode:?}",
            want.expected
        ));
    }
}

/// What a program chose names it; nothing else names any.
fn steered_by(all: &mut Differences, want: &Want, event: &Event) {
    let said = event.steered_by.iter().flatten();
    let said: Vec<u32> = said.map(|program| program.id).collect();
    let by_program = ["sk_lookup", "sk_assign"].contains(&want.via);
    let right = match want.steered_by {
        Some(program) => said == [program],
        None => by_program != said.is_empty(),
    };
    if !right {
        let wanted = want.steered_by;
        all.0
            .push(format!("steered_by is {wanted:?}, said {said:?}"));
    }
}

/// RFC 3339 in UTC with nanoseconds.
fn well_formed(time: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    time.len() == "2026-01-01T00:00:00.000000000Z".len()
        && time.ends_with('Z')
        && time.as_bytes()[10] == b'T'
        && time.get(20..29).is_some_and(digits)
        && time.get(..4).is_some_and(digits)
}

fn listener(all: &mut Differences, want: &WantListener, said: &Listener) {
    let socket = &want.socket;
    all.check("listener.inode", Some(socket.inode), said.inode);
    let (address, port) = (socket.address.ip(), socket.address.port());
    all.check(
        "listener.address",
        address.to_canonical(),
        said.address.to_canonical(),
    );
    all.check("listener.port", port, said.port);
    all.check("listener.family", socket.family(), &said.family);
    all.check("listener.v6only", socket.v6only, said.v6only);
    all.check(
        "listener.device",
        socket.device.as_ref(),
        said.device.as_ref(),
    );
    all.check("listener.queue.limit", socket.backlog, said.queue.limit);
    if let Some(length) = want.queue {
        all.check("listener.queue.length", length, said.queue.length);
    }
    let mut owners: Vec<u32> = said.owners.iter().map(|owner| owner.pid).collect();
    if owners.is_empty() {
        // It had ended, and closed with it, before anybody could look.
        owners.extend(said.opened_by.iter().map(|process| process.pid));
    }
    if let Some(missing) = want.owners.iter().find(|pid| !owners.contains(pid)) {
        all.0
            .push(format!("process {missing} is not among owners {owners:?}"));
    }
    for owner in said.owners.iter().filter(|owner| owner.pid == socket.pid) {
        all.check("owner's comm", socket.name.as_str(), &owner.comm);
        if owner
            .exe
            .as_deref()
            .is_some_and(|exe| !exe.starts_with('/'))
        {
            all.0.push(format!("owner's exe is {:?}", owner.exe));
        }
    }
    if want.accepted_by != AcceptedBy::Unknown {
        let said = said.accepted_by.as_ref();
        let said = said.map_or(AcceptedBy::Nobody, |process| {
            AcceptedBy::Process(process.pid)
        });
        all.check("listener.accepted_by", want.accepted_by, said);
    }
}

fn group(all: &mut Differences, want: Option<&WantGroup>, event: &Event) {
    match (want, event.reuseport) {
        (Some(want), Some(said)) => {
            all.check("reuseport.size", want.size, said.size);
            all.check("reuseport.member", Some(want.member), said.member);
            all.check("reuseport.program_id", want.program_id, said.program_id);
        }
        (want, said) => all.check("reuseport", want.is_some(), said.is_some()),
    }
}

/// What must hold between events: one id for one listener, one number for one group.
fn consistent(pairs: &[(&Want, &Event)], problems: &mut Vec<String>) {
    let ids = pairs.iter().filter_map(|(want, event)| {
        let socket = &want.listener.as_ref()?.socket;
        Some((socket.inode, event.listener.as_ref()?.id.clone()))
    });
    one_to_one("listener.id", ids, problems);
    let groups = pairs.iter().filter_map(|(want, event)| {
        let group = want.listener.as_ref()?.group.as_ref()?;
        Some((group.key.clone(), event.reuseport?.group))
    });
    one_to_one("reuseport.group", groups, problems);
}

fn one_to_one<A, B>(field: &str, pairs: impl Iterator<Item = (A, B)>, problems: &mut Vec<String>)
where
    A: Clone + Debug + Eq + Hash,
    B: Clone + Debug + Eq + Hash,
{
    let (mut forth, mut back) = (HashMap::new(), HashMap::new());
    for (a, b) in pairs {
        let first = forth.entry(a.clone()).or_insert_with(|| b.clone());
        if *first != b {
            problems.push(format!("{field} of {a:?} was {first:?}, then {b:?}"));
        }
        let first = back.entry(b.clone()).or_insert_with(|| a.clone());
        if *first != a {
            problems.push(format!("{field} {b:?} names both {first:?} and {a:?}"));
        }
    }
}

/// Without sockpick: shows what it would have to say.
fn show(wants: &Wants) {
    for want in &wants.all {
        let attempt = &want.attempt;
        let listener = want.listener.as_ref().map_or("none".to_owned(), |l| {
            let group = l.group.as_ref();
            let member = group.map(|g| format!(", member {}/{}", g.member, g.size));
            format!(
                "{} inode {} on {}{}, owners {:?}, last accepted by {:?}",
                l.socket.name,
                l.socket.inode,
                l.socket.address,
                member.unwrap_or_default(),
                l.owners,
                l.accepted_by
            )
        });
        println!(
            "{} -> {}  {}/{}  {listener}",
            attempt.client, attempt.destination, want.matched, want.via
        );
    }
}
