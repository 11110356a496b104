//! Many connections: none lost by default, all counted with the smallest buffer, and the
//! kernel's choice the same as without sockpick.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use socket2::{SockAddr, Socket};

use crate::attempt::{Attempt, Identity, Outcome};
use crate::compare::{compare, verdict};
use crate::context::Context;
use crate::kernel::{monotonic_ns, sysctl, version};
use crate::listen::{Listen, Opened, inode};
use crate::load::{self, loopback};
use crate::netns::Netns;
use crate::serve::set_comm;
use crate::truth::{self, Truth};
use crate::want::{Expect, Wants};

const MEMBERS: usize = 4;
const BACKLOG: u32 = 256;
/// Connections whose end the client has not waited for yet.
const OPEN: usize = 64;

/// A group whose members note who connected and end the connection at once with a reset.
struct Crowd {
    listeners: Vec<Socket>,
    threads: Vec<JoinHandle<()>>,
    /// Client and inode of the listener that got it.
    met: Arc<Mutex<HashMap<SocketAddr, u64>>>,
    address: SocketAddr,
}

impl Crowd {
    fn open(address: IpAddr) -> Result<Self> {
        // 128 before 5.4 (19f92a030ca6), in every namespace.
        sysctl("net.core.somaxconn", &BACKLOG.to_string())?;
        let address = SocketAddr::new(address, 80);
        let listen = Listen::on(address).group(MEMBERS).backlog(BACKLOG);
        let mut crowd = Self {
            listeners: listen.open()?,
            threads: Vec::new(),
            met: Arc::default(),
            address,
        };
        for listener in &crowd.listeners {
            listener.set_nonblocking(false)?;
            // Accepted connections inherit it.
            listener.set_linger(Some(Duration::ZERO))?;
            let (listener, met) = (listener.try_clone()?, Arc::clone(&crowd.met));
            let inode = inode(&listener)?;
            let thread = std::thread::spawn(move || accept_all(&listener, inode, &met));
            crowd.threads.push(thread);
        }
        Ok(crowd)
    }

    fn truth(&self, netns: &Netns) -> Result<Truth> {
        let socket = |listener: &Socket| {
            let opened = Opened::of(listener)?;
            Ok(truth::Socket {
                netns: netns.inode,
                name: "crowd".to_owned(),
                pid: std::process::id(),
                heirs: Vec::new(),
                inode: opened.inode,
                address: SocketAddr::new(opened.address, opened.port),
                v6only: opened.v6only,
                device: None,
                backlog: BACKLOG,
                reuseport: true,
                generation: 0,
            })
        };
        let sockets = self.listeners.iter().map(socket).collect::<Result<_>>()?;
        Ok(Truth { sockets })
    }

    /// Connects from `count` client ports, beginning with the `first`; several connections
    /// are open at a time. Each attempt says which listener got it.
    fn visit(&self, netns: &Netns, first: u32, count: u32) -> Result<Vec<Attempt>> {
        let to = SockAddr::from(self.address);
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut open = VecDeque::new();
        for nth in first..first + count {
            let socket = load::client(self.address.ip(), nth)?;
            let client = socket.local_addr()?.as_socket().context("no address")?;
            let began_ns = monotonic_ns()?;
            match socket.connect(&to) {
                Ok(()) => open.push_back(socket),
                // Accepted and reset before connect() looked.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => return Err(error).with_context(|| format!("from {client}")),
            }
            attempts.push(Attempt {
                netns: netns.inode,
                client,
                destination: self.address,
                began_ns,
                ended_ns: monotonic_ns()?,
                outcome: Outcome::Refused,
            });
            if open.len() > OPEN {
                open.pop_front().into_iter().for_each(wait_for_end);
            }
        }
        open.into_iter().for_each(wait_for_end);
        self.fill(&mut attempts)?;
        Ok(attempts)
    }

