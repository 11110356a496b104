//! What an event about a connection attempt has to say.

use std::collections::HashMap;

use anyhow::{Result, bail};

use crate::attempt::{Attempt, Outcome};
use crate::client::pending;
use crate::ledger::{Ledger, WantVerdict, is_alert};
use crate::trace::Recorded;
use crate::truth::{GroupKey, Socket, Truth};

/// What a scenario knows beyond its listeners.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    /// `via`; by default the plain lookup, or the hash of a group.
    pub(crate) via: Option<&'static str>,
    /// `reuseport.program_id`
    pub(crate) program_id: Option<u32>,
    /// `steered_by`: the one program, where it is known.
    pub(crate) steered_by: Option<u32>,
    /// Interface: index and name.
    pub(crate) interface: (u32, String),
    /// Connections came one after the other: who accepted last and the queue are known.
    pub(crate) sequential: bool,
    /// Name of the namespace.
    pub(crate) netns_name: Option<String>,
    /// The first connection that a process accepts from a listener need not name it as an
    /// owner: it inherited the listener after sockpick looked.
    pub(crate) new_heirs: bool,
    /// The verdict; by default `ok`, `refused` or `steered` by how the attempt ended.
    pub(crate) verdict: Option<WantVerdict>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            via: None,
            program_id: None,
            steered_by: None,
            interface: (1, "lo".to_owned()),
            sequential: true,
            netns_name: None,
            new_heirs: false,
            verdict: None,
        }
    }
}

/// What one event has to say.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// The attempt it is about.
    pub(crate) attempt: Attempt,
    /// `match`
    pub(crate) matched: &'static str,
    /// `via`
    pub(crate) via: &'static str,
    /// `steered_by`: the one program, where it is known.
    pub(crate) steered_by: Option<u32>,
    /// `ifindex` and `ifname`
    pub(crate) interface: (u32, String),
    /// `netns.name`
    pub(crate) netns_name: Option<String>,
    /// The listener; `None` if there is none.
    pub(crate) listener: Option<WantListener>,
    /// Verdict, reason, whom it expects.
    pub(crate) verdict: WantVerdict,
}

/// What it has to say about the listener.
#[derive(Clone, Debug)]
pub(crate) struct WantListener {
    /// The socket.
    pub(crate) socket: Socket,
    /// Processes that must be among its owners.
    pub(crate) owners: Vec<u32>,
    /// `accepted_by`
    pub(crate) accepted_by: AcceptedBy,
    /// `queue.length`, where known.
    pub(crate) queue: Option<u32>,
    /// Its group.
    pub(crate) group: Option<WantGroup>,
}

/// Who accepted the last connection before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AcceptedBy {
    /// Connections were open at the same time, so it cannot be told.
    Unknown,
    /// Nobody since sockpick runs.
    Nobody,
    /// This process.
    Process(u32),
}

/// What it has to say about the group.
#[derive(Clone, Debug)]
pub(crate) struct WantGroup {
    /// Tells groups apart.
    pub(crate) key: GroupKey,
    /// `reuseport.size`
    pub(crate) size: u16,
    /// `reuseport.member`
    pub(crate) member: u16,
    /// `reuseport.program_id`
    pub(crate) program_id: Option<u32>,
}

/// A connection that another listener has to be said to have got than its SYN.
#[derive(Clone, Debug)]
pub(crate) struct WantHandover {
    /// The connection.
    pub(crate) attempt: Attempt,
    /// `cookie_ack` or `migrated`
    pub(crate) why: &'static str,
    /// Inode of the listener that accepted it.
    pub(crate) inode: u64,
    /// Inode of the listener that its SYN got.
    pub(crate) syn: u64,
    /// Verdict and reason.
    pub(crate) verdict: (&'static str, &'static str),
    /// Inode of the listener that is expected.
    pub(crate) expected: Option<u64>,
}

/// Everything that a recording has to contain, and nothing else.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// One for each event.
    pub(crate) all: Vec<Want>,
    /// One for each hand-over.
    pub(crate) handovers: Vec<WantHandover>,
    /// Who accepted last from each listener since sockpick runs.
    accepted: HashMap<u64, u32>,
    /// Processes and listeners that have met.
    served: std::collections::HashSet<(u32, u64)>,
}

impl Wants {
    /// What is wanted where only alerts are told; of what may be one or not, what was `recorded`.
    pub(crate) fn alerts(&self, recorded: &Recorded) -> Self {
        let is_told = |want: &&Want| {
            let mut verdicts = want.verdict.any_of.iter();
            let alerts = verdicts.clone().filter(|(verdict, _)| is_alert(verdict));
            let key = want.attempt.key();
            let during = want.attempt.began_ns..=want.attempt.ended_ns;
            let mut events = recorded.events.iter();
            verdicts.all(|(verdict, _)| is_alert(verdict))
                || alerts.count() > 0
                    && events.any(|event| event.key() == key && during.contains(&event.ktime_ns))
        };
        let handovers = self.handovers.iter();
        let handovers = handovers.filter(|want| is_alert(want.verdict.0));
        Self {
            all: self.all.iter().filter(is_told).cloned().collect(),
            handovers: handovers.cloned().collect(),
            ..Self::default()
        }
    }

