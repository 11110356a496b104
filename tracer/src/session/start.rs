//! How a session starts, whoever wants it: what stands in the way, the programs, the proof that
//! they read this kernel rightly, and the machine as it is.

use std::time::Duration;

use anyhow::Result;
use log::{debug, warn};

use super::resident;
use crate::{
    cli::ProbeArgs,
    event::{Backend, Family},
    failure::Failure,
    host::live::Live,
    judge::netns::NetnsName,
    kernel::{algorithm, preflight},
    listeners::{self, Inventory},
    namespaces,
    own::{Board, Own},
    pipeline::assess::Assessor,
    probes::{
        attach::{self, Options},
        examine::Kernel,
        filters::Filters,
        plan::{Decision, Mechanism},
        programs::Programs,
        refusal::refused_maps,
        rights::{Level, Rights},
        selfcheck,
    },
    remark::remark,
    settings::{Settings, Watch, values::every_port},
    source::Source,
    words::count,
};

/// Size of the buffer in bytes, where there is a record of each SYN,
pub(crate) const EVERY_SYN: u32 = 4 << 20;
/// and where there is one of those that may be an alert, which are few.
const SUSPECTS: u32 = 2 << 20;

/// What was found before anything is attached.
pub struct Ready {
    kernel: Kernel,
    options: Options,
    own: Own,
    /// Judges by what is expected.
    pub assessor: Assessor,
}

/// What is attached and proven.
pub struct Attached {
    /// The programs, which record nothing yet.
    pub programs: Programs,
    /// Reads what they write.
    pub source: Source,
    /// Says which SYNs need no record; `None`: there is one of each.
    pub rights: Option<Rights>,
}

/// The same, and the machine as it is then.
pub struct Started {
    /// What is attached.
    pub attached: Attached,
    /// Answers questions.
    pub host: Live,
    /// Who listens.
    pub inventory: Inventory,
    /// How lookups are observed.
    pub backend: Backend,
}

/// What a name means that no namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// A mistake.
    Refused,
    /// A namespace that is yet to come.
    Awaited,
}

/// Looks at the kernel and what is allowed. Namespaces are those that have the names now.
///
/// # Errors
/// A [`Failure`] for the first thing that stands in the way.
pub fn ready(
    settings: Settings,
    probes: &ProbeArgs,
    level: Level,
    unnamed: Unnamed,
) -> Result<Ready> {
    let Settings {
        watch,
        expectations,
        ..
    } = settings.with_netns(namespaces::fixed)?;
    let mut options = options(probes, level, &watch, unnamed)?;
    allowed(probes.btf.is_some())?;
    resident::give_back_at_once();
    // Before all else: a sockpick beside this one writes there from now on.
    let board = Board::hang_out().map_err(|error| refused_maps(&error))?;
    let kernel = Kernel::examine(options.btf.as_ref(), options.backend)?;
    debug!("the kernel is examined");
    if kernel.legacy {
        // These programs record every SYN at any level.
        options.buffer_bytes = probes.buffer_size.unwrap_or(EVERY_SYN);
    }
    let (algorithm, how) = algorithm::detect();
    debug!("lookup: {algorithm:?}, {}", how.words());
    Ok(Ready {
        kernel,
        options,
        own: Own::by(board),
        assessor: Assessor::new(expectations, algorithm),
    })
}

/// The first thing that stands in the way, if any.
fn allowed(own_btf_file: bool) -> Result<()> {
    match preflight::findings(own_btf_file)
        .iter()
        .find(|finding| !finding.ok)
    {
        Some(finding) => Err(Failure::environment(finding.message()).into()),
        None => Ok(()),
    }
}

