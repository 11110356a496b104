//! `sockpick audit`: listeners that stand in each other's way, and what shows that it
//! happened. Needs no BPF, and as an ordinary user sees what that user may see.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
    io::{self, Write as _},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::survey::{self, Survey, own_netns};
use crate::{
    audit::{self, Finding, Group, Held, Member, Scene, Severity},
    cli::{AuditArgs, Output},
    failure::Failure,
    judge::rules::Algorithm,
    kernel::algorithm::{self, How},
    listeners::{
        Listening, chain,
        connections::{Connection, connections},
    },
    processes, sinks, words,
};

/// Most connections whose holders are looked for; past that it is said how many were not.
const MOST_CONTESTED: usize = 4096;

/// A finding with what the whole run has in common.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    finding: &'a Finding,
    algorithm: Algorithm,
    algorithm_from: How,
}

pub(super) fn run(args: &AuditArgs) -> Result<()> {
    env_logger::init();
    let mut survey = Survey::take(&args.scope)?;
    let (algorithm, how) = algorithm::detect();
    let scene = scene(&mut survey, args, algorithm);
    let findings = audit::findings(&scene);
    survey::tell(&survey.remarks);
    let (shown, hidden): (Vec<&Finding>, Vec<&Finding>) = findings
        .iter()
        .partition(|finding| finding.severity >= args.severity);
    let last = last_line(&survey, &shown, &hidden, (algorithm, how));
    write(args.output, &shown, (algorithm, how), &last).context("cannot write the output")?;
    if shown
        .iter()
        .any(|finding| finding.severity >= Severity::Warning)
    {
        return Err(Failure::findings("").into());
    }
    Ok(())
}

