//! Who listened when, from the servers themselves, and what that makes of a connection: the
//! oracle that verdicts are held to. Written apart from sockpick's judge, and simpler.

use anyhow::{Result, bail};

use crate::attempt::Attempt;
use crate::kernel::monotonic_ns;
use crate::server::Server;
use crate::truth::{Socket, Truth};

/// A listener's life. Each end lies between two readings of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// The socket.
    pub(crate) socket: Socket,
    /// Before and after it was opened.
    pub(crate) opened: (u64, u64),
    /// Before and after it was closed.
    pub(crate) closed: Option<(u64, u64)>,
}

/// All listeners there were.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// In the order they were opened.
    pub(crate) spans: Vec<Span>,
}

/// What may be said of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WantVerdict {
    /// Verdict and reason; more than one where listeners came or went during the attempt.
    pub(crate) any_of: Vec<(&'static str, Option<&'static str>)>,
    /// Inodes of the listeners that may be named as expected; empty: none may, unless
    /// `service` is given.
    pub(crate) expected: Vec<u64>,
    /// Name of the service.
    pub(crate) service: Option<&'static str>,
}

impl WantVerdict {
    /// Exactly this.
    pub(crate) fn is(verdict: &'static str, reason: Option<&'static str>) -> Self {
        Self {
            any_of: vec![(verdict, reason)],
            ..Self::default()
        }
    }

    /// A service is expected, and its listener, if it has one.
    pub(crate) fn of(mut self, service: &'static str, expected: Vec<u64>) -> Self {
        self.service = Some(service);
        self.expected = expected;
        self
    }
}

/// Whether a verdict is an alert.
pub(crate) fn is_alert(verdict: &str) -> bool {
    matches!(verdict, "misdirected" | "uncovered")
}

/// How a socket fits a packet: address, device, family; each the more specific if true.
type Fit = (bool, bool, bool);

impl Ledger {
    /// A server listens since it was started.
    pub(crate) fn opened(&mut self, server: &Server) {
        for mut socket in Truth::of(&[server]).sockets {
            // It joins the group that is there, or founds one.
            let mut live = self.spans.iter().filter(|span| span.closed.is_none());
            let alike = |span: &&Span| {
                Socket {
                    generation: 0,
                    ..span.socket.clone()
                }
                .group()
                    == socket.group()
            };
            let group = live.find(alike).map(|span| span.socket.generation);
            socket.generation = group.unwrap_or(socket.inode);
            self.spans.push(Span {
                socket,
                opened: server.started,
                closed: None,
            });
        }
    }

    /// Starts a server and writes it down.
    pub(crate) fn start(&mut self, listen: crate::listen::Listen) -> Result<Server> {
        let server = Server::start(listen)?;
        self.opened(&server);
        Ok(server)
    }

    /// Ends a server and writes that down.
    pub(crate) fn stop(&mut self, server: Server) -> Result<()> {
        let inodes: Vec<u64> = server.hello.listeners.iter().map(|l| l.inode).collect();
        let before = monotonic_ns()?;
        drop(server);
        let after = monotonic_ns()?;
        for span in &mut self.spans {
            if span.closed.is_none() && inodes.contains(&span.socket.inode) {
                span.closed = Some((before, after));
            }
        }
        Ok(())
    }

    /// The sockets that listen now.
    pub(crate) fn truth(&self) -> Truth {
        let live = self.spans.iter().filter(|span| span.closed.is_none());
        Truth {
            sockets: live.map(|span| span.socket.clone()).collect(),
        }
    }

