//! What there is in a namespace when the question is put: interface, listeners, and the
//! kernel's answer. The only part that looks at the system.

use std::{fs, net::SocketAddr, sync::OnceLock};

use anyhow::Result;

use crate::{
    cli::Client,
    failure::Failure,
    interfaces::{Arrival, Interfaces},
    judge::rules::{Algorithm, Packet, Ranking},
    kernel::algorithm,
    listeners::{self, Listening},
    probes::ask::{self, Asker, Found},
};

/// How often the question is put again because a listener came or went meanwhile.
const TRIES: usize = 4;
/// Client ports tried until there is one without a connection.
const PORTS: u16 = 64;

/// The SYN in question.
pub(super) struct Sent<'a> {
    /// Where from.
    pub(super) client: SocketAddr,
    /// What of it was named.
    pub(super) named: Option<Client>,
    /// Where to.
    pub(super) destination: SocketAddr,
    /// Interface, if it was named.
    pub(super) device: Option<&'a str>,
}

/// What was found.
pub(super) struct Scene {
    /// How the SYN comes.
    pub(super) arrival: Arrival,
    /// Names of interfaces.
    pub(super) interfaces: Interfaces,
    /// The SYN.
    pub(super) packet: Packet,
    /// Where from, as it was asked for.
    pub(super) client: SocketAddr,
    /// Listeners on its port, in the order of the kernel's chains within a family.
    pub(super) listeners: Vec<Listening>,
    /// What the kernel says, or why it could not be asked.
    pub(super) kernel: Result<Option<Found>, String>,
    /// How the kernel ranks them.
    pub(super) ranking: Ranking,
    /// How it looks listeners up; `None` where it was asked itself.
    pub(super) algorithm: Option<Algorithm>,
    /// `sk_lookup` programs of the namespace; `None` if not known.
    pub(super) sk_lookup: Option<Vec<u32>>,
}

impl Scene {
    /// Looks at the namespace of this thread, whose inode number is given.
    ///
    /// # Errors
    /// If the interface is not there, or listeners or interfaces cannot be listed.
    pub(super) fn look(
        asker: Result<&mut Asker, String>,
        sent: &Sent<'_>,
        netns: u32,
    ) -> Result<Self> {
        let interfaces = Interfaces::here()?;
        let destination = sent.destination.ip();
        let arrival = interfaces
            .arrival(sent.device, destination)
            .map_err(|error| Failure::usage(format!("{error:#}")))?;
        let packet = packet(&arrival, sent, netns);
        let mut scene = Self {
            arrival,
            interfaces,
            packet,
            client: sent.client,
            listeners: Vec::new(),
            kernel: Err(String::new()),
            ranking: Ranking::AddressFirst,
            algorithm: None,
            sk_lookup: ask::sk_lookup_programs(),
        };
        scene.fill(asker)?;
        Ok(scene)
    }

    fn fill(&mut self, asker: Result<&mut Asker, String>) -> Result<()> {
        let mut asker = asker;
        if self.arrival.vrf != 0 {
            asker = Err(format!(
                "{} belongs to a VRF, which the kernel's lookup for programs does not see as \
                 packets do",
                self.arrival.interface.name
            ));
        }
        for _ in 0..TRIES {
            self.kernel = match &mut asker {
                Ok(asker) => self.ask(asker),
                Err(why) => Err(why.clone()),
            };
            let mut listeners = listeners::of_this_namespace(self.packet.netns)?;
            if self.kernel.is_err() {
                let algorithm = algorithm();
                self.algorithm = Some(algorithm);
                self.ranking = algorithm.ranking(in_bucket(&listeners, self.packet.port));
            }
            listeners.retain(|listener| self.is_of_interest(listener));
            self.listeners = listeners;
            if self.is_consistent() {
                break;
            }
        }
        Ok(())
    }

    /// Those on the port, and the one that a program chose.
    fn is_of_interest(&self, listener: &Listening) -> bool {
        listener.bound.port == self.packet.port || Some(listener.inode) == self.found_inode()
    }

    fn found_inode(&self) -> Option<u64> {
        let found = self.kernel.as_ref().ok()?.as_ref()?;
        (found.listener.inode != 0).then_some(found.listener.inode)
    }

    /// What the kernel found is listed. If not, it came or went in between.
    fn is_consistent(&self) -> bool {
        self.found_inode().is_none_or(|inode| {
            self.listeners
                .iter()
                .any(|listener| listener.inode == inode)
        })
    }

    /// Puts the question, with another client port where there is a connection with this one.
    fn ask(&mut self, asker: &mut Asker) -> Result<Option<Found>, String> {
        let destination = SocketAddr::new(self.packet.destination, self.packet.port);
        for step in 0..PORTS {
            let port = self.client.port().wrapping_add(step).max(1024);
            let client = SocketAddr::new(
                self.client.ip(),
                if step == 0 { self.client.port() } else { port },
            );
            let answer = asker
                .ask(client, destination, self.arrival.interface.index)
                .map_err(|error| format!("{error:#}"))?;
            let found = match answer {
                ask::Answer::Connection => continue,
                ask::Answer::Nothing => None,
                ask::Answer::Listener(found) => Some(*found),
            };
            self.client = client;
            return match found {
                Some(found) if found.listener.netns != self.packet.netns => Err(format!(
                    "the answer could not be read rightly: it names namespace {}",
                    found.listener.netns
                )),
                found => Ok(found),
            };
        }
        Err(format!(
            "{PORTS} connections from {} to {destination} are there already",
            self.client.ip()
        ))
    }
}

/// How this kernel looks listeners up.
fn algorithm() -> Algorithm {
    static FOUND: OnceLock<Algorithm> = OnceLock::new();
    *FOUND.get_or_init(|| algorithm::detect().0)
}

/// How full the port's bucket is, as far as the sockets of this namespace tell.
fn in_bucket(listeners: &[Listening], port: u16) -> usize {
    let shares = |listening: &&Listening| {
        listening.bound.port % algorithm::BUCKETS == port % algorithm::BUCKETS
    };
    listeners.iter().filter(shares).count()
}

fn packet(arrival: &Arrival, sent: &Sent<'_>, netns: u32) -> Packet {
    let index = arrival.interface.index;
    let (dif, sdif) = if arrival.vrf == 0 {
        (index, 0)
    } else {
        (arrival.vrf, index)
    };
    // Of this thread's namespace, as all of /proc/sys/net.
    let l3mdev = fs::read_to_string("/proc/sys/net/ipv4/tcp_l3mdev_accept");
    Packet {
        netns,
        destination: sent.destination.ip(),
        port: sent.destination.port(),
        dif,
        sdif,
        l3mdev_accept: l3mdev.is_ok_and(|text| text.trim() != "0"),
    }
}
