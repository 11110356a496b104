//! What stands in a message, and that it leads somewhere.

use std::{collections::BTreeSet, net::Ipv4Addr, sync::Arc};

use super::*;
use crate::alerts::{Found, Report};
use crate::event::{Endpoint, Owner, Time};

mod group;

const DOCUMENT: &str = include_str!("../../../../docs/verdicts.md");
const VERDICTS: [Verdict; 5] = [
    Verdict::Ok,
    Verdict::Misdirected,
    Verdict::Uncovered,
    Verdict::Steered,
    Verdict::Refused,
];

/// Each reason and the next one; the match has the compiler say what is missing.
fn next(reason: Reason) -> Option<Reason> {
    Some(match reason {
        Reason::RestartGap => Reason::LegacyOrder,
        Reason::LegacyOrder => Reason::DevOrder,
        Reason::DevOrder => Reason::DevMismatch,
        Reason::DevMismatch => Reason::VrfScope,
        Reason::VrfScope => Reason::DualStack,
        Reason::DualStack => Reason::OtherFamily,
        Reason::OtherFamily => Reason::CpuAffinity,
        Reason::CpuAffinity => Reason::WrongOwner,
        Reason::WrongOwner => Reason::OtherNetns,
        Reason::OtherNetns => Reason::NotListening,
        Reason::NotListening => Reason::NoListener,
        Reason::NoListener => Reason::BpfSkLookup,
        Reason::BpfSkLookup => Reason::SkAssign,
        Reason::SkAssign => Reason::Tproxy,
        Reason::Tproxy => Reason::ReuseportBpf,
        Reason::ReuseportBpf => Reason::Moved,
        Reason::Moved => Reason::AcceptOverflow,
        Reason::AcceptOverflow => Reason::NotTaken,
        Reason::NotTaken => Reason::CookieAck,
        Reason::CookieAck => Reason::Migrated,
        Reason::Migrated => Reason::Unknown,
        Reason::Unknown => return None,
    })
}

fn reasons() -> impl Iterator<Item = Option<Reason>> {
    let all = std::iter::successors(Some(Reason::RestartGap), |&reason| next(reason));
    std::iter::once(None).chain(all.map(Some))
}

