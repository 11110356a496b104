//! Hand-overs, compared with who accepted.

use super::Differences;
use crate::event::Handover;
use crate::trace::Recorded;
use crate::want::WantHandover;

/// Each hand-over that is wanted is said once, and no other.
pub(super) fn handovers(recorded: &Recorded, wants: &[WantHandover], problems: &mut Vec<String>) {
    let mut said: Vec<&Handover> = recorded.handovers.iter().collect();
    for want in wants {
        let key = want.attempt.key();
        let (mine, others) = said.into_iter().partition(|one| one.key() == key);
        said = others;
        let mut mine: Vec<&Handover> = mine;
        if mine.len() > 1 {
            // The same client port may be used again later: then the time tells.
            let during = want.attempt.began_ns..=want.attempt.ended_ns;
            let later;
            (mine, later) = mine
                .into_iter()
                .partition(|one| during.contains(&one.ktime_ns));
            said.extend::<Vec<&Handover>>(later);
        }
        let head = format!("hand-over {} -> {}", key.1, key.2);
        let [one] = mine.as_slice() else {
            problems.push(format!("{head}: said {} times", mine.len()));
            continue;
        };
        let mut all = Differences(Vec::new());
        all.check("handover", want.why, one.why.as_str());
        all.check("listener.inode", Some(want.inode), one.listener.inode);
        let verdict = (one.verdict.as_str(), one.reason.as_str());
        all.check("verdict", want.verdict, verdict);
        let expected = one.expected.as_ref().and_then(|e| e.listener.as_ref());
        all.check(
            "expected",
            want.expected,
            expected.and_then(|other| other.inode),
        );
        let mut events = recorded.events.iter().filter(|event| event.key() == key);
        let syn = events.find(|event| event.inode() == Some(want.syn));
        let id = syn.and_then(|event| Some(&event.listener.as_ref()?.id));
        all.check("syn_listener", id, one.syn_listener.as_ref());
        if !all.0.is_empty() {
            problems.push(format!("{head}: {}", all.0.join("; ")));
        }
    }
    for one in said {
        problems.push(format!("not handed over, yet: {one:?}"));
    }
}
