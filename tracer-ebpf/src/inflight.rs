//! The SYN that this CPU is looking up right now.
//!
//! A SYN is received, looked up and taken for processing in one go in softirq, so
//! one slot per CPU is enough; it is keyed by the packet's address all the same,
//! because a nested or preempted lookup must never lend its facts to another.

use sockpick_ebpf::abi::group_prog;

use crate::{fields::KernelPtr, filter::Flow};

/// State of [`Inflight`].
pub(crate) mod state {
    /// No lookup is under way.
    pub(crate) const IDLE: u32 = 0;
    /// A SYN in the TCP receive path is being looked up.
    pub(crate) const RECEIVE: u32 = 1;
    /// A netfilter rule looks a SYN up.
    pub(crate) const NETFILTER: u32 = 2;
    /// A SYN in the TCP receive path that the filter left out is being looked up.
    pub(crate) const FILTERED: u32 = 3;
    /// A packet in the TCP receive path is or was looked up, and not read: a SYN seldom has to be
    /// ([`crate::suspects::excludes_unread`]).
    #[cfg(not(feature = "legacy"))]
    pub(crate) const UNREAD: u32 = 4;
    /// A packet in the TCP receive path was looked up, and its listener's port is left out by the
    /// filter; it was not read.
    #[cfg(not(feature = "legacy"))]
    pub(crate) const LEFT_OUT: u32 = 5;
}

/// The packet, and what the hooks inside the lookup said about it.
#[repr(C)]
pub(crate) struct Inflight {
    /// Address of the packet's `sk_buff` while `state` is not idle.
    pub(crate) skb: u64,
    /// Address of the last packet whose lookup ended, written or left out, until
    /// `tcp_conn_request` took it for processing.
    pub(crate) done_skb: u64,
    /// The socket that event named.
    pub(crate) done_sk: u64,
    /// The time that its record has; 0: it has none.
    pub(crate) done_ns: u64,
    /// Of a packet that was not read: the listener that its lookup ended with, null until that is
    /// seen, and the address of its `struct net`.
    #[cfg(not(feature = "legacy"))]
    pub(crate) found_sk: u64,
    #[cfg(not(feature = "legacy"))]
    pub(crate) net: u64,
    /// Last packet looked up by netfilter, and the socket it got; null until that is seen.
    pub(crate) nf_skb: u64,
    pub(crate) nf_sk: u64,
    /// Packet that the facts below belong to.
    pub(crate) facts_skb: u64,
    /// Fact: a member of the group whose `SK_REUSEPORT` program ran last.
    pub(crate) group_sk: u64,
    pub(crate) netns_cookie: u64,
    pub(crate) client: [u8; 16],
    pub(crate) destination: [u8; 16],
    /// Both ports in network order: the first four bytes of the TCP header.
    pub(crate) client_port_be: u16,
    pub(crate) destination_port_be: u16,
    /// Sequence number, host order.
    pub(crate) seq: u32,
    /// Sequence number of the packet in `done_skb`.
    pub(crate) done_seq: u32,
    pub(crate) state: u32,
    pub(crate) netns: u32,
    pub(crate) ifindex: u32,
    pub(crate) sdif: u32,
    pub(crate) family: u16,
    /// Fact: an `sk_lookup` program returned a socket or refused the packet.
    pub(crate) steered: u8,
    /// Fact: one of `abi::group_prog`, for an `SK_REUSEPORT` program that ran.
    pub(crate) group_prog: u8,
    /// Fact: the listener tables were walked.
    pub(crate) walked: u8,
    /// By kprobe: a lookup without a packet is under way. A program that looks at the packet in
    /// the slot may ask for one (`bpf_sk_lookup_tcp`).
    pub(crate) is_aside: u8,
    pub(crate) reserved: [u8; 6],
}

impl Inflight {
    /// Whether what is inside a lookup now concerns the packet.
    #[inline(always)]
    pub(crate) fn is_looked_up(&self) -> bool {
        self.state != state::IDLE && self.is_aside == 0
    }

    /// Ends the lookup: `tcp_conn_request` need not look at this packet again.
    #[inline(always)]
    pub(crate) fn done(&mut self, sk: KernelPtr) {
        self.state = state::IDLE;
        self.done_skb = self.skb;
        self.done_sk = sk.0;
        self.done_seq = self.seq;
        self.done_ns = 0;
        self.forget_netfilter();
    }

    /// The packet was looked up as any other: what netfilter found for it counts no more, and its
    /// memory is another packet's next.
    #[inline(always)]
    pub(crate) fn forget_netfilter(&mut self) {
        if self.nf_skb == self.skb {
            self.nf_skb = 0;
        }
    }

    /// Whether the lookup of this packet ended with the socket, as far as its end was seen, and the
    /// packet was not read.
    #[cfg(not(feature = "legacy"))]
    #[inline(always)]
    pub(crate) fn is_unread(&self, skb: KernelPtr, sk: KernelPtr) -> bool {
        if self.state != state::UNREAD || self.skb != skb.0 {
            return false;
        }
        self.found_sk == 0 || self.found_sk == sk.0
    }

    /// Whether the lookup of this packet ended with the socket, whose port the filter leaves out.
    #[cfg(not(feature = "legacy"))]
    #[inline(always)]
    pub(crate) fn is_left_out(&self, skb: KernelPtr, sk: KernelPtr) -> bool {
        self.state == state::LEFT_OUT && self.skb == skb.0 && self.found_sk == sk.0
    }

    /// Client and destination, as they stand one behind the other in an IPv6 header.
    #[inline(always)]
    pub(crate) fn addresses(&mut self) -> &mut [u8; 32] {
        let addresses: *mut [u8; 32] = (&raw mut *self).wrapping_byte_add(CLIENT).cast();
        // SAFETY: of the slot, `client` and `destination` lie there without a gap (below).
        unsafe { &mut *addresses }
    }

    /// The SYN, as the filters want it.
    #[inline(always)]
    pub(crate) fn flow(&self) -> Flow<'_> {
        Flow {
            netns: self.netns,
            family: self.family,
            destination_port_be: self.destination_port_be,
            client: &self.client,
            destination: &self.destination,
        }
    }

    /// Forgets what hooks inside earlier lookups said: facts are those of one packet.
    #[inline(always)]
    pub(crate) fn forget_facts(&mut self) {
        self.facts_skb = 0;
    }

    /// A member of the group whose program turned the packet away.
    #[inline(always)]
    pub(crate) fn dropped_by(&self) -> KernelPtr {
        if self.facts_skb == self.skb && self.group_prog == group_prog::DROPPED {
            KernelPtr(self.group_sk)
        } else {
            KernelPtr(0)
        }
    }

    /// Makes the facts belong to `skb`, forgetting those of another packet.
    #[inline(always)]
    pub(crate) fn facts_for(&mut self, skb: u64) {
        if self.facts_skb != skb {
            self.facts_skb = skb;
            self.steered = 0;
            self.group_prog = 0;
            self.walked = 0;
        }
    }
}

const CLIENT: usize = core::mem::offset_of!(Inflight, client);

const _: () = {
    assert!(core::mem::offset_of!(Inflight, destination) == CLIENT + 16);
    assert!(CLIENT.is_multiple_of(8));
    assert!(core::mem::offset_of!(Inflight, destination).is_multiple_of(8));
};
