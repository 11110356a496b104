//! Which groups have a program: the kernel's own lookup is asked for each, by a test run that
//! sends no packet. Only where a program for groups is loaded at all.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Result;

use crate::{
    audit::{Group, programs::Chooser},
    commands::survey::Survey,
    event::{Family, Via},
    kernel::offsets::offsets_of_running_kernel,
    namespaces::within,
    probes::{
        ask::{Answer, Asker},
        steering,
    },
};

/// Addresses for documentation (RFC 5737, RFC 3849): a wildcard takes them, a client has them.
const SOME_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOME_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// A client's port; the hash of it is of no interest.
const CLIENT_PORT: u16 = 40_000;
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
    found
        .into_iter()
        .map(|(group, program)| Chooser {
            group,
            program: program.and_then(steering::program),
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
        any if any.is_unspecified() && is_v4 => SOME_V4.into(),
        any if any.is_unspecified() => SOME_V6.into(),
        address => address,
    };
    let client = if address.is_ipv4() {
        IpAddr::from(SOME_V4)
    } else {
        SOME_V6.into()
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
