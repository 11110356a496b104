//! What is known of each listening socket: read once, then kept in a map, so that
//! a SYN costs one lookup and not a dozen reads.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray},
};
use sockpick_ebpf::abi::{ABSENT, Listener, MAX_LISTENERS, Stats};

use crate::{
    emit::{self, cpu, now},
    fields::{KernelPtr, config, field, mapped, words},
};

/// `BPF_NOEXIST`: the first of two CPUs that meet a listener names it.
const NOEXIST: u64 = 1;
/// `BPF_ANY`
const ANY: u64 = 0;
/// Which scratch entry: a lookup in softirq may interrupt a hook in process context.
pub(crate) const SOFTIRQ: u32 = 0;
pub(crate) const PROCESS: u32 = 1;
const AF_INET: u16 = 2;
/// `TCP_LISTEN`, `include/net/tcp_states.h`
#[cfg(not(feature = "legacy"))]
pub(crate) const TCP_LISTEN: u8 = 10;

#[map]
static LISTENERS: HashMap<u64, Listener> = HashMap::with_max_entries(MAX_LISTENERS, 0);
/// Where a listener is put together: too large for the stack beside the rest.
#[map]
static SCRATCH: PerCpuArray<Listener> = PerCpuArray::with_max_entries(2, 0);

/// The entry of a listener, if it has one.
#[inline(always)]
pub(crate) fn known(sk: KernelPtr) -> Option<&'static mut Listener> {
    let entry = LISTENERS.get_ptr_mut(sk.0)?;
    // SAFETY: a live map value. Programs on other CPUs may write the counter
    // (atomically) and the acceptor (at worst torn between two acceptors).
    Some(unsafe { &mut *entry })
}

/// The entry of a listener, made now if there is none.
#[inline(always)]
pub(crate) fn of(sk: KernelPtr, context: u32, stats: &mut Stats) -> Option<&'static mut Listener> {
    let mut flags = NOEXIST;
    if let Some(entry) = known(sk) {
        if entry.closed == 0 {
            return Some(entry);
        }
        // A new socket may have the address of one that closed, and be met before its
        // listen() returns. One that is being destroyed has no inode any more.
        let inode = inode(sk);
        if inode == 0 || inode == entry.inode {
            return Some(entry);
        }
        flags = ANY;
    }
    let new = read(sk, context)?;
    if LISTENERS.insert(sk.0, *new, flags).is_err()
        && let None = known(sk)
    {
        // The map is full: a session without lasting ids is better than none.
        stats.listeners_full += 1;
        return Some(new);
    }
    known(sk)
}

/// The entry of a listener that is looked at again after calls of helpers.
///
/// Up to 4.15 the verifier forgets the constant that stands for "none" once it is on the stack,
/// and refuses what is loaded from there as a pointer ("invalid mem access 'inv'"; mended by
/// cc2b14d51053 and f7cf25b2026d). So the programs for old kernels keep only where the entry is,
/// and look it up again.
#[cfg(not(feature = "legacy"))]
pub(crate) struct Entry(Option<&'static mut Listener>);

#[cfg(not(feature = "legacy"))]
impl Entry {
    pub(crate) const NONE: Self = Self(None);

    /// The entry of a listener, made now if there is none.
    #[inline(always)]
    pub(crate) fn of(sk: KernelPtr, context: u32, stats: &mut Stats) -> Self {
        Self(of(sk, context, stats))
    }

    /// Not to be kept across a helper's call.
    #[inline(always)]
    pub(crate) fn get(&mut self) -> Option<&mut Listener> {
        self.0.as_deref_mut()
    }
}

#[cfg(feature = "legacy")]
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    /// Null: there is none.
    sk: KernelPtr,
    /// Which scratch entry it is in, where the map is full.
    context: u32,
}

#[cfg(feature = "legacy")]
impl Entry {
    pub(crate) const NONE: Self = Self {
        sk: KernelPtr::NULL,
        context: 0,
    };

    /// The entry of a listener, made now if there is none.
    #[inline(always)]
    pub(crate) fn of(sk: KernelPtr, context: u32, stats: &mut Stats) -> Self {
        if of(sk, context, stats).is_some() {
            Self { sk, context }
        } else {
            Self::NONE
        }
    }

    /// Not to be kept across a helper's call.
    #[inline(always)]
    pub(crate) fn get(&mut self) -> Option<&mut Listener> {
        if self.sk.is_null() {
            return None;
        }
        if let Some(entry) = known(self.sk) {
            return Some(entry);
        }
        // The map was full: what was read of the listener is still there, as nothing else
        // runs in this context on this CPU meanwhile.
        let scratch = SCRATCH.get_ptr_mut(self.context)?;
        // SAFETY: a live map value of this CPU.
        Some(unsafe { &mut *scratch })
    }
}

/// Puts a fresh entry in place of whatever was kept under this address; in process context.
#[inline(always)]
pub(crate) fn replace(sk: KernelPtr, stats: &mut Stats) -> Option<&'static mut Listener> {
    let new = read(sk, PROCESS)?;
    if LISTENERS.insert(sk.0, *new, ANY).is_err() {
        stats.listeners_full += 1;
        return Some(new);
    }
    known(sk)
}

/// Inode number of the socket in sockfs.
///
/// `sk_ino` from 6.18 (5d6b58c932ec, net/core/sock.c); before, the inode that
/// encloses `sk_socket` (`struct socket_alloc`, include/net/sock.h).
#[inline(always)]
pub(crate) fn inode(sk: KernelPtr) -> u64 {
    if config!(off.sk_ino) != ABSENT {
        return field!(sk, sk_ino => u64);
    }
    let socket = sk.follow_if_there(config!(off.sk_socket));
    if socket.is_null() {
        return 0;
    }
    field!(socket, socket_ino => u64)
}

/// Reads a listener from the kernel's structures into the scratch entry.
#[inline(always)]
pub(crate) fn read(sk: KernelPtr, context: u32) -> Option<&'static mut Listener> {
    let scratch = SCRATCH.get_ptr_mut(context)?;
    // SAFETY: a live map value of this CPU.
    let new = unsafe { &mut *scratch };
    emit::clear(new);
    new.stamp = (now() & !0xff) | u64::from(cpu() & 0xff);
    let net = sk.follow(config!(off.sk_net));
    new.netns = field!(net, net_inum => u32);
    new.netns_cookie = net.read_if_there(config!(off.net_cookie));
    new.inode = inode(sk);
    new.uid = sk.read_if_there(config!(off.sk_uid));
    new.port = field!(sk, sk_num => u16);
    new.family = field!(sk, sk_family => u16);
    new.bound_dev_if = field!(sk, sk_bound_dev_if => u32);
    new.incoming_cpu = sk.read_if_there(config!(off.sk_incoming_cpu));
    if new.family == AF_INET {
        *words(&mut new.addr) = mapped(field!(sk, sk_rcv_saddr => [u8; 4]));
    } else {
        new.addr = sk.read_if_there(config!(off.sk_v6_rcv_saddr));
        let bits = field!(sk, sk_ipv6only => u8);
        new.v6only = u8::from(u16::from(bits) & config!(off.sk_ipv6only_mask) != 0);
    }
    Some(new)
}
