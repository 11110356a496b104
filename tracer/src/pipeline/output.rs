//! What the pipeline gives.

use std::sync::Arc;

use sockpick_ebpf::abi::{Listener, SynRecord};

use super::balance::Balance;
use crate::event::{Event, GroupHealth, Handover, Lost};

/// What comes of it.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are SYNs: a box for each would cost more"
)]
#[derive(Clone, Debug)]
pub enum Output {
    /// A SYN was judged; with what the kernel wrote of it.
    Syn(Event, SynRecord),
    /// A connection came to another listener than its SYN.
    Handover(Box<Handover>),
    /// SYNs were lost.
    Lost(Lost),
    /// How a group fared.
    Health(Box<GroupHealth>),
    /// A listener closed, and no SYN can reach it any more.
    Gone(Gone),
    /// A SYN of a sockpick's own, in the namespace with this inode number: nobody's traffic.
    Own(u32),
    /// SYNs that there is no record of.
    Unrecorded(Unrecorded),
    /// How SYNs are shared out in groups, once a minute where health is told over a window.
    Balance(Box<Balance>),
}

/// The last of a listener.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Its last account.
    pub last: Listener,
    /// Who held it, as it is to be shown.
    pub owner: Arc<str>,
}

/// SYNs that cannot be an alert: the programs counted them, and wrote no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unrecorded {
    /// They were given to a listener.
    Given {
        /// Which: [`Listener::stamp`].
        stamp: u64,
        /// How many came over IPv4.
        ipv4: u64,
        /// How many came over IPv6.
        ipv6: u64,
    },
    /// Nobody got them.
    Refused {
        /// Inode number of the namespace.
        netns: u32,
        /// Port that they were sent to.
        port: u16,
        /// How many.
        syns: u64,
    },
}
