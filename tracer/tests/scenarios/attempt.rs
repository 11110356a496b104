//! One connection attempt, as the client saw it.

use std::net::SocketAddr;

/// Who answered, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Name of the server.
    pub(crate) name: String,
    /// Process that accepted.
    pub(crate) pid: u32,
    /// Index of the listener within that server.
    pub(crate) index: usize,
    /// Inode number of the listener.
    pub(crate) inode: u64,
}

impl Identity {
    /// Reads an answer: `name pid index inode`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        Some(Self {
            name: words.next()?.to_owned(),
            pid: words.next()?.parse().ok()?,
            index: words.next()?.parse().ok()?,
            inode: words.next()?.parse().ok()?,
        })
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Somebody answered.
    Answered(Identity),
    /// The kernel refused: no listener.
    Refused,
    /// Something else.
    Failed(String),
}

/// One connection attempt: one SYN.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// Namespace in which the SYN arrives.
    pub(crate) netns: u64,
    /// From where.
    pub(crate) client: SocketAddr,
    /// To where.
    pub(crate) destination: SocketAddr,
    /// `CLOCK_MONOTONIC` before the SYN was sent.
    pub(crate) began_ns: u64,
    /// `CLOCK_MONOTONIC` after the attempt ended.
    pub(crate) ended_ns: u64,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Attempt {
    /// Who answered.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        match &self.outcome {
            Outcome::Answered(identity) => Some(identity),
            _ => None,
        }
    }

    /// The event that is about this attempt has the same.
    pub(crate) fn key(&self) -> (u64, SocketAddr, SocketAddr) {
        (self.netns, self.client, self.destination)
    }
}

/// Fails unless every attempt was answered by one of the servers named.
pub(crate) fn all_answered(attempts: &[Attempt], names: &[&str]) -> anyhow::Result<()> {
    let wrong = attempts.iter().find(|attempt| {
        let name = attempt.identity().map(|identity| identity.name.as_str());
        !name.is_some_and(|name| names.contains(&name))
    });
    match wrong {
        None => Ok(()),
        Some(attempt) => anyhow::bail!(
            "the scenario itself went wrong: {} -> {} ended with {:?}, not with {names:?}",
            attempt.client,
            attempt.destination,
            attempt.outcome
        ),
    }
}

/// Fails unless every attempt was refused.
pub(crate) fn all_refused(attempts: &[Attempt]) -> anyhow::Result<()> {
    let answered = attempts
        .iter()
        .find(|attempt| attempt.outcome != Outcome::Refused);
    match answered {
        None => Ok(()),
        Some(attempt) => anyhow::bail!(
            "the scenario itself went wrong: {} -> {} ended with {:?}, not refused",
            attempt.client,
            attempt.destination,
            attempt.outcome
        ),
    }
}
