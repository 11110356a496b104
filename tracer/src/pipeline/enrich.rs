//! Adds to a record what the kernel did not say: names, owners, wall-clock time.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use sockpick_ebpf::abi::{self, SynRecord};

use crate::{
    event::{
        Backend, Endpoint, Event, Listener, ListenerId, Netns, Other, Owner, Program, Queue,
        Reuseport, SCHEMA, Time, Verdict,
    },
    host::{Host, Then},
    judge::{self, verdict::Expected},
    kin::Kin,
    probes::steering::Attachment,
};

/// Most groups remembered; past that memory starts afresh, which gives a group a new number.
const MOST_KEPT: usize = 16_384;

/// Makes events from records.
pub struct Enricher {
    backend: Backend,
    host: Box<dyn Host>,
    groups: FxHashMap<(u64, u32, u16), Group>,
    next_group: u32,
    /// Wall-clock time minus `CLOCK_MONOTONIC`, in nanoseconds.
    wall_offset_ns: i64,
    answers: u64,
}

/// A reuseport group, kept under the address that the kernel has it at.
struct Group {
    number: u32,
    /// Members seen that have not closed: when the last is gone, the address may be
    /// another group's.
    members: FxHashSet<u64>,
}

impl Enricher {
    /// Starts with nothing known.
    #[must_use]
    pub fn new(backend: Backend, host: Box<dyn Host>) -> Self {
        Self {
            backend,
            host,
            groups: FxHashMap::default(),
            next_group: 1,
            wall_offset_ns: 0,
            answers: 0,
        }
    }

    /// Counts when answers may have changed: while this is the same, so is what is said of a
    /// listener that [is settled](Self::is_settled) and not looked at anew.
    #[must_use]
    pub fn answers(&self) -> u64 {
        self.answers
    }

    /// Whether whose the SYN's listener is does not hang on when it came.
    #[must_use]
    pub fn is_settled(&self, record: &SynRecord) -> bool {
        self.host.is_settled(&record.listener)
    }

    /// What was said of a SYN before is said of this one, which is like it.
    pub fn said_again(&mut self, record: &SynRecord, event: &Event) {
        if let Some(listener) = &event.listener {
            self.host.said_again(&record.listener, listener);
        }
    }

    /// To be called before each batch: the wall clock may have been set since.
    /// `wall_offset_ns`: what it is ahead of `CLOCK_MONOTONIC`.
    pub fn begin_batch(&mut self, wall_offset_ns: i64) {
        self.wall_offset_ns = wall_offset_ns;
        self.answers += 1;
        self.host.begin_batch();
    }

    /// A listener appeared.
    pub fn opened(&mut self, listener: &abi::Listener, ktime_ns: u64) {
        self.host.opened(listener, ktime_ns);
    }

    /// Looks once more who holds the listeners that SYNs came to.
    pub fn settle(&mut self) {
        self.answers += 1;
        self.host.settle();
    }

    /// The event of one SYN.
    pub fn event(&mut self, record: &SynRecord) -> Event {
        let netns = self.host.netns(record.netns, record.netns_cookie);
        let listener = (record.has_listener != 0).then(|| self.listener(record));
        Event {
            schema: SCHEMA,
            time: self.time(record.ktime_ns),
            ktime_ns: record.ktime_ns,
            cpu: record.cpu,
            netns,
            client: endpoint(record.client, record.client_port_be, record.family),
            destination: endpoint(
                record.destination,
                record.destination_port_be,
                record.family,
            ),
            ifindex: record.ifindex,
            ifname: self.host.interface(record.netns, record.ifindex),
            matched: judge::matched(record),
            via: judge::via(record),
            verdict: Verdict::Ok,
            reason: None,
            listener,
            reuseport: self.reuseport(record),
            steered_by: None,
            expected: None,
            candidates: None,
            backend: self.backend,
        }
    }

    /// A listener that a SYN did not get, at `syn_ns`.
    pub fn other(&mut self, expected: &Expected<'_>, syn_ns: u64) -> Other {
        let Expected {
            bound,
            socket,
            gone,
        } = expected;
        let time = |ktime_ns| (ktime_ns != 0).then(|| self.time(ktime_ns));
        let (opened, closed) = (
            time(socket.opened_ns),
            // The two records' times were taken on two CPUs, a little after their order was
            // settled.
            gone.and_then(|gone| time(gone.closed_ns.min(syn_ns))),
        );
        let owners = match gone {
            Some(gone) => gone.owners.clone(),
            None => self.host.living(socket.inode),
        };
        Other {
            address: bound.shown_address(),
            port: bound.port,
            family: bound.family,
            device: self.device(bound.netns, bound.device),
            v6only: bound.v6only,
            inode: (socket.inode != 0).then_some(socket.inode),
            id: (socket.id != 0).then_some(ListenerId(socket.id)),
            opened,
            closed,
            owners,
        }
    }

    /// The namespace with this inode number.
    pub fn netns(&mut self, inode: u32) -> Arc<Netns> {
        self.host.netns(inode, 0)
    }

    /// Whether unbound listeners of the namespace take packets of every VRF.
    pub fn l3mdev_accept(&mut self, netns: u32) -> bool {
        self.host.l3mdev_accept(netns)
    }

