//! What there is in a namespace when the question is put: interface, listeners, and the
//! kernel's answer. The only part that looks at the system.

use std::{fs, net::SocketAddr, sync::OnceLock};

use anyhow::Result;

use crate::{
    cli::Client,
    failure::Failure,
    interfaces::{self, Arrival, Interface, Interfaces, LOOPBACK, Others},
    judge::rules::{Algorithm, BUCKETS, Packet, Protocol, Ranking},
    kernel::algorithm,
    listeners::{self, Listening},
    probes::ask::{self, Asker, Found},
    routes::{self, Fate, Route},
};

/// How often the question is put again because a listener came or went meanwhile.
const TRIES: usize = 4;
/// Client ports tried until there is one without a connection.
const PORTS: u16 = 64;
/// Most other interfaces that the question is put for.
const OTHERS: usize = 8;

/// The SYN in question.
pub(super) struct Sent<'a> {
    /// Where from.
    pub(super) client: SocketAddr,
    /// What of it was named.
    pub(super) named: Option<&'a Client>,
    /// Where to.
    pub(super) destination: SocketAddr,
    /// Interface, if it was named.
    pub(super) device: Option<&'a str>,
}

/// Whether a SYN gets as far as the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Its destination is local.
    Local,
    /// Its destination is not.
    Elsewhere(Route),
    /// Its destination is not, unless the packet has a mark that other tables are for.
    ByMark,
    /// It is dropped: the way back to the client is through another interface.
    ReversePath,
    /// Not known.
    Unknown,
}

/// What was found.
pub(super) struct Scene {
    /// Whether the SYN gets there.
    pub(super) reach: Reach,
    /// The same through other interfaces, where listeners' devices may make a difference.
    pub(super) otherwise: Vec<Scene>,
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
        let mut asker = asker;
        let interfaces = Interfaces::here()?;
        let arrival = arrival(&interfaces, sent)?;
        let reach = reach(sent, &arrival);
        let sk_lookup = ask::sk_lookup_programs();
        let mut scene = Self::bare(interfaces, arrival, reach, sent, netns, sk_lookup);
        scene.fill(reborrow(&mut asker))?;
        for interface in scene.others() {
            let mut other = Self::bare(
                scene.interfaces.clone(),
                scene.interfaces.instead(&interface),
                reach,
                sent,
                netns,
                scene.sk_lookup.clone(),
            );
            other.fill(reborrow(&mut asker))?;
            scene.otherwise.push(other);
        }
        Ok(scene)
    }

    fn bare(
        interfaces: Interfaces,
        arrival: Arrival,
        reach: Reach,
        sent: &Sent<'_>,
        netns: u32,
        sk_lookup: Option<Vec<u32>>,
    ) -> Self {
        Self {
            packet: packet(&arrival, sent, netns),
            arrival,
            interfaces,
            reach,
            client: sent.client,
            listeners: Vec::new(),
            kernel: Err(String::new()),
            ranking: Ranking::AddressFirst,
            algorithm: None,
            sk_lookup,
            otherwise: Vec::new(),
        }
    }

    /// Interfaces that the SYN may come through as well, as far as the listeners' devices
    /// make a difference: those devices, and one that is none of them.
    fn others(&self) -> Vec<Interface> {
        let (here, others) = (&self.arrival.interface, self.arrival.others);
        let may = |interface: &&Interface| {
            let loopback = interface.index == LOOPBACK;
            let possible = if loopback {
                others == Others::Any
            } else {
                others != Others::None
            };
            possible && interface.up && interface.index != here.index
        };
        let mut devices: Vec<u32> = self
            .listeners
            .iter()
            .map(|listener| &listener.bound)
            .filter(|bound| bound.device != 0)
            .filter(|bound| {
                let on_device = Packet {
                    dif: bound.device,
                    sdif: 0,
                    ..self.packet
                };
                bound.fit(&on_device).is_ok()
            })
            .map(|bound| bound.device)
            .collect();
        devices.sort_unstable();
        devices.dedup();
        if devices.is_empty() {
            return Vec::new();
        }
        let bound = devices
            .iter()
            .filter_map(|&device| self.interfaces.indexed(device));
        let mut found: Vec<Interface> = bound.filter(may).cloned().collect();
        if devices.contains(&here.index) || devices.contains(&self.arrival.vrf) {
            let plain = self.interfaces.all.iter().filter(may);
            let mut plain = plain.filter(|one| !one.vrf && one.master == 0);
            found.extend(plain.find(|one| !devices.contains(&one.index)).cloned());
        }
        found.truncate(OTHERS);
        found
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

fn reborrow<'a>(asker: &'a mut Result<&mut Asker, String>) -> Result<&'a mut Asker, String> {
    asker.as_deref_mut().map_err(|why| why.clone())
}

/// How the SYN comes, as far as routes and addresses tell.
fn arrival(interfaces: &Interfaces, sent: &Sent<'_>) -> Result<Arrival> {
    let destination = sent.destination.ip();
    let client = sent.named.map(|client| client.address);
    // Where nobody is named, the way to anybody is as good a guess as any.
    let nobody = routes::NOBODY
        .into_iter()
        .find(|nobody| nobody.is_ipv4() == destination.is_ipv4());
    let to_client = client.or(nobody).and_then(|client| routes::to(client).ok());
    interfaces
        .arrival(&interfaces::Sent {
            device: sent.device,
            destination,
            client,
            to_destination: routes::to(destination).ok(),
            to_client,
        })
        .map_err(|error| Failure::usage(format!("{error:#}")).into())
}

/// Whether the SYN gets as far as the listeners: by the routes for packets that come in
/// through its interface, or, where these do not say, by those for packets sent from here.
fn reach(sent: &Sent<'_>, arrival: &Arrival) -> Reach {
    let destination = sent.destination.ip();
    if destination.is_loopback() {
        return Reach::Local;
    }
    let client = sent.named.map(|client| client.address);
    let fate = if arrival.interface.index == LOOPBACK
        || arrival.others == Others::None && sent.device.is_none()
    {
        // From this host itself.
        Fate::Unknown
    } else {
        routes::arriving(destination, client, arrival.interface.index).unwrap_or(Fate::Unknown)
    };
    let route = match fate {
        Fate::Routed(route) => Some(route),
        Fate::ReversePath => return Reach::ReversePath,
        Fate::Unknown => routes::to(destination).ok(),
    };
    match route {
        Some(Route::Local(_)) => Reach::Local,
        // A VRF has tables of its own.
        Some(_) if arrival.vrf != 0 => Reach::Unknown,
        Some(_) if routes::by_mark(destination).unwrap_or(true) => Reach::ByMark,
        Some(route) if fate != Fate::Unknown || sent.device.is_none() => Reach::Elsewhere(route),
        _ => Reach::Unknown,
    }
}

/// How this kernel looks listeners up.
fn algorithm() -> Algorithm {
    static FOUND: OnceLock<Algorithm> = OnceLock::new();
    *FOUND.get_or_init(|| algorithm::detect().0)
}

/// How full the port's bucket is, as far as the sockets of this namespace tell.
fn in_bucket(listeners: &[Listening], port: u16) -> usize {
    let shares = |listening: &&Listening| listening.bound.port % BUCKETS == port % BUCKETS;
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
        protocol: Protocol::Tcp,
        destination: sent.destination.ip(),
        port: sent.destination.port(),
        dif,
        sdif,
        l3mdev_accept: l3mdev.is_ok_and(|text| text.trim() != "0"),
    }
}
