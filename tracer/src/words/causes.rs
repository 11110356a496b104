//! What reasons are in a few words.

use crate::event::Reason;

/// The cause in a few words; `dropped`: nobody was given the SYN.
#[must_use]
pub fn cause(reason: Reason, dropped: bool) -> &'static str {
    match reason {
        Reason::RestartGap => "closed, not back",
        Reason::LegacyOrder => "the one chosen stands before it in the port's chain",
        Reason::DevOrder => "order of start decides",
        Reason::DevMismatch => "bound to another device",
        Reason::VrfScope => "not bound to the packet's VRF",
        Reason::DualStack => "IPv4 listener gone",
        Reason::OtherFamily => "it takes the other family only",
        Reason::CpuAffinity => "outweighed by SO_INCOMING_CPU",
        Reason::WrongOwner => "held by another program",
        Reason::OtherNetns => "listens in another namespace",
        Reason::NotListening | Reason::NoListener => "nobody listens there",
        Reason::BpfSkLookup if dropped => "an sk_lookup program dropped it",
        Reason::BpfSkLookup => "an sk_lookup program chose",
        Reason::SkAssign => "bpf_sk_assign chose",
        Reason::Tproxy => "a TPROXY rule chose",
        Reason::ReuseportBpf => "the program of its group dropped it",
        Reason::Moved => "the same service, bound otherwise",
        Reason::AcceptOverflow => "accept queue full",
        Reason::NotTaken => "dropped after the lookup: TCP-MD5 or -AO, a socket filter, a policy",
        Reason::CookieAck => "taken at the cookie's ACK",
        Reason::Migrated => "taken over from one that closed",
        Reason::Unknown => "candidates in the JSON output",
    }
}