/// A heading as its anchor: small, without marks, a hyphen for each blank.
fn anchored(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let small = heading.trim().to_lowercase();
    small
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

fn owners(pid: u32, comm: &str) -> Arc<[Owner]> {
    let comm = comm.to_owned();
    [Owner {
        pid,
        comm,
        ..Owner::default()
    }]
    .into()
}

fn alert(verdict: Verdict, reason: Option<Reason>) -> Alert {
    let at = |seconds: i64| Time((1_790_000_000 + seconds) * 1_000_000_000);
    let endpoint = |last, port| Endpoint {
        address: Ipv4Addr::new(6, 6, 6, last).into(),
        port,
    };
    Alert {
        identity: Identity::Syns(Situation {
            netns: "web".into(),
            verdict,
            reason,
            service: Some("A".into()),
            expected: Some("6.6.6.6:80".into()),
            listener: (verdict != Verdict::Refused).then(|| "*:80".into()),
        }),
        since: at(1),
        last: at(61),
        count: 17,
        evidence: Evidence::Syn(Sample {
            time: at(61),
            client: endpoint(9, 40300),
            destination: endpoint(6, 80),
            owners: owners(342, "nginx"),
            expected_owners: owners(191, "appA"),
            expected_closed: Some(at(0)),
            ifname: None,
        }),
        state: State::Firing,
    }
}

#[test]
fn owners_in_a_container_are_told_with_its_name() {
    let mut alert = alert(Verdict::Misdirected, Some(Reason::WrongOwner));
    let Evidence::Syn(sample) = &mut alert.evidence else {
        panic!("it is about SYNs")
    };
    let owner = Owner {
        container_name: Some("web".to_owned()),
        ..sample.owners[0].clone()
    };
    sample.owners = [owner].into();
    let message = Message::of(&alert);
    let held = "is held by nginx(342) in container web";
    assert!(message.title.ends_with(held), "{}", message.title);
    assert!(message.instead.contains(held), "{}", message.instead);
}

#[test]
fn every_anchor_is_a_heading() {
    let headings = DOCUMENT.lines().filter(|line| line.starts_with('#'));
    let anchors: BTreeSet<String> = headings
        .map(|line| anchored(line.trim_start_matches('#')))
        .collect();
    assert!(anchors.contains("after-the-syn"), "{anchors:?}");
    for verdict in VERDICTS {
        for reason in reasons() {
            let anchor = anchor(verdict, reason);
            assert!(anchors.contains(anchor), "{verdict:?} {reason:?}: {anchor}");
        }
    }
}

#[test]
fn every_message_is_whole_sentences() {
    for verdict in VERDICTS {
        for reason in reasons() {
            let message = Message::of(&alert(verdict, reason));
            let lines = [
                &message.what,
                &message.whom,
                &message.instead,
                &message.why,
                &message.remedy,
            ];
            for line in lines {
                assert!(line.ends_with(['.', '?']) && !line.contains('\n'), "{line}");
            }
            assert!(
                message.title.contains("A (6.6.6.6:80)"),
                "{}",
                message.title
            );
            assert_eq!(message.over, None);
        }
    }
}

#[test]
fn a_restart_gap_is_told_so_that_one_can_act() {
    let mut alert = alert(Verdict::Uncovered, Some(Reason::RestartGap));
    let message = Message::of(&alert);
    assert_eq!(
        message.title,
        "UNCOVERED: *:80 gets SYNs for A (6.6.6.6:80)"
    );
    assert_eq!(
        message.text(),
        "SYNs for A (6.6.6.6:80) find no listener of their own: another takes them, and clients \
         get its answer.\n\
         It concerns A (6.6.6.6:80) in namespace web, since 2026-09-21 14:13:21 UTC: 17 SYNs so \
         far, the last at 2026-09-21 14:14:21 UTC from 6.6.6.9:40300 to 6.6.6.6:80.\n\
         They were given to *:80, which is held by nginx(342).\n\
         The cause is restart_gap: closed, not back; 6.6.6.6:80 closed at 2026-09-21 14:13:20 \
         UTC, held by appA(191).\n\
         Start the service again. To have no gap at its next restart, keep its listener open \
         (socket activation, or handing the socket over), or bind the wildcard service to its own \
         addresses.\n\
         More: docs/verdicts.md#restart_gap"
    );
    alert.state = State::Resolved {
        at: alert.last,
        why: Resolution::Recovered,
    };
    let message = Message::of(&alert);
    assert_eq!(
        message.title,
        "over: UNCOVERED: *:80 gets SYNs for A (6.6.6.6:80)"
    );
    let text = message.text();
    let begins = "It is over since 2026-09-21 14:14:21 UTC: a SYN was given to the listener that \
                  is right for it; 17 SYNs in all.\nUntil then: SYNs for A (6.6.6.6:80) find";
    assert!(text.starts_with(begins), "{text}");
    assert!(!text.contains("Start the service"), "{text}");
}

#[test]
fn where_the_way_decided_it_is_told() {
    let mut alert = alert(Verdict::Uncovered, Some(Reason::DevMismatch));
    if let Evidence::Syn(sample) = &mut alert.evidence {
        sample.expected_closed = None;
        sample.ifname = Some("blue".into());
    }
    assert_eq!(
        Message::of(&alert).why,
        "The cause is dev_mismatch: bound to another device; 6.6.6.6:80 is held by appA(191); the \
         last one came through blue."
    );
}

#[test]
fn the_wrong_owner_is_named_at_once() {
    let alert = alert(Verdict::Misdirected, Some(Reason::WrongOwner));
    assert_eq!(
        Message::of(&alert).title,
        "MISDIRECTED: A (6.6.6.6:80) is held by nginx(342)"
    );
}

#[test]
fn a_name_does_not_end_a_line() {
    let mut alert = alert(Verdict::Uncovered, None);
    if let Identity::Syns(situation) = &mut alert.identity {
        situation.service = Some("A\nRESOLVED\u{1b}[2J".into());
    }
    let message = Message::of(&alert);
    let is_plain = |text: &str| !text.contains(char::is_control);
    assert!(is_plain(&message.title) && is_plain(&message.what) && is_plain(&message.whom));
}

#[test]
fn the_overflow_says_how_much_is_not_told() {
    let mut alert = alert(Verdict::Uncovered, None);
    alert.identity = Identity::Overflow;
    let message = Message::of(&alert);
    assert_eq!(
        message.title,
        "TOO MANY ALERTS: 17 SYNs went wrong without one of their own"
    );
    assert_eq!(message.docs, PAGE);
}

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

#[test]
fn blindness_says_what_may_be_missing_and_what_to_do() {
    let mut alert = alert(Verdict::Ok, None);
    alert.identity = Identity::Blind;
    alert.evidence = Evidence::Check("the SYN of its own connection was not seen".into());
    alert.count = 3;
    let message = Message::of(&alert);
    assert_eq!(
        message.title,
        "BLIND: sockpick does not see what reaches this host"
    );
    assert_eq!(
        message.text(),
        "sockpick does not see its own connection, and may see no other: that nothing is told \
         means nothing.\n\
         It concerns all SYNs to this host since 2026-09-21 14:13:21 UTC, and those after the \
         self-check before that: 3 self-checks failed so far, the last at 2026-09-21 14:14:21 \
         UTC.\n\
         Who was given SYNs meanwhile is not known, nor can it be found out later.\n\
         The last self-check failed: the SYN of its own connection was not seen.\n\
         Run sockpick doctor on this host, which says what stands in the way; if it finds \
         nothing, restart the daemon, which attaches anew.\n\
         More: docs/operations.md#is-it-well"
    );
    alert.state = State::Resolved {
        at: alert.last,
        why: Resolution::Recovered,
    };
    let text = Message::of(&alert).text();
    let begins = "It is over since 2026-09-21 14:14:21 UTC: a self-check passed; 3 self-checks \
                  failed in all.\nUntil then: sockpick does not see";
    assert!(text.starts_with(begins), "{text}");
    let headings = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("## "));
    let mut anchors = headings.map(anchored);
    let (_, anchor) = message.docs.split_once('#').expect("an anchor");
    assert!(anchors.any(|heading| heading == anchor), "{anchor}");
}

