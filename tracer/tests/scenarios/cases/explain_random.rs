//! Random sets of listeners: what `sockpick explain` says, and then who accepts a real SYN
//! of that very client.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::basic::second_host;
use crate::context::{Context, Failure};
use crate::explain::{Answer, Explain};
use crate::kernel::{can_be_asked, command, need_module, version};
use crate::listen::inode;
use crate::netns::Netns;

/// Sets of listeners for each kernel, with a seed of its own.
const SETS: u64 = 200;
/// Questions about each.
const QUESTIONS: u64 = 2;
/// The first of them.
const FIRST_PORT: u16 = 1000;
const FIRST_CLIENT_PORT: u16 = 20_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where SYNs go, and the interface that counts when they come from this host itself: the
/// one that has the address.
const DESTINATIONS: [(&str, &str); 8] = [
    ("127.0.0.1", "lo"),
    ("127.0.0.2", "lo"),
    ("10.9.9.9", "lo"),
    ("::1", "lo"),
    ("fd00::1", "lo"),
    ("192.0.2.1", "near"),
    ("192.0.2.3", "near"),
    ("2001:db8::1", "near"),
];
/// The first of them, which need no other interface.
const ON_LOOPBACK: usize = 5;
/// Where listeners are bound.
const BOUND: [&str; 10] = [
    "0.0.0.0",
    "0.0.0.0",
    "127.0.0.1",
    "10.9.9.9",
    "192.0.2.1",
    "::",
    "::",
    "::1",
    "2001:db8::1",
    "::ffff:192.0.2.1",
];

/// A listener of a set.
struct Listener {
    socket: Socket,
    inode: u64,
    /// As the set is told of.
    what: String,
}

/// One random set after the other.
struct Sets {
    random: Random,
    /// The other end of `near`; loopback is all there is without the module veth.
    far: Option<Netns>,
    client_port: u16,
}

/// A SYN to come.
struct Syn {
    client: SocketAddr,
    destination: SocketAddr,
    device: &'static str,
    from_far: bool,
}

