//! The answer for people, in at most 120 columns.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

use super::answer::{Answer, Asked, Listener, Reuseport, Told};
use crate::{
    event::{Match, Netns, Via},
    judge::{
        explain::{Outcome, Rule},
        rules::Ranking,
    },
    netfilter::Action,
    words::{self, printable},
};

/// Widest output.
const COLUMNS: usize = 120;
/// Columns of the labels at the left.
const LABEL: usize = 6;
/// Most columns for owners in the list.
const OWNER: usize = 34;

/// Writes the answer; namespaces other than `own` (an inode number) are named.
pub(crate) fn write(out: &mut impl Write, answer: &Answer, own: Option<u32>) -> io::Result<()> {
    let elsewhere = (own != Some(answer.netns.inode)).then(|| namespace(&answer.netns));
    let place = elsewhere.map_or_else(String::new, |name| format!(", netns {name}"));
    labelled(
        out,
        "SYN",
        &format!(
            "{} → {} through {}{place}",
            answer.client,
            answer.destination,
            printable(&answer.ifname)
        ),
    )?;
    labelled(out, "gets", &gets(answer))?;
    labelled(out, "by", &by(answer.rule, answer.matched, answer.via))?;
    for other in &answer.otherwise {
        let gets = got(
            other.listener.as_ref(),
            other.reuseport.as_ref(),
            other.certain,
        );
        let by = by(other.rule, other.matched, other.via);
        let text = format!("through {}: {gets}; {by}", printable(&other.ifname));
        labelled(out, "else", &text)?;
    }
    labelled(out, "how", &how(answer))?;
    for note in &answer.notes {
        labelled(out, "note", note)?;
    }
    list(out, answer)
}

fn how(answer: &Answer) -> String {
    match answer.asked {
        _ if answer.rule == Rule::NotLocal => "asked the routing table".to_owned(),
        Asked::Kernel => "asked the kernel".to_owned(),
        Asked::Rules => {
            let because = answer.because.as_deref().unwrap_or_default();
            let rules = match answer.ranking {
                Ranking::AddressFirst => "the address first, then any",
                Ranking::PortChain => "one chain per port, as before Linux 5.0",
            };
            format!("by the rules of this kernel ({rules}), because {because}")
        }
    }
}

/// A label and a text, wrapped beside it.
fn labelled(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    let mut label = label;
    let mut rest = text;
    while !rest.is_empty() {
        let room = COLUMNS - LABEL;
        let end = match rest.char_indices().nth(room) {
            None => rest.len(),
            Some((most, _)) => rest[..most].rfind(' ').unwrap_or(most),
        };
        writeln!(out, "{label:LABEL$}{}", &rest[..end])?;
        rest = rest[end..].trim_start();
        label = "";
    }
    Ok(())
}

fn gets(answer: &Answer) -> String {
    if answer.rule == Rule::NotLocal {
        let destination = answer.destination.address;
        return format!("nothing: {destination} is not local here");
    }
    let got = got(
        answer.listener.as_ref(),
        answer.reuseport.as_ref(),
        answer.certain,
    );
    if answer.translations.is_empty() {
        return got;
    }
    let takes = answer.translations.iter();
    let takes = takes.map(|rule| rule.action == Action::Tproxy);
    let may = match (
        takes.clone().any(|takes| takes),
        takes.clone().all(|takes| takes),
    ) {
        (_, true) => "take it",
        (true, _) => "change its destination or take it",
        (false, _) => "change its destination",
    };
    format!("if it comes to the lookup as it is (rules of netfilter may {may} before): {got}")
}

fn got(listener: Option<&Listener>, reuseport: Option<&Reuseport>, certain: bool) -> String {
    let Some(listener) = listener else {
        return "nothing: the client is refused with a reset".to_owned();
    };
    let mut text = bound(listener);
    if let Some(group) = reuseport {
        let size = group.size;
        // Writing to a string does not fail, here and below.
        let _ = match group.member {
            Some(member) => write!(text, ", member [{member}]/{size} of a reuseport group"),
            None if certain => write!(text, ", in a reuseport group of {size}"),
            None => write!(text, ", a member of its reuseport group of {size}"),
        };
    }
    if let Some(inode) = listener.inode {
        let _ = write!(text, ", inode {inode}");
    }
    match listener.inode {
        _ if !listener.owners.is_empty() => {
            text += ", held by ";
            text += &owner(listener);
        }
        _ if listener.in_kernel => text += ", held by the kernel",
        // Of any of a group nothing is said.
        None => {}
        Some(_) => text += ", holder not known",
    }
    text
}

fn by(rule: Rule, matched: Match, via: Via) -> String {
    let rule = match rule {
        Rule::NotLocal => return "the routing table, before any listener is looked up".to_owned(),
        Rule::NoListener => return "no listener there takes it".to_owned(),
        Rule::OnlyOne => "no other listener takes it",
        Rule::Address => "it is bound to that very address, which beats any address",
        Rule::Device => "it is bound to the interface",
        Rule::Family => "an IPv4 socket beats an IPv6 one for an IPv4 packet",
        Rule::Order => "it stands first in the kernel's chain; order of start decides",
        Rule::SkLookup => "an sk_lookup program chose",
        Rule::Unexplained => "something counts that is not visible from outside",
    };
    let via = via.word();
    let matched = matched.word();
    format!("{rule} ({matched} {via})")
}