    /// Who got each attempt.
    fn fill(&self, attempts: &mut [Attempt]) -> Result<()> {
        // A connection reset before connect() looked may be noted a moment later.
        for _ in 0..100 {
            if self.lock()?.len() >= attempts.len() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut met = self.lock()?;
        for attempt in attempts {
            let inode = met.remove(&attempt.client);
            let inode = inode.with_context(|| format!("nobody met {}", attempt.client))?;
            attempt.outcome = Outcome::Answered(Identity {
                name: "crowd".to_owned(),
                pid: std::process::id(),
                index: 0,
                inode,
            });
        }
        Ok(())
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, HashMap<SocketAddr, u64>>> {
        self.met
            .lock()
            .map_err(|_| anyhow::anyhow!("a member panicked"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Ends accept() in its thread.
            let _ = listener.shutdown(std::net::Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn accept_all(listener: &Socket, inode: u64, met: &Mutex<HashMap<SocketAddr, u64>>) {
    while let Ok((connection, peer)) = listener.accept() {
        if let (Some(peer), Ok(mut met)) = (peer.as_socket(), met.lock()) {
            met.insert(peer, inode);
        }
        drop(connection);
    }
}

fn wait_for_end(mut socket: Socket) {
    // A reset or an end, it is all the same.
    let _ = socket.read(&mut [0]);
}

fn unordered() -> Expect {
    Expect {
        sequential: false,
        ..Expect::default()
    }
}

/// 20,000 connections, half of them over IPv6, or a fifth of that where neighbours of the kernel
/// see them all: every one has its event.
pub(crate) fn twenty_thousand(cx: &Context) -> Result<()> {
    let netns = Netns::fresh()?;
    set_comm("crowd")?;
    let crowds = [Crowd::open(loopback(false))?, Crowd::open(loopback(true))?];
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    let each = if version()? == (6, 12) { 10_000 } else { 2_000 };
    for crowd in &crowds {
        let attempts = crowd.visit(&netns, 0, each)?;
        wants.add(&crowd.truth(&netns)?, &attempts, &unordered())?;
    }
    if cx.ground_truth {
        println!("{} connections met somebody", wants.all.len());
        return Ok(());
    }
    compare(cx, &trace.finish()?, &wants)
}

/// The smallest buffer, and a reader that stops for a while: most events are lost, and
/// every loss is counted.
pub(crate) fn smallest_buffer(cx: &Context) -> Result<()> {
    const CONNECTIONS: u32 = 5_000;
    cx.need_all()?;
    let netns = Netns::fresh()?;
    set_comm("crowd")?;
    let crowd = Crowd::open(loopback(false))?;
    let trace = cx.trace(&["--buffer-size", "4096"])?;
    let mut attempts = crowd.visit(&netns, 0, 1000)?;
    trace.signal(Signal::SIGSTOP)?;
    attempts.extend(crowd.visit(&netns, 1000, 3000)?);
    trace.signal(Signal::SIGCONT)?;
    attempts.extend(crowd.visit(&netns, 4000, 1000)?);
    let recorded = trace.finish()?;
    if cx.ground_truth {
        return Ok(());
    }
    let (events, lost) = (recorded.events.len() as u64, recorded.lost());
    let mut problems = Vec::new();
    if events + lost != u64::from(CONNECTIONS) {
        problems.push(format!(
            "{events} events and {lost} lost are not {CONNECTIONS}"
        ));
    }
    if events == 0 || lost == 0 {
        problems.push(format!(
            "{events} events and {lost} lost: some of each were expected"
        ));
    }
    let mut by_key: HashMap<_, _> = attempts.iter().map(|a| (a.key(), a)).collect();
    for event in &recorded.events {
        let attempt = by_key.remove(&event.key());
        let inode = attempt.and_then(|a| a.identity()).map(|who| who.inode);
        if inode.is_none() || inode != event.inode() {
            problems.push(format!(
                "{} was served by {inode:?}: {event:?}",
                event.client.port
            ));
        }
    }
    verdict(problems, &recorded, attempts.len())
}

/// The same client ports meet the same members before, with and after sockpick.
pub(crate) fn passive(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let netns = Netns::fresh()?;
    set_comm("crowd")?;
    let crowds = [Crowd::open(loopback(false))?, Crowd::open(loopback(true))?];
    let sequence = || -> Result<Vec<Option<u64>>> {
        let mut all = Vec::new();
        for crowd in &crowds {
            let attempts = crowd.visit(&netns, 0, 200)?;
            all.extend(attempts.iter().map(|a| a.identity().map(|who| who.inode)));
        }
        Ok(all)
    };
    let before = sequence()?;
    let trace = cx.trace(&[])?;
    let with = sequence()?;
    let recorded = trace.finish()?;
    let after = sequence()?;
    if before != after {
        bail!("the scenario itself went wrong: the kernel's choice changed without sockpick");
    }
    if before != with {
        bail!("with sockpick, the same client ports met other members");
    }
    if !cx.ground_truth && recorded.events.len() != with.len() {
        bail!(
            "{} connections, {} events",
            with.len(),
            recorded.events.len()
        );
    }
    Ok(())
}
