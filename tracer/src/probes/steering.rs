//! Which programs may have chosen a socket in place of the lookup: for events that one of them
//! decided, and for questions that one of them may answer.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::programs::{ProgramInfo, SchedClassifier, TcAttachType, loaded_programs};
use aya_obj::generated::bpf_prog_type;
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcFilterBpfOption, TcHandle, TcMessage, TcOption},
};
use nix::net::if_::if_indextoname;

use crate::{
    bpf,
    event::Program,
    namespaces::{Namespaces, within},
    rtnetlink,
};

/// `BPF_SK_LOOKUP`, the attach type (`include/uapi/linux/bpf.h`).
const SK_LOOKUP: u32 = 36;
/// Most programs of one namespace (`netns_bpf_max_progs`, `kernel/bpf/net_namespace.c`).
const MOST: usize = 64;

/// How long the list of a place's programs is believed.
const AGE: Duration = Duration::from_secs(1);
/// Most places whose lists are kept; past that memory starts afresh.
const MOST_PLACES: usize = 1024;

/// Where programs are attached that choose sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    /// The socket lookup of a namespace (inode number).
    SkLookup(u32),
    /// tc ingress of an interface (index) of a namespace.
    Ingress(u32, u32),
    /// A reuseport group: the id of its program.
    Group(u32),
}

/// The programs of the places that were asked for lately.
#[derive(Debug, Default)]
pub struct Steering {
    places: HashMap<Attachment, (Instant, Arc<[Program]>)>,
}

impl Steering {
    /// Programs that are attached there, in the order they run; none where the kernel does not
    /// tell.
    pub fn programs(&mut self, place: Attachment, namespaces: &mut Namespaces) -> Arc<[Program]> {
        if let Some((at, programs)) = self.places.get(&place)
            && at.elapsed() < AGE
        {
            return programs.clone();
        }
        if self.places.len() >= MOST_PLACES {
            self.places.clear();
        }
        let programs: Arc<[Program]> = ask(place, namespaces).unwrap_or_default().into();
        self.places
            .insert(place, (Instant::now(), programs.clone()));
        programs
    }
}

fn ask(place: Attachment, namespaces: &mut Namespaces) -> Option<Vec<Program>> {
    match place {
        Attachment::SkLookup(netns) => sk_lookup_programs(&namespaces.path(netns)?).ok(),
        Attachment::Ingress(netns, ifindex) => {
            let path = namespaces.path(netns)?;
            within(&path, netns, || ingress_programs(ifindex)).ok()
        }
        Attachment::Group(program) => Some(named(&[program])),
    }
}

/// Ids of the programs attached to the namespace that the file stands for, in the order
/// they run.
///
/// Linux 5.9 and later.
///
/// # Errors
/// If the kernel refuses the question, or has no such programs yet.
pub fn sk_lookup_ids(netns: &File) -> io::Result<Vec<u32>> {
    bpf::attached(netns.as_raw_fd(), SK_LOOKUP, vec![0; MOST])
}

/// Whether any program for reuseport groups is loaded. False where the kernel does not tell
/// (before 4.13, and without `CAP_SYS_ADMIN`).
#[must_use]
pub fn has_group_programs() -> bool {
    let is_one = |program: &ProgramInfo| {
        matches!(
            program.program_type(),
            bpf_prog_type::BPF_PROG_TYPE_SK_REUSEPORT | bpf_prog_type::BPF_PROG_TYPE_SOCKET_FILTER
        )
    };
    loaded_programs().flatten().any(|program| is_one(&program))
}

/// The programs attached to the namespace that the path stands for, in the order they run.
///
/// Linux 5.9 and later.
///
/// # Errors
/// If the namespace is gone or the kernel refuses the question.
fn sk_lookup_programs(netns: &Path) -> Result<Vec<Program>> {
    let file = File::open(netns).with_context(|| format!("cannot open {}", netns.display()))?;
    let ids = sk_lookup_ids(&file).context("cannot ask for the namespace's sk_lookup programs")?;
    Ok(named(&ids))
}

/// The programs at the ingress of an interface of this thread's namespace, in the order they
/// run: those of tcx (Linux 6.6), then the filters of tc.
///
/// # Errors
/// If there is no such interface, or rtnetlink does not list its filters.
fn ingress_programs(ifindex: u32) -> Result<Vec<Program>> {
    let name = if_indextoname(ifindex).context("no such interface")?;
    let name = name.to_string_lossy();
    // Refused before 6.6.
    let tcx = SchedClassifier::query_tcx(&name, TcAttachType::Ingress);
    let mut ids: Vec<u32> = tcx
        .map(|(_, programs)| programs.iter().map(ProgramInfo::id).collect())
        .unwrap_or_default();
    let mut asked = TcMessage::with_index(ifindex.cast_signed());
    asked.header.parent = TcHandle {
        minor: TcHandle::MIN_INGRESS,
        ..TcHandle::CLSACT
    };
    let filters = rtnetlink::dump(RouteNetlinkMessage::GetTrafficFilter(asked))
        .with_context(|| format!("cannot list the filters at the ingress of {name}"))?;
    ids.extend(filters.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewTrafficFilter(filter) => bpf_filter(filter),
        _ => None,
    }));
    Ok(named(&ids))
}

/// Id of the program that is this filter, if it is one.
fn bpf_filter(filter: &TcMessage) -> Option<u32> {
    let options = filter
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        })?;
    options.iter().find_map(|option| match option {
        TcOption::Bpf(TcFilterBpfOption::ProgId(id)) => Some(*id),
        _ => None,
    })
}

/// Programs by their ids, in that order; without a name where it is not known.
#[must_use]
pub fn named(ids: &[u32]) -> Vec<Program> {
    let names: HashMap<u32, String> = loaded_programs()
        .flatten()
        .map(|info| {
            let name = info.name_as_str().unwrap_or_default();
            (info.id(), name.to_owned())
        })
        .collect();
    let program = |&id| Program {
        id,
        name: names.get(&id).cloned().unwrap_or_default(),
    };
    ids.iter().map(program).collect()
}
