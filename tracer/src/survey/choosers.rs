//! Which groups have a program: the kernel's own lookup is asked for each, by a test run that
//! sends no packet. Only where a program for groups is loaded at all.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;

use super::Survey;
use crate::{
    audit::{Chooser, Group},
    event::{Family, Via},
    judge::explain::{CLIENT_PORT, CLIENT_V4, CLIENT_V6},
    kernel::offsets::offsets_of_running_kernel,
    namespaces::within,
    probes::{
        ask::{Answer, Asker},
        steering,
    },
};

const LOOPBACK: u32 = 1;

pub(super) fn of(groups: &[Group], survey: &mut Survey) -> Vec<Chooser> {
    if !steering::has_group_programs() {
        return Vec::new();
    }
    let asker = offsets_of_running_kernel().and_then(|offsets| Asker::load(&offsets));
    let mut asker = match asker {
        Ok(asker) => asker,
        Err(error) => {
            survey.remarks.push(format!(
                "programs that choose in reuseport groups are loaded, but the kernel cannot be \
                 asked which groups have one: {error:#}"
            ));
            return Vec::new();
        }
    };
    let mut by_netns: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (place, group) in groups.iter().enumerate() {
        by_netns.entry(group.bound.netns).or_default().push(place);
    }
    let mut found = Vec::new();
    for (netns, places) in by_netns {
        let Some(path) = survey.path(netns) else {
            continue;
        };
        let told = within(&path, netns, || {
            let mut told = Vec::new();
            for &place in &places {
                match ask(&mut asker, &groups[place])? {
                    Choice::Hash => {}
                    Choice::Filter => told.push((place, None)),
                    Choice::Program(id) => told.push((place, Some(id))),
                }
            }
            Ok(told)
        });
        match told {
            Ok(told) => found.extend(told),
            Err(error) => survey.remarks.push(format!(
                "which groups of namespace {netns} have a program could not be asked: {error:#}"
            )),
        }
    }
    let ids: Vec<u32> = found.iter().filter_map(|&(_, id)| id).collect();
    let mut programs = steering::named(&ids).into_iter();
    found
        .into_iter()
        .map(|(group, id)| Chooser {
            group,
            program: id.and_then(|_| programs.next()),
        })
        .collect()
}

/// What chooses in the group.
enum Choice {
    /// The hash; or it could not be told.
    Hash,
    /// A classic filter.
    Filter,
    /// The program with this id.
    Program(u32),
}

fn ask(asker: &mut Asker, group: &Group) -> Result<Choice> {
    let is_v4 = group.bound.family == Family::Ipv4;
    let address = match group.bound.shown_address() {
        // A wildcard takes an address that is nobody's as well.
        any if any.is_unspecified() && is_v4 => CLIENT_V4.into(),
        any if any.is_unspecified() => CLIENT_V6.into(),
        address => address,
    };
    let client = if address.is_ipv4() {
        IpAddr::from(CLIENT_V4)
    } else {
        CLIENT_V6.into()
    };
    let device = if group.bound.device == 0 {
        LOOPBACK
    } else {
        group.bound.device
    };
    let answer = asker.ask(
        SocketAddr::new(client, CLIENT_PORT),
        SocketAddr::new(address, group.bound.port),
        device,
    )?;
    let Answer::Listener(found) = answer else {
        return Ok(Choice::Hash);
    };
    let inode = found.listener.inode;
    let is_it = group.members.iter().any(|member| member.inode == inode);
    Ok(match found.group {
        Some(of) if is_it && of.via != Via::ReuseportHash => {
            of.program_id.map_or(Choice::Filter, Choice::Program)
        }
        _ => Choice::Hash,
    })
}