/// Inode numbers of the namespaces that are watched, as they are now; `None`: all are.
///
/// # Errors
/// A usage [`Failure`], if there is none where there has to be.
fn watched(watch: &Watch, unnamed: Unnamed) -> Result<Option<Vec<u32>>> {
    if watch.netns.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for name in &watch.netns {
        match namespaces::named(name) {
            Ok(inode) => found.push(inode),
            Err(error) if unnamed == Unnamed::Awaited && matches!(name, NetnsName::Name(_)) => {
                warn!("{error:#}; it is awaited");
            }
            Err(error) => return Err(error.into()),
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

fn options(probes: &ProbeArgs, level: Level, watch: &Watch, unnamed: Unnamed) -> Result<Options> {
    Ok(Options {
        backend: probes.backend,
        btf: probes.btf.clone(),
        buffer_bytes: probes.buffer_size.unwrap_or(match level {
            Level::All => EVERY_SYN,
            Level::Suspects => SUSPECTS,
        }),
        filters: Filters {
            ports: every_port(&watch.ports),
            destinations: watch.destinations.clone(),
            sources: watch.sources.clone(),
            namespaces: watched(watch, unnamed)?,
            room: watch.netns.len(),
            ipv4: watch.family == Some(Family::Ipv4),
            ipv6: watch.family == Some(Family::Ipv6),
        },
        level,
        acceptors: true,
        debug_programs: probes.debug_programs,
    })
}

impl Ready {
    /// Does not look who accepts, which every connection pays for.
    #[must_use]
    pub fn without_acceptors(mut self) -> Self {
        self.options.acceptors = false;
        self
    }

    /// Attaches, has the self-check prove it, and looks who listens. To be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// If the kernel refuses it, or the self-check fails.
    pub fn start(self, flush_interval: Duration) -> Result<(Started, Assessor, Filters)> {
        let Self {
            mut kernel,
            options,
            own,
            assessor,
        } = self;
        let mut programs = attach::programs(&mut kernel, &options)?;
        let mut channel = programs.take_events()?;
        selfcheck::run(&mut programs, &mut channel)?;
        debug!("the self-check passed");
        let mut host = Live::new(own);
        if let Some(exits) = programs.take_exits()? {
            host.told_by(Box::new(exits));
        }
        if let Some(holders) = programs.take_holders() {
            host.shown_by(Box::new(holders));
        }
        let inventory = listeners::inventory();
        host.prepare(inventory.listeners.iter().map(|listener| listener.inode));
        if let Some(why) = host.blindness() {
            remark(format_args!("owners may be missing (?): {why}"));
        }
        let rights = if options.level == Level::Suspects {
            programs.record_suspects()?
        } else {
            None
        };
        let started = Started {
            backend: backend(&programs),
            attached: Attached {
                rights,
                source: Source::new(channel, programs.take_drops()?, flush_interval)?,
                programs,
            },
            host,
            inventory,
        };
        Ok((started, assessor, options.filters))
    }
}

fn backend(programs: &Programs) -> Backend {
    match programs.plan.lookup_mechanism() {
        _ if programs.legacy => Backend::Legacy,
        Some(Mechanism::Fentry) => Backend::Fentry,
        Some(Mechanism::Kprobe) | None => Backend::Kprobe,
    }
}

/// Says once what is watched, and what cannot be seen on this kernel, and gives back what only the
/// start took. `how_to_end`: for whom has a terminal.
pub fn announce(programs: &Programs, inventory: Inventory, backend: Backend, how_to_end: &str) {
    for (hook, decision) in &programs.plan.hooks {
        if let (Decision::Missing(why), Some(loss)) = (decision, hook.loss()) {
            remark(format_args!("{hook} cannot be hooked ({why}): {loss}"));
        }
    }
    if let Some(why) = &programs.drops_unseen {
        remark(format_args!(
            "skb:kfree_skb cannot be hooked ({why}): a SYN that is dropped after its \
             lookup is told as if it was taken"
        ));
    }
    for problem in &inventory.problems {
        remark(format_args!(
            "{problem}; the listeners that are there are learned as SYNs reach them"
        ));
    }
    let vague = |listener: &&listeners::Listening| !listener.complete;
    let vague = inventory.listeners.iter().filter(vague).count();
    if vague > 0 {
        remark(format_args!(
            "this kernel has no inet_diag, so device and IPV6_V6ONLY are not known until \
             a SYN comes, for {} that listen already; verdicts that depend on these may be missed",
            count(vague as u64, "socket")
        ));
    }
    remark(format_args!(
        "tracing by {backend}; {} in {} now{how_to_end}",
        count(inventory.listeners.len() as u64, "listener"),
        count(inventory.asked.len() as u64, "namespace")
    ));
    drop(inventory);
    resident::give_back();
}