fn list(out: &mut impl Write, answer: &Answer) -> io::Result<()> {
    let rows: Vec<[String; 5]> = answer.candidates.iter().map(row).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let titles = ["LISTENER", "INODE", "SCORE", "OWNER", "WHY"].map(ToOwned::to_owned);
    let mut widths = [0; 5];
    for row in rows.iter().chain([&titles]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let picked = |at: usize| {
        matches!(
            answer.candidates[at].outcome,
            Outcome::Picked | Outcome::PickedGroup
        )
    };
    writeln!(out)?;
    let marks =
        std::iter::once(" ").chain((0..rows.len()).map(|at| if picked(at) { ">" } else { " " }));
    for (mark, row) in marks.zip(std::iter::once(&titles).chain(&rows)) {
        let mut line = mark.to_owned();
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            let gap = if index == 0 { " " } else { "  " };
            line += gap;
            line += cell;
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn row(told: &Told) -> [String; 5] {
    let listener = &told.listener;
    let dash = || "-".to_owned();
    [
        bound(listener),
        listener.inode.map_or_else(dash, |inode| inode.to_string()),
        told.score.map_or_else(dash, |score| score.to_string()),
        shortened(&owner(listener)),
        why(told.outcome).to_owned(),
    ]
}

fn why(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Picked => "gets it",
        Outcome::PickedGroup => "it or another of this group gets it",
        Outcome::OtherMember => "the hash chose another of this group",
        Outcome::Steered => "an sk_lookup program chose",
        Outcome::LessSpecific => "any address is less specific",
        Outcome::LowerScore => "lower score",
        Outcome::LaterInChain => "as good, but later in the chain",
        Outcome::Overtaken => "better, but one before it answered",
        Outcome::Unexplained => "for a reason not visible from outside",
        Outcome::Device => "not bound to this interface",
        Outcome::Ipv6Only => "takes IPv6 only (IPV6_V6ONLY)",
        Outcome::Ipv4Only => "takes IPv4 only",
        Outcome::VrfScope => "not bound to the VRF",
        Outcome::NotLocal => "no SYN for that address gets here",
    }
}

fn bound(listener: &Listener) -> String {
    words::bound_at(listener.address, listener.port, listener.device.as_deref())
}

fn owner(listener: &Listener) -> String {
    match listener.owners.first() {
        Some(first) => {
            let place = words::place(first);
            let text = format!("{} {place}", words::owners(&listener.owners));
            text.trim_end().to_owned()
        }
        None if listener.in_kernel => words::KERNEL.to_owned(),
        // Any of a group.
        None if listener.inode.is_none() => "-".to_owned(),
        None => words::UNKNOWN.to_owned(),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= OWNER {
        return text.to_owned();
    }
    text.chars().take(OWNER - 1).chain(['…']).collect()
}

fn namespace(netns: &Netns) -> Cow<'_, str> {
    match &netns.name {
        Some(name) => printable(name),
        None => Cow::Owned(netns.inode.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Endpoint, SCHEMA},
        explain::answer::Translation,
    };

    fn answer(rule: Rule, actions: &[Action]) -> Answer {
        let endpoint = |text: &str| Endpoint {
            address: text.parse().expect("an address"),
            port: 80,
        };
        let translation = |&action: &Action| Translation {
            place: "nftables chain ip nat prerouting".to_owned(),
            action,
            to: None,
            names_port: true,
        };
        Answer {
            schema: SCHEMA,
            netns: Arc::new(Netns {
                inode: 1,
                cookie: None,
                name: None,
            }),
            client: endpoint("192.0.2.1"),
            destination: endpoint("6.6.6.6"),
            ifindex: 1,
            ifname: "eth0".to_owned(),
            local: None,
            asked: Asked::Kernel,
            because: None,
            ranking: Ranking::AddressFirst,
            certain: true,
            rule,
            matched: Match::None,
            via: Via::Lookup,
            listener: None,
            reuseport: None,
            otherwise: Vec::new(),
            translations: actions.iter().map(translation).collect(),
            sk_lookup_programs: Vec::new(),
            candidates: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn the_first_line_is_for_what_comes_to_the_lookup_where_rules_may_act_before() {
        let says = |actions: &[Action]| gets(&answer(Rule::NoListener, actions));
        assert_eq!(says(&[]), "nothing: the client is refused with a reset");
        for (actions, may) in [
            (
                &[Action::Dnat] as &[Action],
                "may change its destination before",
            ),
            (&[Action::Tproxy], "may take it before"),
            (
                &[Action::Redirect, Action::Tproxy],
                "may change its destination or take it before",
            ),
        ] {
            let said = says(actions);
            assert!(
                said.starts_with("if it comes to the lookup as it is"),
                "{said}"
            );
            assert!(said.contains(may) && said.ends_with("a reset"), "{said}");
        }
    }

    #[test]
    fn who_was_asked_is_who_decided() {
        let not_local = answer(Rule::NotLocal, &[]);
        assert_eq!(how(&not_local), "asked the routing table");
        assert_eq!(how(&answer(Rule::NoListener, &[])), "asked the kernel");
    }
}
