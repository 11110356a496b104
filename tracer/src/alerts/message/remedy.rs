//! What to do about an alert, and where more is written of it.

use crate::event::{Reason, Verdict};

/// Anchor of the heading in `docs/verdicts.md` under which such an alert is explained.
#[must_use]
pub(super) fn anchor(verdict: Verdict, reason: Option<Reason>) -> &'static str {
    let Some(reason) = reason.filter(|_| verdict != Verdict::Steered) else {
        return verdict.word();
    };
    match reason {
        Reason::BpfSkLookup | Reason::SkAssign | Reason::Tproxy => match verdict {
            Verdict::Misdirected => "bpf_sk_lookup-sk_assign-tproxy-as-misdirections",
            _ => verdict.word(),
        },
        Reason::NoListener => "refused",
        Reason::AcceptOverflow | Reason::NotTaken | Reason::CookieAck | Reason::Migrated => {
            "after-the-syn"
        }
        Reason::RestartGap
        | Reason::LegacyOrder
        | Reason::DevOrder
        | Reason::DevMismatch
        | Reason::VrfScope
        | Reason::DualStack
        | Reason::OtherFamily
        | Reason::CpuAffinity
        | Reason::WrongOwner
        | Reason::OtherNetns
        | Reason::NotListening
        | Reason::ReuseportBpf
        | Reason::Moved
        | Reason::Unknown => reason.word(),
    }
}

/// What to do, in a sentence or two.
pub(super) fn remedy(verdict: Verdict, reason: Option<Reason>) -> &'static str {
    match reason {
        None => "See with `sockpick explain` what the kernel would do with such a SYN now.",
        Some(Reason::BpfSkLookup | Reason::SkAssign | Reason::Tproxy)
            if verdict == Verdict::Refused =>
        {
            "See what drops them: `bpftool prog`, `bpftool net`, `nft list ruleset`."
        }
        Some(reason) => of(reason),
    }
}

fn of(reason: Reason) -> &'static str {
    match reason {
        Reason::RestartGap => {
            "Start the service again. To have no gap at its next restart, keep its listener open \
             (socket activation, or handing the socket over), or bind the wildcard service to its \
             own addresses."
        }
        Reason::NotListening | Reason::NoListener => {
            "Start the service, or see where it listens instead: `sockpick listeners`."
        }
        Reason::LegacyOrder => {
            "Restart the more specific service: on this kernel the one started last wins (IPv6: \
             the one started first, so restart the other). Linux 5.0 has an end to it."
        }
        Reason::DevOrder => {
            "Restart the service that is bound to the device (IPv6: the other one). For good, bind \
             both to devices or neither, or give them different addresses."
        }
        Reason::DevMismatch => {
            "Listen without the device, or on the SYN's device as well; if it is meant to be so, \
             name the one that takes them as the service."
        }
        Reason::VrfScope => {
            "Start the service in the VRF (`ip vrf exec`), or set net.ipv4.tcp_l3mdev_accept, \
             which opens all unbound listeners to all VRFs."
        }
        Reason::DualStack => {
            "Start the IPv4 service again; set IPV6_V6ONLY on the other (nginx: ipv6only=on), so \
             that it takes no IPv4."
        }
        Reason::OtherFamily => {
            "Listen on both families ([::] without IPV6_V6ONLY takes both), or have clients use \
             the other address."
        }
        Reason::CpuAffinity => {
            "Set SO_INCOMING_CPU within one reuseport group only, not on sockets that compete."
        }
        Reason::WrongOwner => {
            "End the program that holds the listener, or put the configuration right."
        }
        Reason::OtherNetns => {
            "See where the packet was routed: the port map, the address on the wrong side, a rule \
             that did not match."
        }
        Reason::BpfSkLookup => {
            "See with `bpftool prog` what the program looks at, and mend its map; if it is right, \
             name the listener's owner in the configuration."
        }
        Reason::SkAssign => {
            "See with `bpftool net` which program is at the interface's ingress, and mend its map; \
             if it is right, name the listener's owner in the configuration."
        }
        Reason::Tproxy => {
            "See with `nft list ruleset` or `iptables-save` which rule it is, and mend it; if it \
             is right, name the listener's owner in the configuration."
        }
        Reason::ReuseportBpf => {
            "See with `bpftool prog` what the group's program looks at: one that finds no socket \
             in its map had better return SK_PASS, and the hash chooses."
        }
        Reason::Moved => "Nothing, if the service is meant to listen there now.",
        Reason::AcceptOverflow => {
            "See why the service does not accept: is it stuck, has it too few workers, is its \
             backlog (and net.core.somaxconn) too small?"
        }
        Reason::NotTaken => {
            "Compare the TCP-MD5 or TCP-AO keys of both sides (`nstat -az | grep -i -e MD5 -e AO` \
             counts), then look for a socket filter or an IPsec policy."
        }
        Reason::CookieAck => {
            "See why there are SYN cookies: a flood, or a backlog that is too small."
        }
        Reason::Migrated => "Nothing, if a worker of the group was restarted.",
        Reason::Unknown => {
            "Ask the kernel again with `sockpick explain`, and please report the event."
        }
    }
}
