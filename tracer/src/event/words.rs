//! The words of the event, as in the JSON output, for text that people read.

use super::{Match, Reason, Stage, Verdict, Via, Why};

impl Match {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Wildcard => "wildcard",
            Self::DualStack => "dual_stack",
            Self::None => "none",
        }
    }
}

impl Via {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lookup => "lookup",
            Self::ReuseportHash => "reuseport_hash",
            Self::ReuseportBpf => "reuseport_bpf",
            Self::ReuseportCbpf => "reuseport_cbpf",
            Self::SkLookup => "sk_lookup",
            Self::SkAssign => "sk_assign",
            Self::Tproxy => "tproxy",
        }
    }
}

impl Verdict {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Misdirected => "misdirected",
            Self::Uncovered => "uncovered",
            Self::Steered => "steered",
            Self::Refused => "refused",
        }
    }
}

impl Reason {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RestartGap => "restart_gap",
            Self::LegacyOrder => "legacy_order",
            Self::DevOrder => "dev_order",
            Self::DevMismatch => "dev_mismatch",
            Self::VrfScope => "vrf_scope",
            Self::DualStack => "dual_stack",
            Self::OtherFamily => "other_family",
            Self::CpuAffinity => "cpu_affinity",
            Self::WrongOwner => "wrong_owner",
            Self::OtherNetns => "other_netns",
            Self::NotListening => "not_listening",
            Self::NoListener => "no_listener",
            Self::BpfSkLookup => "bpf_sk_lookup",
            Self::SkAssign => "sk_assign",
            Self::Tproxy => "tproxy",
            Self::ReuseportBpf => "reuseport_bpf",
            Self::Moved => "moved",
            Self::AcceptOverflow => "accept_overflow",
            Self::NotTaken => "not_taken",
            Self::CookieAck => "cookie_ack",
            Self::Migrated => "migrated",
            Self::Unknown => "unknown",
        }
    }
}

impl Why {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.reason().word()
    }
}

impl Stage {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Queue => "queue",
            Self::Sink => "sink",
        }
    }
}
