//! `sockpick trace`: sets the session up, runs it, and sums it up.

mod session;
mod unseen;

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use log::debug;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use super::shown;
use crate::{
    cli::{Output, TraceArgs},
    config,
    engine::Engine,
    event::{Backend, Family},
    failure::Failure,
    host::{
        Host,
        answers::Listeners,
        clock::{monotonic_ns, wall_offset_ns},
        live::Live,
        noted::{Noted, Notes},
    },
    kernel::{algorithm, preflight},
    listeners::{self, Inventory},
    namespaces,
    outlets::foreground::Foreground,
    own::{Board, Own},
    pipeline::{Pipeline, assess::Assessor, enrich::Enricher},
    probes::{
        attach::{self, Options},
        examine::Kernel,
        filters::Filters,
        plan::{Decision, Mechanism},
        programs::Programs,
        refusal::refused_maps,
        selfcheck,
    },
    recording::{
        Header,
        recorder::{Recorder, Rotation},
    },
    settings::{Settings, Watch, values::every_port},
    sinks::{Quiet, Sink},
    source::Source,
    words::count,
};

use session::{Recording, Session};

/// How often the log of the programs is looked at with `--debug-programs`.
const DEBUG_INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    start_log(args.probes.debug_programs);
    let given = args.watch.given(&args.expect);
    let settings = config::settings(&given, args.expect.config.as_deref())?;
    let Settings {
        watch,
        expectations,
        ..
    } = settings.with_netns(namespaces::fixed)?;
    let options = options(args, &watch)?;
    allowed(args.probes.btf.is_some())?;
    // Before all else: a sockpick beside this one writes there from now on.
    let board = Board::hang_out().map_err(|error| refused_maps(&error))?;
    let mut kernel = Kernel::examine(options.btf.as_ref(), options.backend)?;
    debug!("the kernel is examined");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (algorithm, how) = algorithm::detect();
    debug!("lookup: {algorithm:?}, {}", how.words());
    let assessor = Assessor::new(expectations, algorithm);
    let own = Own::by(board);
    runtime.block_on(trace(args, &watch, &mut kernel, &options, assessor, own))
}

/// Warnings, what `RUST_LOG` asks for, and what the programs say if asked to.
fn start_log(programs: bool) {
    let mut log = env_logger::Builder::new();
    log.filter_level(log::LevelFilter::Warn);
    if programs {
        log.filter_module("sockpick_ebpf", log::LevelFilter::Debug);
    }
    log.parse_default_env().init();
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

/// The namespaces of the filter are those that have the names now.
fn options(args: &TraceArgs, watch: &Watch) -> Result<Options> {
    let namespaces = watch.netns.iter().map(namespaces::named);
    Ok(Options {
        backend: args.probes.backend,
        btf: args.probes.btf.clone(),
        buffer_bytes: args.probes.buffer_size,
        filters: Filters {
            ports: every_port(&watch.ports),
            destinations: watch.destinations.clone(),
            sources: watch.sources.clone(),
            namespaces: namespaces.collect::<Result<_, _>>()?,
            ipv4: watch.family == Some(Family::Ipv4),
            ipv6: watch.family == Some(Family::Ipv6),
        },
        debug_programs: args.probes.debug_programs,
    })
}

async fn trace(
    args: &TraceArgs,
    watch: &Watch,
    kernel: &mut Kernel,
    options: &Options,
    assessor: Assessor,
    own: Own,
) -> Result<()> {
    // Before anything is attached, so that a signal from here on ends it cleanly.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut programs = attach::programs(kernel, options)?;
    let mut channel = programs.take_events()?;
    selfcheck::run(&mut programs, &mut channel)?;
    debug!("the self-check passed");
    let mechanism = programs
        .plan
        .lookup_mechanism()
        .unwrap_or(Mechanism::Kprobe);
    let backend = match mechanism {
        _ if programs.legacy => Backend::Legacy,
        Mechanism::Fentry => Backend::Fentry,
        Mechanism::Kprobe => Backend::Kprobe,
    };
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
        eprintln!("sockpick: owners may be missing (?): {why}");
    }
    let source = Source::new(channel, programs.take_drops()?, args.probes.flush_interval)?;
    let recording = args
        .write
        .as_deref()
        .map(|path| {
            record(
                path,
                args.write_rotate,
                watch,
                &assessor,
                backend,
                &inventory,
            )
        })
        .transpose()?;
    let host: Box<dyn Host> = match &recording {
        Some(recording) => Box::new(Noted::new(host, recording.notes.clone())),
        None => Box::new(host),
    };
    let enricher = Enricher::new(backend, host);
    let selection = args.user_filter.selection(args.count);
    let (sink, is_quiet) = sink(args);
    let engine = Engine::new(
        Pipeline::new(enricher, assessor, &inventory),
        Foreground::new(sink, own_netns(), selection),
    );
    let mut session = Session::begin(programs, source, engine, recording, args)?;
    announce(session.programs(), &inventory, backend);
    let gone = reader_gone();
    tokio::pin!(gone);
    let deadline = deadline(args.duration);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            ready = session.source().ready() => ready?,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut deadline => break,
            () = &mut gone => return leave(session, Ok(())),
            () = sleep(DEBUG_INTERVAL), if args.probes.debug_programs => {}
        }
        if let Err(error) = session.batch() {
            return leave(session, Err(error));
        }
        if session.is_complete() || is_quiet && session.is_cut {
            break;
        }
    }
    let mut summary = match session.end() {
        Ok(summary) => summary,
        Err(error) => return leave(session, Err(error)),
    };
    if summary.saw_nothing() {
        summary.notes.extend(unseen::notes(&options.filters));
    }
    // Nobody may be left to read it.
    let _ = write!(io::stderr(), "{summary}");
    cut(session.is_cut)
}

