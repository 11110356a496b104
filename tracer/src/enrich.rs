//! Adds to a record what the kernel did not say: names, owners, wall-clock time.

use std::{path::Path, sync::Arc, time::Duration};

use rustc_hash::{FxHashMap, FxHashSet};
use sockpick_ebpf::abi::{self, SynRecord};

use crate::{
    event::{
        Backend, Endpoint, Event, Listener, ListenerId, Other, Owner, Process, Program, Queue,
        Reuseport, SCHEMA, Time, Verdict,
    },
    judge::{self, verdict::Expected},
    namespaces::Namespaces,
    probes::steering::{Attachment, Steering},
    processes::Processes,
};

/// Most listeners and groups remembered; past that memory starts afresh, which costs
/// look-ups, and gives a group a new number.
const MOST_KEPT: usize = 16_384;
/// How long owners are believed before /proc is asked again.
const OWNERS_AGE: Duration = Duration::from_secs(30);

/// Makes events from records.
pub struct Enricher {
    backend: Backend,
    namespaces: Namespaces,
    processes: Processes,
    listeners: FxHashMap<u64, Known>,
    groups: FxHashMap<(u64, u32, u16), Group>,
    steering: Steering,
    next_group: u32,
    /// Wall-clock time minus `CLOCK_MONOTONIC`, in nanoseconds.
    wall_offset: i64,
}

/// A reuseport group, kept under the address that the kernel has it at.
struct Group {
    number: u32,
    /// Members seen that have not closed: when the last is gone, the address may be
    /// another group's.
    members: FxHashSet<u64>,
}

/// What is remembered of a listener between SYNs.
struct Known {
    inode: u64,
    owners: Arc<[Owner]>,
    owners_at: u64,
    /// Owners as of `replaced_ns`, when they were last looked up: a SYN may be older, and a
    /// worker that took it may have ended since.
    owners_before: Arc<[Owner]>,
    replaced_ns: u64,
    /// No scan of /proc found anybody; `owners` is whoever called `listen()`.
    guessed: bool,
    /// [`Enricher::look_closely`] did.
    looked: bool,
    acceptor: Option<Process>,
    acceptor_comm: [u8; 16],
}

impl Known {
    /// Who held the listener when a SYN came, as far as that was looked up.
    fn owners_then(&self, ktime_ns: u64) -> Arc<[Owner]> {
        let is_now = |owner: &Owner| self.owners.iter().any(|now| now.pid == owner.pid);
        if ktime_ns > self.replaced_ns || self.owners_before.iter().all(is_now) {
            return self.owners.clone();
        }
        let ended = self.owners_before.iter().filter(|owner| !is_now(owner));
        self.owners.iter().chain(ended).cloned().collect()
    }
}