    /// What is to be said of an attempt that came in by `device`, when nothing is
    /// configured and nothing steers.
    pub(crate) fn verdict(&self, attempt: &Attempt, device: &str) -> Result<WantVerdict> {
        let Some(identity) = attempt.identity() else {
            return Ok(WantVerdict::is("refused", None));
        };
        let chosen =
            self.spans.iter().rev().find(|span| {
                span.socket.inode == identity.inode && span.opened.0 <= attempt.ended_ns
            });
        let Some(chosen) = chosen.and_then(|span| fit(&span.socket, attempt, device)) else {
            bail!("the scenario itself went wrong: {identity:?} fits no listener");
        };
        let better = |span: &&Span| {
            fit(&span.socket, attempt, device).is_some_and(|other| beats(other, chosen))
        };
        let better: Vec<&Span> = self.spans.iter().filter(better).collect();
        let mut want = WantVerdict::default();
        for span in &better {
            want.expected.push(span.socket.inode);
        }
        let live = |span: &&&Span| span.surely_alive(attempt);
        if let Some(span) = better.iter().find(live) {
            let exact = fit(&span.socket, attempt, device).is_some_and(|fit| fit.0);
            let reason = if exact == chosen.0 {
                "dev_order"
            } else {
                "legacy_order"
            };
            want.any_of.push(("misdirected", Some(reason)));
            return Ok(want);
        }
        let gone = better.iter().find(|span| span.surely_gone(attempt));
        if let Some(span) = gone {
            let other = fit(&span.socket, attempt, device);
            let same = other.is_some_and(|other| (other.0, other.1) == (chosen.0, chosen.1));
            let reason = if same { "dual_stack" } else { "restart_gap" };
            want.any_of.push(("uncovered", Some(reason)));
        }
        let unreachable = self.unreachable(attempt, device);
        if !unreachable.is_empty() && !chosen.0 && gone.is_none() {
            want.any_of.push(("uncovered", Some("dev_mismatch")));
            want.expected.extend(unreachable);
        }
        if better.iter().any(|span| span.changes_during(attempt)) {
            want.any_of
                .extend([("uncovered", Some("restart_gap")), ("misdirected", None)]);
            // It may never have been there before.
            if gone.is_none() {
                want.any_of.push(("ok", None));
            }
        }
        if want.any_of.is_empty() {
            return Ok(WantVerdict::is("ok", None));
        }
        Ok(want)
    }

    /// Live listeners on the attempt's very address, but on another device.
    fn unreachable(&self, attempt: &Attempt, device: &str) -> Vec<u64> {
        let away = self.spans.iter().filter(|span| {
            let socket = &span.socket;
            let other = socket
                .device
                .as_deref()
                .is_some_and(|bound| bound != device);
            other
                && span.surely_alive(attempt)
                && socket.netns == attempt.netns
                && socket.fits(attempt.destination) == "exact"
        });
        away.map(|span| span.socket.inode).collect()
    }
}

impl Span {
    fn surely_alive(&self, attempt: &Attempt) -> bool {
        self.opened.1 <= attempt.began_ns
            && self
                .closed
                .is_none_or(|closed| closed.0 >= attempt.ended_ns)
    }

    fn surely_gone(&self, attempt: &Attempt) -> bool {
        self.closed
            .is_some_and(|closed| closed.1 <= attempt.began_ns)
    }

    fn changes_during(&self, attempt: &Attempt) -> bool {
        let later = self.opened.0 >= attempt.ended_ns;
        !later && !self.surely_alive(attempt) && !self.surely_gone(attempt)
    }
}

/// How a socket fits an attempt's packet; `None` if it does not.
fn fit(socket: &Socket, attempt: &Attempt, device: &str) -> Option<Fit> {
    if socket.netns != attempt.netns {
        return None;
    }
    let ipv4 = attempt.destination.is_ipv4();
    let native = socket.address.is_ipv4() == ipv4;
    if ipv4 && socket.v6only {
        return None;
    }
    let exact = match socket.fits(attempt.destination) {
        "exact" => true,
        "none" => return None,
        _ => false,
    };
    let bound = match socket.device.as_deref() {
        None => false,
        Some(name) if name == device => true,
        Some(_) => return None,
    };
    Some((exact, bound, native))
}

/// The address counts first; device and family do not weigh against each other.
fn beats(a: Fit, b: Fit) -> bool {
    if a.0 != b.0 {
        return a.0;
    }
    a.1 >= b.1 && a.2 >= b.2 && a != b
}