    /// Every attempt must have an event; who got it is what the answer says.
    pub(crate) fn add(
        &mut self,
        truth: &Truth,
        attempts: &[Attempt],
        expect: &Expect,
    ) -> Result<()> {
        for attempt in attempts {
            let want = self.want(truth, attempt, expect)?;
            self.all.push(want);
        }
        Ok(())
    }

    /// As [`Wants::add`], with the verdicts that the ledger says.
    pub(crate) fn add_judged(
        &mut self,
        ledger: &Ledger,
        attempts: &[Attempt],
        expect: &Expect,
    ) -> Result<()> {
        let truth = ledger.truth();
        for attempt in attempts {
            let mut want = self.want(&truth, attempt, expect)?;
            want.verdict = ledger.verdict(attempt, &expect.interface.1)?;
            self.all.push(want);
        }
        Ok(())
    }

    fn want(&mut self, truth: &Truth, attempt: &Attempt, expect: &Expect) -> Result<Want> {
        let inode = match &attempt.outcome {
            Outcome::Answered(identity) => Some(identity.inode),
            Outcome::Refused => None,
            Outcome::Failed(why) => bail!(
                "the scenario itself went wrong: {} -> {}: {why}",
                attempt.client,
                attempt.destination
            ),
        };
        let mut want = Want {
            attempt: attempt.clone(),
            matched: "none",
            via: expect.via.unwrap_or("lookup"),
            steered_by: expect.steered_by,
            interface: expect.interface.clone(),
            netns_name: expect.netns_name.clone(),
            listener: None,
            verdict: WantVerdict::is("refused", None),
        };
        if let (Some(inode), Some(identity)) = (inode, attempt.identity()) {
            let Some(socket) = truth.socket(inode) else {
                bail!("the scenario itself went wrong: nobody owns listener {inode}");
            };
            let listener = self.listener(truth, socket, identity.pid, expect);
            want.matched = socket.fits(attempt.destination);
            want.via = match expect.via {
                None if socket.reuseport => "reuseport_hash",
                _ => want.via,
            };
            want.listener = Some(listener);
            want.verdict = match want.via {
                "sk_lookup" => WantVerdict::is("steered", Some("bpf_sk_lookup")),
                "sk_assign" => WantVerdict::is("steered", Some("sk_assign")),
                "tproxy" => WantVerdict::is("steered", Some("tproxy")),
                _ => WantVerdict::is("ok", None),
            };
        }
        if let Some(verdict) = &expect.verdict {
            want.verdict = verdict.clone();
        }
        Ok(want)
    }

    fn listener(
        &mut self,
        truth: &Truth,
        socket: &Socket,
        served_by: u32,
        expect: &Expect,
    ) -> WantListener {
        let mut owners = vec![socket.pid];
        let known = !self.served.insert((served_by, socket.inode));
        if known || !expect.new_heirs {
            owners.push(served_by);
            owners.extend(&socket.heirs);
        }
        owners.sort_unstable();
        owners.dedup();
        let before = self.accepted.insert(socket.inode, served_by);
        let (size, member) = truth.place(socket);
        WantListener {
            socket: socket.clone(),
            owners,
            accepted_by: match before {
                _ if !expect.sequential => AcceptedBy::Unknown,
                Some(process) => AcceptedBy::Process(process),
                None => AcceptedBy::Nobody,
            },
            queue: expect.sequential.then_some(0),
            group: socket.reuseport.then(|| WantGroup {
                key: socket.group(),
                size,
                member,
                program_id: expect.program_id,
            }),
        }
    }

    /// An attempt that is connected to this socket's queue and not accepted yet.
    pub(crate) fn add_queued(
        &mut self,
        truth: &Truth,
        attempt: &Attempt,
        length: u32,
    ) -> Result<()> {
        let [socket] = truth.sockets.as_slice() else {
            bail!("only for a single listener");
        };
        if attempt.outcome != pending() {
            bail!("the scenario itself went wrong: {:?}", attempt.outcome);
        }
        self.all.push(Want {
            attempt: attempt.clone(),
            matched: socket.fits(attempt.destination),
            via: "lookup",
            steered_by: None,
            interface: Expect::default().interface,
            netns_name: None,
            listener: Some(WantListener {
                socket: socket.clone(),
                owners: vec![socket.pid],
                accepted_by: AcceptedBy::Nobody,
                queue: Some(length),
                group: None,
            }),
            verdict: WantVerdict::is("ok", None),
        });
        Ok(())
    }
}