/// More than a thousand sets over the matrix: no answer may differ from what happens.
pub(crate) fn explain_random(cx: &Context) -> Result<()> {
    cx.need_sockpick()?;
    let netns = Netns::fresh()?;
    let veth = need_module("veth").is_ok();
    let far = veth.then(|| second_host(&netns)).transpose()?;
    addresses(far.as_ref())?;
    let (major, minor) = version()?;
    let seed = u64::from(major) << 32 | u64::from(minor);
    let asked = can_be_asked()?;
    let mut sets = Sets {
        random: Random(seed),
        far,
        client_port: FIRST_CLIENT_PORT,
    };
    let mut kernel = Explain::start(cx)?;
    let mut rules = Explain::start_as_nobody(cx)?;
    let mut problems = Vec::new();
    let (mut answered, mut refused) = (0, 0);
    for number in 0..SETS {
        let port = FIRST_PORT + number as u16;
        let (listeners, started) = sets.listeners(port)?;
        for _ in 0..QUESTIONS {
            let syn = sets.syn(port);
            let question = sets.question(&syn);
            let said = kernel.ask(&question)?;
            let by_rules = rules.ask(&question)?;
            let accepted = sets.send(&syn, &listeners)?;
            match accepted {
                Some(_) => answered += 1,
                None => refused += 1,
            }
            let mut wrong = None;
            if asked {
                wrong = disagreement(&said, accepted);
            }
            if rules_apply(&by_rules, &started)? {
                wrong = wrong.or(disagreement_of_rules(&by_rules, accepted, &listeners));
            }
            problems.extend(wrong.map(|wrong| {
                format!("seed {seed}, set {number} ({started}): {question}: {wrong}")
            }));
        }
    }
    if answered < SETS / 2 || refused < SETS / 20 {
        bail!("the scenario itself went wrong: {answered} answered, {refused} refused");
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(Failure {
        message: format!(
            "{} of {} answers were wrong",
            problems.len(),
            SETS * QUESTIONS
        ),
        details: problems.into_iter().take(10).collect(),
    }
    .into())
}

/// Addresses besides those of the veth pair, and the far end's way to them.
fn addresses(far: Option<&Netns>) -> Result<()> {
    add("lo", "10.9.9.9/32")?;
    add("lo", "fd00::1/128")?;
    let Some(far) = far else { return Ok(()) };
    add("near", "192.0.2.3/24")?;
    add("near", "2001:db8::1/64")?;
    far.inside(|| {
        add("far", "2001:db8::2/64")?;
        command(&["ip", "route", "add", "10.9.9.9/32", "via", "192.0.2.1"])?;
        let route = [
            "ip",
            "-6",
            "route",
            "add",
            "fd00::1/128",
            "via",
            "2001:db8::1",
        ];
        command(&route).map(drop)
    })
}

fn add(device: &str, address: &str) -> Result<()> {
    let mut words = vec!["ip", "address", "add", address, "dev", device];
    if address.contains(':') {
        words.insert(1, "-6");
        words.push("nodad");
    }
    command(&words).map(drop)
}

/// Whether the rules know enough. Before 5.16 they give a socket bound to the device a point
/// that the kernel does not; without `inet_diag` they know of no device and no `v6only`.
fn rules_apply(said: &Answer, started: &str) -> Result<bool> {
    let device = version()? >= (5, 16) || !started.contains('%');
    let plain = !started.contains('%') && !started.contains("v6only");
    Ok(device && (plain || !incomplete(said)))
}

fn incomplete(said: &Answer) -> bool {
    said.notes.iter().any(|note| note.contains("inet_diag"))
}

fn disagreement(said: &Answer, accepted: Option<u64>) -> Option<String> {
    if said.asked != "kernel" {
        return Some(format!("the kernel was not asked: {said:?}"));
    }
    let ok = said.inode() == accepted && said.listener.is_some() == accepted.is_some();
    let explained = (said.rule != "unexplained" || incomplete(said)) && said.certain;
    (!ok || !explained).then(|| format!("{accepted:?} accepted; said: {said:?}"))
}

/// The rules name no member of a group.
fn disagreement_of_rules(
    said: &Answer,
    accepted: Option<u64>,
    listeners: &[Listener],
) -> Option<String> {
    let what = |inode: u64| {
        let listener = listeners.iter().find(|listener| listener.inode == inode);
        listener.map(|listener| listener.what.clone())
    };
    let ok = match (accepted, &said.listener) {
        (None, None) => true,
        (Some(accepted), Some(_)) if said.certain => said.inode() == Some(accepted),
        (Some(accepted), Some(_)) => said
            .candidates
            .iter()
            .filter(|one| one["outcome"] == "picked_group")
            .any(|one| one["inode"].as_u64().and_then(what) == what(accepted)),
        _ => false,
    };
    let by_rules = said.asked == "rules";
    (!ok || !by_rules).then(|| format!("{accepted:?} accepted; the rules said: {said:?}"))
}

impl Sets {
    /// Opens a set; those that may not stand beside the others are left out.
    fn listeners(&mut self, port: u16) -> Result<(Vec<Listener>, String)> {
        let mut listeners = Vec::new();
        let shared = self.random.one_in(8) == 0;
        for _ in 0..=self.random.below(5) {
            let address: IpAddr = self.random.pick(&BOUND).parse()?;
            let device = match self.random.below(10) {
                0..2 => Some("lo"),
                2..4 if self.far.is_some() => Some("near"),
                _ => None,
            };
            let reuseport = !shared || self.random.below(8) == 0;
            let v6only = address.is_ipv6() && self.random.one_in(4) == 0;
            for _ in 0..=self.random.below(4) / 2 * self.random.below(3) {
                let at = SocketAddr::new(address, port);
                let Some(socket) = open(at, device, reuseport, v6only)? else {
                    break;
                };
                let mark = device.map_or_else(String::new, |device| format!("%{device}"));
                let only = if v6only { " v6only" } else { "" };
                listeners.push(Listener {
                    inode: inode(&socket)?,
                    socket,
                    what: format!("{address}{mark}{only}"),
                });
            }
        }
        // A member that leaves changes the order of the others.
        if listeners.len() > 2 && self.random.one_in(4) == 0 {
            let leaves = self.random.below(listeners.len() as u64) as usize;
            listeners.remove(leaves);
        }
        let started: Vec<String> = listeners
            .iter()
            .map(|listener| format!("{}={}", listener.inode, listener.what))
            .collect();
        Ok((listeners, started.join(" ")))
    }

    fn syn(&mut self, port: u16) -> Syn {
        self.client_port += 1;
        let there = if self.far.is_some() {
            &DESTINATIONS[..]
        } else {
            &DESTINATIONS[..ON_LOOPBACK]
        };
        let (destination, usual) = *self.random.pick(there);
        let destination = destination.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]));
        let reachable = !destination.is_loopback();
        let from_far = self.far.is_some() && reachable && self.random.one_in(2) == 0;
        let far: IpAddr = if destination.is_ipv4() {
            [192, 0, 2, 2].into()
        } else {
            [0x2001, 0xdb8, 0, 0, 0, 0, 0, 2].into()
        };
        Syn {
            client: SocketAddr::new(if from_far { far } else { destination }, self.client_port),
            destination: SocketAddr::new(destination, port),
            device: if from_far { "near" } else { usual },
            from_far,
        }
    }

    /// The interface is left to sockpick now and then: client and routes tell it.
    fn question(&mut self, syn: &Syn) -> String {
        let Syn {
            client,
            destination,
            device,
            ..
        } = syn;
        if self.random.one_in(2) == 0 {
            return format!("{destination} --from {client}");
        }
        format!("{destination} --from {client} --dev {device}")
    }

    /// Sends the SYN; the inode number of the listener that accepts it, or `None` if it is
    /// refused.
    fn send(&self, syn: &Syn, listeners: &[Listener]) -> Result<Option<u64>> {
        let connect = || connect(syn.client, syn.destination);
        let connected = match self.far.as_ref().filter(|_| syn.from_far) {
            Some(far) => far.inside(connect)?,
            None => connect()?,
        };
        let Some(_connection) = connected else {
            return Ok(None);
        };
        // The client's last segment may still be on its way through the veth.
        for _ in 0..1000 {
            for listener in listeners {
                match listener.socket.accept() {
                    Ok((accepted, _)) => {
                        accepted.set_linger(Some(Duration::ZERO))?;
                        return Ok(Some(listener.inode));
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error).context("cannot accept"),
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("nobody accepts {} -> {}", syn.client, syn.destination)
    }
}

/// A listener, unless it is in conflict with those that are there.
fn open(
    at: SocketAddr,
    device: Option<&str>,
    reuseport: bool,
    v6only: bool,
) -> Result<Option<Socket>> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(reuseport)?;
    if v6only {
        socket.set_only_v6(true)?;
    }
    socket.bind_device(device.map(str::as_bytes))?;
    let bound = socket.bind(&SockAddr::from(at));
    match bound.and_then(|()| socket.listen(16)) {
        Ok(()) => {}
        Err(error)
            if [ErrorKind::AddrInUse, ErrorKind::InvalidInput].contains(&error.kind())
                || error.raw_os_error() == Some(libc::EADDRNOTAVAIL) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(|| format!("cannot listen on {at}")),
    }
    socket.set_nonblocking(true)?;
    Ok(Some(socket))
}

fn connect(client: SocketAddr, destination: SocketAddr) -> Result<Option<Socket>> {
    let socket = Socket::new(
        Domain::for_address(destination),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket
        .bind(&SockAddr::from(client))
        .with_context(|| format!("client cannot bind {client}"))?;
    match socket.connect_timeout(&SockAddr::from(destination), TIMEOUT) {
        Ok(()) => Ok(Some(socket)),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{client} -> {destination}")),
    }
}

/// `SplitMix64`: the same numbers from the same seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// 0 in one of `many` cases.
    fn one_in(&mut self, many: u64) -> u64 {
        self.below(many)
    }

    fn pick<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len() as u64) as usize]
    }
}