    /// Programs that are attached there, in the order they run; none where the kernel does not
    /// tell.
    pub fn programs(&mut self, place: Attachment) -> Arc<[Program]> {
        self.host.programs(place)
    }

    /// Who held a listener when it closed, as far as that is known without looking.
    pub fn last_owners(&mut self, raw: &abi::Listener) -> Arc<[Owner]> {
        self.host.last_owners(raw)
    }

    /// Who holds the socket with this inode number now, as far as that is known without looking.
    pub fn living(&mut self, inode: u64) -> Arc<[Owner]> {
        self.host.living(inode)
    }

    /// Looks whether those who hold the event's listener still do.
    pub fn recheck(&mut self, record: &SynRecord, event: &mut Event) {
        self.host.recheck(&record.listener);
        self.name_owners(record, event);
    }

    /// Looks for holders of the event's listener among all processes.
    pub fn look_again(&mut self, record: &SynRecord, event: &mut Event) {
        self.host.look_again(&record.listener);
        self.name_owners(record, event);
    }

    fn name_owners(&mut self, record: &SynRecord, event: &mut Event) {
        if let Some(listener) = &mut event.listener {
            let then = self.host.whose(&record.listener, record.ktime_ns);
            listener.owners = then.owners;
            listener.in_kernel = then.in_kernel;
        }
    }

    /// Wall-clock nanoseconds since 1970 of a kernel time.
    #[must_use]
    pub fn wall_ns(ktime_ns: u64, wall_offset_ns: i64) -> i64 {
        wall_offset_ns.saturating_add_unsigned(ktime_ns)
    }

    /// Wall-clock time of a kernel time.
    #[must_use]
    pub fn time(&self, ktime_ns: u64) -> Time {
        Time(Self::wall_ns(ktime_ns, self.wall_offset_ns))
    }

    /// A listener left the table; a lookup on another CPU may still end with it.
    pub fn closed(&mut self, listener: &abi::Listener) {
        self.groups
            .retain(|_, group| !group.members.remove(&listener.stamp) || !group.members.is_empty());
    }

    /// A listener went: nothing of it needs to be remembered.
    pub fn forget(&mut self, listener: &abi::Listener) {
        self.host.forget(listener);
    }

    /// What is known of processes beside what they hold.
    pub fn kin(&mut self, pids: &[u32]) -> Kin {
        self.host.kin(pids)
    }

    /// Whether what happened in the namespace at that time was a sockpick's doing.
    pub fn is_own(&mut self, netns: u32, cookie: u64, ktime_ns: u64) -> bool {
        self.host.is_own(netns, cookie, None, ktime_ns)
    }

    /// Whether the SYN was a sockpick's.
    pub fn is_own_syn(&mut self, record: &SynRecord) -> bool {
        let (netns, cookie) = (record.netns, record.netns_cookie);
        self.host
            .is_own(netns, cookie, Some(record.ifindex), record.ktime_ns)
    }

    /// Whose a listener is, for display.
    pub fn told(&mut self, listener: &abi::Listener) -> String {
        self.host.told(listener)
    }

    fn listener(&mut self, record: &SynRecord) -> Listener {
        let raw = &record.listener;
        let device = self.device(raw.netns, record.bound_dev_if);
        let Then {
            owners,
            in_kernel,
            accepted_by,
            opened_by,
        } = self.host.whose(raw, record.ktime_ns);
        Listener {
            address: judge::bound_address(raw),
            port: raw.port,
            family: judge::family(raw),
            device,
            v6only: raw.v6only != 0,
            inode: (raw.inode != 0).then_some(raw.inode),
            cookie: (raw.cookie != 0).then_some(raw.cookie),
            id: ListenerId(raw.stamp),
            opened: None,
            queue: Queue {
                length: record.queue_len,
                limit: record.queue_limit,
            },
            owners,
            in_kernel,
            accepted_by,
            opened_by,
        }
    }

    /// Name of the interface a listener is bound to.
    pub fn device(&mut self, netns: u32, index: u32) -> Option<Arc<str>> {
        (index != 0).then(|| {
            let name = self.host.interface(netns, index);
            name.unwrap_or_else(|| format!("if{index}").into())
        })
    }

    fn reuseport(&mut self, record: &SynRecord) -> Option<Reuseport> {
        if record.group == 0 {
            return None;
        }
        if self.groups.len() >= MOST_KEPT {
            self.groups.clear();
            self.answers += 1;
        }
        let has_listener = record.has_listener != 0;
        let key = if has_listener {
            (record.group, record.listener.netns, record.listener.port)
        } else {
            // Its program turned the packet away.
            let port = u16::from_be(record.destination_port_be);
            (record.group, record.netns, port)
        };
        let next = &mut self.next_group;
        let group = self.groups.entry(key).or_insert_with(|| {
            let number = *next;
            *next += 1;
            Group {
                number,
                members: FxHashSet::default(),
            }
        });
        if has_listener && record.listener.closed == 0 {
            group.members.insert(record.listener.stamp);
        }
        Some(Reuseport {
            group: group.number,
            size: record.group_size,
            member: (record.member != u16::MAX).then_some(record.member),
            program_id: (record.prog_id != 0).then_some(record.prog_id),
        })
    }
}

fn endpoint(address: [u8; 16], port_be: u16, family: u16) -> Endpoint {
    Endpoint {
        address: judge::packet_address(address, family),
        port: u16::from_be(port_be),
    }
}
