//! `sockpick listeners`: the listening sockets of every namespace, in the order in which
//! the kernel meets them.
#![forbid(unsafe_code)]

use std::{
    collections::HashMap,
    io::{self, Write as _},
    net::IpAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    cli::{ListenersArgs, Output},
    event::{Family, Netns, Owner, Queue},
    kernel::algorithm,
    listeners::chain,
    sinks::stdout::stdout,
    survey::{self, Survey, own_netns},
    words,
};

/// Version of the JSON output.
const SCHEMA: u32 = 1;
const TITLES: [&str; 9] = [
    "LISTENER", "V6ONLY", "QUEUE", "GROUP", "CHAIN", "UID", "NETNS", "UNIT", "OWNER",
];

/// A listening socket, as it is told.
#[derive(Serialize)]
struct Entry {
    schema: u32,
    netns: Arc<Netns>,
    address: IpAddr,
    port: u16,
    family: Family,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v6only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<u64>,
    uid: u32,
    queue: Option<Queue>,
    /// Absent for a socket that stands alone, of which a group cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    reuseport: Option<InGroup>,
    owners: Arc<[Owner]>,
    /// No process holds it, and every process could be looked into.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    in_kernel: bool,
}

/// The group that a socket is in.
#[derive(Clone, Copy, Serialize)]
struct InGroup {
    /// Number of the group within this output.
    group: usize,
    size: usize,
    /// Place of the socket among the group's in the chain, from 0: not its member index.
    chain: usize,
}

pub(super) fn run(args: &ListenersArgs) -> Result<()> {
    env_logger::init();
    let mut survey = Survey::take(&args.scope)?;
    let (algorithm, _) = algorithm::detect();
    let order = chain::order(&survey.listeners, algorithm, own_netns());
    let groups = in_groups(&chain::groups(&survey.listeners), &order);
    let entries: Vec<Entry> = order
        .into_iter()
        .map(|index| entry(&mut survey, index, groups.get(&index).copied()))
        .collect();
    survey::tell(&survey.remarks);
    let whole = !survey.missed_namespaces();
    write(args.output, &entries, whole).context("cannot write the output")
}

fn write(output: Output, entries: &[Entry], whole: bool) -> Result<()> {
    let mut out = io::BufWriter::new(stdout());
    match output {
        Output::Json => {
            for entry in entries {
                serde_json::to_writer(&mut out, entry).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
        Output::Table => out.write_all(table(entries, whole)?.as_bytes())?,
    }
    out.flush()?;
    Ok(())
}

/// Groups of more than one, numbered as they are met.
fn in_groups(groups: &[Vec<usize>], order: &[usize]) -> HashMap<usize, InGroup> {
    let mut of: HashMap<usize, (usize, InGroup)> = HashMap::new();
    for (key, members) in groups.iter().enumerate() {
        for (chain, &index) in members.iter().enumerate() {
            let group = InGroup {
                group: 0,
                size: members.len(),
                chain,
            };
            of.insert(index, (key, group));
        }
    }
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut found = HashMap::new();
    for &index in order {
        if let Some(&(key, group)) = of.get(&index).filter(|(_, group)| group.size > 1) {
            let next = numbers.len() + 1;
            let group = InGroup {
                group: *numbers.entry(key).or_insert(next),
                ..group
            };
            found.insert(index, group);
        }
    }
    found
}

fn entry(survey: &mut Survey, index: usize, reuseport: Option<InGroup>) -> Entry {
    let listener = survey.listeners[index].clone();
    let bound = listener.bound;
    Entry {
        schema: SCHEMA,
        netns: survey.netns(bound.netns),
        address: bound.shown_address(),
        port: bound.port,
        family: bound.family,
        device: survey.device(&bound),
        v6only: listener.complete.then_some(bound.v6only),
        inode: (listener.inode != 0).then_some(listener.inode),
        cookie: (listener.cookie != 0).then_some(listener.cookie),
        uid: listener.uid,
        queue: listener.complete.then_some(listener.queue),
        reuseport,
        owners: survey.owners(listener.inode),
        in_kernel: survey.in_kernel(&listener),
    }
}

fn table(entries: &[Entry], whole: bool) -> Result<String> {
    let mut text = String::new();
    if entries.is_empty() {
        let none = if whole {
            "no listeners\n"
        } else {
            "no listeners where it could be looked\n"
        };
        return Ok(none.into());
    }
    let own = own_netns();
    let foreign = entries.iter().any(|entry| entry.netns.inode != own);
    let mut rows: Vec<[String; TITLES.len()]> =
        entries.iter().map(|one| row(one, foreign)).collect();
    // A column that is empty in all lines is left out; else an empty cell has a mark.
    for column in 0..TITLES.len() {
        if rows.iter().any(|row| !row[column].is_empty()) {
            for row in rows.iter_mut().filter(|row| row[column].is_empty()) {
                row[column] = "-".into();
            }
        }
    }
    words::columns(&mut text, TITLES, 2..=2, &rows)?;
    Ok(text)
}

fn row(entry: &Entry, foreign: bool) -> [String; TITLES.len()] {
    [
        words::bound_at(entry.address, entry.port, entry.device.as_deref()),
        if entry.v6only == Some(true) {
            "yes".into()
        } else {
            String::new()
        },
        entry.queue.map_or_else(String::new, |queue| {
            format!("{}/{}", queue.length, queue.limit)
        }),
        entry
            .reuseport
            .map_or_else(String::new, |group| group.group.to_string()),
        entry.reuseport.map_or_else(String::new, |group| {
            format!("{} of {}", group.chain + 1, group.size)
        }),
        entry.uid.to_string(),
        if foreign {
            words::namespace(&entry.netns).into_owned()
        } else {
            String::new()
        },
        entry.owners.first().map(words::place).unwrap_or_default(),
        match words::owners(&entry.owners) {
            nobody if nobody.is_empty() && entry.in_kernel => words::KERNEL.into(),
            nobody if nobody.is_empty() => words::UNKNOWN.into(),
            owners => owners,
        },
    ]
}