const AUDIT: &str = include_str!("../../../../docs/audit.md");

fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| anchored(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn a_host_that_cannot_be_traced_is_told_with_its_cause() {
    let mut alert = alert(Verdict::Ok, None);
    alert.identity = Identity::Untraced;
    alert.evidence = Evidence::Check("lockdown forbids it. Run as root.".into());
    alert.count = 1;
    let message = Message::of(&alert);
    assert!(message.title.starts_with("NOT TRACING: "), "{message:?}");
    assert_eq!(message.why, "The cause: lockdown forbids it. Run as root.");
    assert!(message.remedy.contains("sockpick doctor"), "{message:?}");
    let (_, anchor) = message.docs.split_once('#').expect("an anchor");
    let anchors = anchors(OPERATIONS);
    assert!(anchors.iter().any(|heading| heading == anchor), "{anchor}");
    alert.state = State::Resolved {
        at: alert.last,
        why: Resolution::Recovered,
    };
    let text = Message::of(&alert).text();
    let begins = "It is over since 2026-09-21 14:14:21 UTC: this host is traced; 1 start without \
                  tracing in all.\n";
    assert!(text.starts_with(begins), "{text}");
}

#[test]
fn a_finding_has_its_own_cause_and_remedy() {
    let mut alert = alert(Verdict::Ok, None);
    alert.count = 3;
    alert.evidence = Evidence::Finding(Report {
        places: "6.6.6.6:80 and *:80".into(),
        cause: "Both fit\nthe same packets.".into(),
        remedy: "Bind one elsewhere.".into(),
    });
    let anchors = anchors(AUDIT);
    for rule in crate::audit::Kind::ALL {
        alert.identity = Identity::Finding(Found {
            id: format!("{rule}-0123abcd"),
            rule,
            severity: crate::audit::Severity::Warning,
            netns: "web".into(),
        });
        let (_, anchor) = Message::of(&alert).docs.split_once('#').map_or_else(
            || panic!("no anchor"),
            |(page, anchor)| (page.to_owned(), anchor.to_owned()),
        );
        assert!(anchors.contains(&anchor), "{anchor}");
    }
    let message = Message::of(&alert);
    assert_eq!(message.title, "EVIDENCE: 6.6.6.6:80 and *:80");
    assert_eq!(message.what, "Both fit\u{fffd}the same packets.");
    let whom = "It concerns 6.6.6.6:80 and *:80 in namespace web, since 2026-09-21 14:13:21 UTC: \
                seen at 3 looks so far, the last at 2026-09-21 14:14:21 UTC.";
    assert_eq!(message.whom, whom);
    assert_eq!(message.remedy, "Bind one elsewhere.");
}