fn write(
    output: Output,
    shown: &[&Finding],
    (algorithm, algorithm_from): (Algorithm, How),
    last: &str,
) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for &finding in shown {
        match output {
            Output::Table => out.write_all(told(finding)?.as_bytes())?,
            Output::Json => {
                let line = Line {
                    finding,
                    algorithm,
                    algorithm_from,
                };
                serde_json::to_writer(&mut out, &line).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
    }
    if output == Output::Table {
        out.write_all(last.as_bytes())?;
    }
    out.flush()?;
    if output == Output::Json {
        // Nobody may be left to read it.
        let _ = write!(io::stderr(), "{last}");
    }
    Ok(())
}

fn scene(survey: &mut Survey, args: &AuditArgs, algorithm: Algorithm) -> Scene {
    let mut groups = groups(survey);
    let ports = ports(&groups);
    // The waiting ones are in both looks; the queues are looked at between them.
    let before: HashSet<(u32, u64)> = dump(survey, &ports, &mut Vec::new())
        .into_iter()
        .filter(|connection| connection.inode == 0 && connection.cookie != 0)
        .map(|connection| (connection.netns, connection.cookie))
        .collect();
    thread::sleep(args.watch);
    let later: HashMap<(u32, u64), Listening> = survey
        .again(&args.scope)
        .into_iter()
        .map(|listener| ((listener.bound.netns, listener.inode), listener))
        .collect();
    for group in &mut groups {
        for member in &mut group.members {
            let key = (group.bound.netns, member.inode);
            member.later = later.get(&key).map(|listener| listener.queue);
        }
    }
    let mut problems = Vec::new();
    let found = dump(survey, &ports, &mut problems);
    survey.remarks.extend(problems);
    let connections = held(survey, &groups, found, &before);
    let relations = relations(&groups, &connections);
    Scene {
        algorithm,
        groups,
        connections,
        relations,
        owners_complete: survey.sees_all_owners(),
        watched: args.watch,
    }
}

fn groups(survey: &mut Survey) -> Vec<Group> {
    let listeners = survey.listeners.clone();
    chain::groups(&listeners)
        .into_iter()
        .filter_map(|indices| {
            let first = &listeners[*indices.first()?];
            Some(Group {
                netns: survey.netns(first.bound.netns),
                bound: first.bound,
                device: survey.device(&first.bound),
                uid: first.uid,
                members: indices
                    .iter()
                    .map(|&place| member(survey, place, &listeners[place]))
                    .collect(),
            })
        })
        .collect()
}

fn member(survey: &mut Survey, place: usize, listener: &Listening) -> Member {
    Member {
        place,
        inode: listener.inode,
        queue: listener.queue,
        later: None,
        owners: survey.owners(listener.inode),
        complete: listener.complete,
    }
}

/// Ports of each namespace on which connections can tell something: several listeners, or
/// an accept queue that is not empty.
fn ports(groups: &[Group]) -> BTreeMap<u32, BTreeSet<u16>> {
    let mut seen = HashSet::new();
    let mut ports: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    for group in groups {
        let (netns, port) = (group.bound.netns, group.bound.port);
        let waits = group.members.iter().any(|member| member.queue.length > 0);
        if !seen.insert((netns, port)) || waits {
            ports.entry(netns).or_default().insert(port);
        }
    }
    ports
}

fn dump(
    survey: &Survey,
    ports: &BTreeMap<u32, BTreeSet<u16>>,
    problems: &mut Vec<String>,
) -> Vec<Connection> {
    let mut found = Vec::new();
    for namespace in &survey.asked {
        let Some(ports) = ports.get(&namespace.inode) else {
            continue;
        };
        match connections(namespace, ports.clone()) {
            Ok(connections) => found.extend(connections),
            Err(error) => problems.push(format!(
                "the connections of network namespace {} were not looked at: {error:#}",
                namespace.inode
            )),
        }
    }
    found
}

fn held(
    survey: &mut Survey,
    groups: &[Group],
    found: Vec<Connection>,
    before: &HashSet<(u32, u64)>,
) -> Vec<Held> {
    let mut connections: Vec<Held> = found
        .into_iter()
        .map(|connection| Held {
            waits: connection.inode == 0 && before.contains(&(connection.netns, connection.cookie)),
            holders: Arc::from([]),
            connection,
        })
        .collect();
    let mut by_port: HashMap<(u32, u16), Vec<Group>> = HashMap::new();
    for group in groups {
        let key = (group.bound.netns, group.bound.port);
        by_port.entry(key).or_default().push(group.clone());
    }
    let mut contested: Vec<usize> = (0..connections.len())
        .filter(|&index| {
            let held = &connections[index];
            let key = (held.connection.netns, held.connection.local.port());
            held.connection.inode != 0
                && by_port
                    .get(&key)
                    .is_some_and(|groups| audit::contested(groups, held))
        })
        .collect();
    if contested.len() > MOST_CONTESTED {
        survey.remarks.push(format!(
            "of {} connections in question only {MOST_CONTESTED} were looked at; --port and \
             --netns narrow it down",
            contested.len()
        ));
        contested.truncate(MOST_CONTESTED);
    }
    let inodes = contested
        .iter()
        .map(|&index| connections[index].connection.inode);
    survey.processes.prepare(inodes);
    let mut unseen = 0;
    for index in contested {
        let held = &mut connections[index];
        held.holders = survey.owners(held.connection.inode);
        unseen += usize::from(held.holders.is_empty());
    }
    if unseen > 0 && !survey.sees_all_owners() {
        survey.remarks.push(format!(
            "who holds {unseen} of the connections in question is not visible to this user, so \
             they prove nothing; run it as root to see"
        ));
    }
    connections
}

fn relations(groups: &[Group], connections: &[Held]) -> HashMap<u32, processes::Relation> {
    let owners = groups.iter().flat_map(Group::owners);
    let holders = connections.iter().flat_map(|held| held.holders.to_vec());
    let pids: BTreeSet<u32> = owners.chain(holders).map(|owner| owner.pid).collect();
    pids.into_iter()
        .filter_map(|pid| Some((pid, processes::relation(pid)?)))
        .collect()
}

fn told(finding: &Finding) -> Result<String> {
    let mut text = format!("{} {}", finding.severity, finding.id);
    if finding.netns.inode != own_netns() {
        write!(text, " netns={}", words::namespace(&finding.netns))?;
    }
    for (index, party) in finding.listeners.iter().enumerate() {
        let between = if index == 0 { " " } else { " and " };
        text += between;
        text += &sinks::place(party.address, party.port, party.device.as_deref());
    }
    text.push('\n');
    words::wrap(&mut text, "  cause: ", &finding.cause)?;
    words::wrap(&mut text, "  remedy:", &finding.remedy)?;
    if !finding.clients.is_empty() {
        let clients: Vec<String> = finding.clients.iter().map(ToString::to_string).collect();
        let more = finding.connections.unwrap_or(0) > finding.clients.len() as u64;
        let more = if more { ", …" } else { "" };
        let clients = clients.join(", ") + more;
        words::wrap(&mut text, "  from:  ", &clients)?;
    }
    Ok(text)
}

/// The account, and by which rules it was judged.
fn last_line(
    survey: &Survey,
    shown: &[&Finding],
    hidden: &[&Finding],
    (algorithm, how): (Algorithm, How),
) -> String {
    let count = |count: usize, one: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {one}{plural}")
    };
    let mut line = if shown.is_empty() {
        "no findings".to_owned()
    } else {
        count(shown.len(), "finding")
    };
    for severity in [Severity::Warning, Severity::Info] {
        let below = hidden.iter().filter(|one| one.severity == severity).count();
        if below > 0 {
            // Writing to a string does not fail.
            let _ = write!(
                line,
                ", {below} of severity {severity} not shown (--severity {severity})"
            );
        }
    }
    let walk = match algorithm {
        Algorithm::PortOnly => "walks one chain per port",
        Algorithm::Hybrid => "walks one chain per port up to ten sockets",
        Algorithm::AddressFirst => "looks the address up first",
    };
    let line = format!(
        "{line}; {} in {} looked at; this kernel {walk} ({})",
        count(survey.listeners.len(), "listener"),
        count(survey.asked.len(), "namespace"),
        how.words()
    );
    let mut text = String::new();
    let _ = words::wrap(&mut text, "", &line);
    text
}
