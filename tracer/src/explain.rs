//! Which listening socket a SYN would get now, by which rule, and why the others would not.
//! Sends no packet.
#![forbid(unsafe_code)]

pub(crate) mod answer;
mod choice;
mod compose;
mod notes;
mod scene;
pub(crate) mod table;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{Circumstances, Client, Destination, Question},
    failure::Failure,
    judge::explain::{CLIENT_PORT, CLIENT_V4, CLIENT_V6},
    kernel::offsets::offsets_of_running_kernel,
    namespaces::{self, Namespaces},
    netfilter::Rules,
    probes::ask::Asker,
    processes::{self, Processes},
    remark::remark,
};

use answer::Answer;
use scene::{Scene, Sent};

/// With many questions: how old what is known of a socket's owners, or of netfilter's rules, may
/// be.
const OWNERS_AGE: Duration = Duration::from_secs(10);

/// What is kept from question to question.
pub(crate) struct Explainer {
    /// The program, or why there is none.
    asker: Result<Asker, String>,
    namespaces: Namespaces,
    processes: Processes,
    /// Rules that translate, per namespace, and when they were read.
    rules: HashMap<u32, (Rules, Instant)>,
    /// Many questions: owners are not looked for with each.
    many: bool,
}

impl Explainer {
    /// `many`: more than one question is to come.
    pub(crate) fn new(many: bool) -> Self {
        let asker = offsets_of_running_kernel().and_then(|offsets| Asker::load(&offsets));
        Self {
            asker: asker.map_err(|error| format!("{error:#}")),
            namespaces: Namespaces::default(),
            processes: Processes::default(),
            rules: HashMap::new(),
            many,
        }
    }

    pub(crate) fn explain(&mut self, question: &Question) -> Result<Answer> {
        let Question {
            destination,
            circumstances,
        } = question;
        let Circumstances { from, netns, .. } = circumstances;
        let sent = Sent {
            client: client(destination.address.ip(), from.as_ref())?,
            named: from.as_ref(),
            destination: destination.address,
            device: device(destination, circumstances)?,
        };
        let own = namespaces::own().context("cannot tell this process's network namespace")?;
        let inode = netns.as_ref().map_or(Ok(own), namespaces::named)?;
        // Whole, as it may be what keeps the namespace.
        let mut found = None;
        if inode != own {
            let gone = || Failure::usage(format!("network namespace {inode} is gone"));
            found = Some(namespaces::find(inode).ok_or_else(gone)?);
        }
        let here = Path::new("/proc/thread-self/ns/net");
        let path = found.as_ref().map_or(here, |found| &found.path);
        let asker = self.asker.as_mut().map_err(|why| why.clone());
        let fresh = |(_, read): &(Rules, Instant)| self.many && read.elapsed() < OWNERS_AGE;
        let known = self.rules.get(&inode).is_some_and(fresh);
        let looked = namespaces::within(path, inode, || {
            let scene = Scene::look(asker, &sent, inode)?;
            Ok((scene, (!known).then(Rules::here)))
        });
        let (scene, rules) = looked.map_err(|error| {
            if error.is::<Failure>() {
                return error;
            }
            Failure::environment(format!(
                "cannot look into network namespace {inode}: {error:#}. Run it as root, for \
                 example with sudo."
            ))
            .into()
        })?;
        self.prepare_owners(&scene);
        self.namespaces.refresh();
        let netns = self.namespaces.describe(inode, 0);
        if let Some(rules) = rules {
            self.rules.insert(inode, (rules, Instant::now()));
        }
        let mut answer = Answer::of(&scene, &sent, &netns, &mut |inode| {
            let owners = self.processes.owners(inode, OWNERS_AGE);
            let in_kernel = inode != 0 && owners.is_empty() && self.processes.sees_all();
            (owners, in_kernel)
        });
        if let Some((rules, _)) = self.rules.get(&inode) {
            answer.translated(rules);
        }
        Ok(answer)
    }

    /// One scan of /proc serves all candidates; with many questions as often as costs a tenth of a
    /// CPU at most.
    fn prepare_owners(&mut self, scene: &Scene) {
        let inodes = scene.listeners.iter().map(|listener| listener.inode);
        if self.many {
            inodes.for_each(|inode| self.processes.expect(inode));
        } else {
            self.processes.prepare(inodes);
        }
        let unknown = |inode| self.processes.known(inode).is_empty();
        if !self.many
            && scene.listeners.iter().any(|one| unknown(one.inode))
            && let Some(why) = processes::blindness(self.processes.hidden())
        {
            remark(format_args!("owners may be missing (?): {why}"));
        }
    }
}

/// The interface, wherever it was named: with the destination, the client, or by `--dev`.
fn device<'a>(
    destination: &'a Destination,
    circumstances: &'a Circumstances,
) -> Result<Option<&'a str>> {
    let client = circumstances.from.as_ref();
    let client = client.and_then(|client| client.device.as_deref());
    let named = [
        circumstances.dev.as_deref(),
        destination.device.as_deref(),
        client,
    ];
    let mut named = named.into_iter().flatten();
    let first = named.next();
    if let Some((one, other)) = first.zip(named.find(|other| Some(*other) != first)) {
        return Err(Failure::usage(format!(
            "{one:?} and {other:?} are both named as the interface: a SYN comes through one"
        ))
        .into());
    }
    Ok(first)
}

/// The client of the SYN; what was not named of it is made up.
fn client(destination: IpAddr, named: Option<&Client>) -> Result<SocketAddr> {
    let made_up = match (destination, destination.is_loopback()) {
        (_, true) => destination,
        (IpAddr::V4(_), _) => CLIENT_V4.into(),
        (IpAddr::V6(_), _) => CLIENT_V6.into(),
    };
    let address = named.map_or(made_up, |client| client.address);
    if address.is_ipv4() != destination.is_ipv4() {
        return Err(Failure::usage(format!(
            "{address} and {destination} are of different families: a SYN has one"
        ))
        .into());
    }
    let port = named.and_then(|client| client.port).unwrap_or(CLIENT_PORT);
    Ok(SocketAddr::new(address, port))
}