impl Enricher {
    /// Starts with nothing known.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self {
            backend,
            namespaces: Namespaces::default(),
            processes: Processes::default(),
            listeners: FxHashMap::default(),
            groups: FxHashMap::default(),
            steering: Steering::default(),
            next_group: 1,
            wall_offset: 0,
        }
    }

    /// Looks for the owners of these sockets in one go.
    pub fn prepare(&mut self, inodes: impl Iterator<Item = u64>) {
        self.processes.prepare(inodes);
    }

    /// To be called before each batch: the wall clock may have been set since.
    pub fn begin_batch(&mut self) {
        self.wall_offset = wall_offset();
        self.namespaces.refresh();
    }

    /// A listener appeared: the next scan of /proc looks for its owners, too.
    pub fn expect(&mut self, inode: u64) {
        self.processes.expect(inode);
    }

    /// Looks once more for owners that were not found when a SYN came.
    pub fn settle(&mut self) {
        let guessed = |known: &&mut Known| known.guessed && known.inode != 0;
        let inodes: Vec<u64> = self
            .listeners
            .values_mut()
            .filter(guessed)
            .map(|k| k.inode)
            .collect();
        if inodes.is_empty() {
            return;
        }
        self.processes.prepare(inodes.into_iter());
        for known in self.listeners.values_mut().filter(guessed) {
            let owners = self.processes.owners(known.inode, OWNERS_AGE);
            if !owners.is_empty() {
                known.guessed = false;
                known.owners = owners;
            }
        }
    }

    /// The event of one SYN.
    pub fn event(&mut self, record: &SynRecord) -> Event {
        let netns = self.namespaces.describe(record.netns, record.netns_cookie);
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
            ifname: self.namespaces.interface(record.netns, record.ifindex),
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

    /// A listener that a SYN did not get.
    pub fn other(&mut self, expected: &Expected<'_>) -> Other {
        let Expected {
            bound,
            socket,
            gone,
        } = expected;
        let time = |ktime_ns| (ktime_ns != 0).then(|| self.time(ktime_ns));
        let (opened, closed) = (
            time(socket.opened_ns),
            gone.and_then(|gone| time(gone.closed_ns)),
        );
        let owners = match gone {
            Some(gone) => gone.owners.clone(),
            None => self.processes.owners(socket.inode, OWNERS_AGE),
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

    /// Whether unbound listeners of the namespace take packets of every VRF.
    pub fn l3mdev_accept(&mut self, netns: u32) -> bool {
        self.namespaces.l3mdev_accept(netns)
    }

    /// Programs that are attached there, in the order they run; none where the kernel does not
    /// tell.
    pub fn programs(&mut self, place: Attachment) -> Arc<[Program]> {
        self.steering.programs(place, &self.namespaces)
    }

    /// Who held a listener when it closed, as far as that is known without looking.
    #[must_use]
    pub fn last_owners(&self, raw: &abi::Listener) -> Arc<[Owner]> {
        let seen = self.listeners.get(&raw.stamp);
        let seen = seen.map(|known| known.owners.clone());
        seen.or_else(|| self.processes.known(raw.inode))
            .filter(|owners| !owners.is_empty())
            .unwrap_or_else(|| match raw.listen_pid {
                0 => Arc::from([]),
                _ => Arc::from([as_listened(raw)]),
            })
    }

    /// Looks for the owners of the event's listener if they are only guessed; once per
    /// listener. Returns whether it looked.
    pub fn look_closely(&mut self, record: &SynRecord, event: &mut Event) -> bool {
        let Some(known) = self.listeners.get_mut(&record.listener.stamp) else {
            return false;
        };
        if !known.guessed || known.looked || known.inode == 0 {
            return false;
        }
        known.looked = true;
        self.settle();
        let known = self.listeners.get(&record.listener.stamp);
        if let (Some(known), Some(listener)) = (known, &mut event.listener) {
            listener.owners = known.owners.clone();
        }
        true
    }

    /// Wall-clock time of a kernel time.
    #[must_use]
    pub fn time(&self, ktime_ns: u64) -> Time {
        Time(self.wall_offset.saturating_add_unsigned(ktime_ns))
    }

    /// Kernel time now.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    /// A listener left the table; a lookup on another CPU may still end with it.
    pub fn closed(&mut self, listener: &abi::Listener) {
        self.groups
            .retain(|_, group| !group.members.remove(&listener.stamp) || !group.members.is_empty());
    }

    /// A listener went: nothing of it needs to be remembered.
    pub fn forget(&mut self, listener: &abi::Listener) {
        self.listeners.remove(&listener.stamp);
        self.processes.forget(listener.inode);
    }

    /// Who holds a listener, for display.
    #[must_use]
    pub fn owners_of(&self, stamp: u64) -> Option<&[Owner]> {
        self.listeners.get(&stamp).map(|known| &*known.owners)
    }

    fn listener(&mut self, record: &SynRecord) -> Listener {
        let raw = &record.listener;
        let device = self.device(raw.netns, record.bound_dev_if);
        let known = self.known(raw, record.ktime_ns);
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
            owners: known.owners_then(record.ktime_ns),
            accepted_by: known.acceptor.clone(),
        }
    }

    /// Name of the interface a listener is bound to.
    pub fn device(&mut self, netns: u32, index: u32) -> Option<Arc<str>> {
        (index != 0).then(|| {
            let name = self.namespaces.interface(netns, index);
            name.unwrap_or_else(|| format!("if{index}").into())
        })
    }

    fn known(&mut self, raw: &abi::Listener, now: u64) -> &Known {
        if self.listeners.len() >= MOST_KEPT && !self.listeners.contains_key(&raw.stamp) {
            self.listeners.clear();
        }
        let processes = &mut self.processes;
        let known = self.listeners.entry(raw.stamp).or_insert_with(|| Known {
            inode: raw.inode,
            owners: Arc::from([]),
            owners_at: 0,
            owners_before: Arc::from([]),
            replaced_ns: 0,
            guessed: true,
            looked: false,
            acceptor: None,
            acceptor_comm: [0; 16],
        });
        let acceptor = (raw.accept_pid != 0).then_some(raw.accept_pid);
        let changed = known.acceptor.as_ref().map(|process| process.pid) != acceptor
            || known.acceptor_comm != raw.accept_comm;
        if changed {
            known.acceptor = acceptor.map(|pid| Process {
                pid,
                comm: comm(&raw.accept_comm).into(),
            });
            known.acceptor_comm = raw.accept_comm;
        }
        let aged = now.saturating_sub(known.owners_at) > OWNERS_AGE.as_nanos() as u64;
        if aged || known.guessed {
            known.owners_at = now;
            let owners = match raw.inode {
                0 => Arc::from([]),
                inode => processes.owners(inode, OWNERS_AGE),
            };
            if !owners.is_empty() {
                known.guessed = false;
                known.owners_before = std::mem::replace(&mut known.owners, owners);
                known.replaced_ns = monotonic_ns();
            } else if known.owners.is_empty() {
                known.owners = listen_caller(processes, raw);
            }
        }
        if let Some(Process { pid, comm }) = &known.acceptor
            && known.owners.iter().all(|owner| owner.pid != *pid)
        {
            known.owners = processes.add(raw.inode, *pid, comm, &known.owners);
        }
        known
    }

    fn reuseport(&mut self, record: &SynRecord) -> Option<Reuseport> {
        if record.group == 0 {
            return None;
        }
        if self.groups.len() >= MOST_KEPT {
            self.groups.clear();
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

/// Who called `listen()`, in place of owners that a scan of /proc has not found (yet):
/// if it holds the socket, or has ended since. One that lives and does not hold it has
/// handed it on.
fn listen_caller(processes: &Processes, raw: &abi::Listener) -> Arc<[Owner]> {
    if let Some(owner) = processes.holder(raw.inode, raw.listen_pid) {
        return Arc::from([owner]);
    }
    let ended = !Path::new(&format!("/proc/{}", raw.listen_pid)).exists();
    if raw.listen_pid == 0 || !ended {
        return Arc::from([]);
    }
    Arc::from([as_listened(raw)])
}

/// The process that called `listen()`, as far as the kernel told.
fn as_listened(raw: &abi::Listener) -> Owner {
    Owner {
        pid: raw.listen_pid,
        comm: comm(&raw.listen_comm),
        exe: None,
        unit: None,
        container: None,
    }
}

/// A `comm` as text, up to its first zero.
#[must_use]
pub fn comm(bytes: &[u8; 16]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn endpoint(address: [u8; 16], port_be: u16, family: u16) -> Endpoint {
    Endpoint {
        address: judge::packet_address(address, family),
        port: u16::from_be(port_be),
    }
}

/// `CLOCK_MONOTONIC` now, as the programs tell the time.
pub(crate) fn monotonic_ns() -> u64 {
    nanoseconds(nix::time::ClockId::CLOCK_MONOTONIC).unsigned_abs()
}

fn wall_offset() -> i64 {
    nanoseconds(nix::time::ClockId::CLOCK_REALTIME)
        .saturating_sub(nanoseconds(nix::time::ClockId::CLOCK_MONOTONIC))
}

fn nanoseconds(clock: nix::time::ClockId) -> i64 {
    nix::time::clock_gettime(clock)
        .map(Duration::from)
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
}