/// Ends where stdout takes no more, as `how`: a recording gets its proper end before.
fn leave(mut session: Session, how: Result<()>) -> Result<()> {
    session.end_recording()?;
    cut(session.is_cut)?;
    how
}

/// Whether a recording is whole: what there is to say if not was said when it happened.
fn cut(is_cut: bool) -> Result<()> {
    if is_cut {
        return Err(Failure::runtime("").into());
    }
    Ok(())
}

/// Begins a recording.
fn record(
    path: &Path,
    rotation: Option<Rotation>,
    watch: &Watch,
    assessor: &Assessor,
    backend: Backend,
    inventory: &Inventory,
) -> Result<Recording> {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    let header = Header {
        sockpick: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: preflight::release(),
        host: (
            read("/proc/sys/kernel/hostname"),
            read("/proc/sys/kernel/random/boot_id"),
        ),
        began: Enricher::wall_ns(monotonic_ns(), wall_offset_ns()),
        algorithm: assessor.algorithm(),
        backend,
        netns: own_netns(),
        filters: watch.to_string(),
        listeners: inventory.into(),
    };
    let notes = Notes::default();
    let recorder = Recorder::begin(path, header.clone(), notes.clone(), rotation)?;
    Ok(Recording {
        recorder,
        notes,
        header: Header {
            listeners: Listeners::default(),
            ..header
        },
    })
}

fn own_netns() -> u32 {
    namespaces::inode(Path::new("/proc/self/ns/net")).unwrap_or(0)
}

/// Says once what is watched, and what cannot be seen on this kernel.
fn announce(programs: &Programs, inventory: &Inventory, backend: Backend) {
    for (hook, decision) in &programs.plan.hooks {
        if let (Decision::Missing(why), Some(loss)) = (decision, hook.loss()) {
            eprintln!("sockpick: {hook} cannot be hooked ({why}): {loss}");
        }
    }
    if let Some(why) = &programs.drops_unseen {
        eprintln!(
            "sockpick: skb:kfree_skb cannot be hooked ({why}): a SYN that is dropped after its \
             lookup is told as if it was taken"
        );
    }
    for problem in &inventory.problems {
        eprintln!(
            "sockpick: {problem}; the listeners that are there are learned as SYNs reach them"
        );
    }
    let vague = |listener: &&listeners::Listening| !listener.complete;
    let vague = inventory.listeners.iter().filter(vague).count();
    if vague > 0 {
        eprintln!(
            "sockpick: this kernel has no inet_diag, so device and IPV6_V6ONLY are not known until \
             a SYN comes, for {} that listen already; verdicts that depend on these may be missed",
            count(vague as u64, "socket")
        );
    }
    eprintln!(
        "sockpick: tracing by {backend}; {} in {} now; Ctrl-C ends",
        count(inventory.listeners.len() as u64, "listener"),
        count(inventory.asked.len() as u64, "namespace")
    );
}

/// Where events go, and whether that is nowhere.
fn sink(args: &TraceArgs) -> (Box<dyn Sink>, bool) {
    match args.output {
        None if args.write.is_some() => (Box::new(Quiet), true),
        output => {
            let output = output.unwrap_or(Output::Table);
            (shown(output, args.color, own_netns()), false)
        }
    }
}

async fn deadline(duration: Option<Duration>) {
    let end = duration.and_then(|duration| Instant::now().checked_add(duration));
    match end {
        Some(end) => tokio::time::sleep_until(end.into()).await,
        None => std::future::pending().await,
    }
}

/// Ends when whoever reads a pipe at stdout has gone, even while nothing is written.
async fn reader_gone() {
    let watched = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .context("cannot watch stdout")
        .and_then(|fd| {
            // SAFETY: an owned descriptor, which stays the same while it is registered.
            Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::ERROR) }?)
        });
    // A file cannot be watched, and has no reader to lose.
    let Ok(stdout) = watched else {
        return std::future::pending().await;
    };
    if stdout.ready(Interest::ERROR).await.is_err() {
        std::future::pending::<()>().await;
    }
}
