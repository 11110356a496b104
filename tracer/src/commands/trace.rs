//! `sockpick trace`: sets the session up, runs it, and sums it up.

use std::{
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use super::outputs::{log_from, shown};
use crate::{
    cli::{Output, TraceArgs},
    clock::{monotonic_ns, wall_offset_ns},
    config,
    engine::Engine,
    event::{Backend, Reason},
    failure::Failure,
    host::{
        Host,
        answers::Listeners,
        noted::{Noted, Notes},
    },
    kernel::preflight,
    listeners::Inventory,
    namespaces,
    outlets::foreground::Foreground,
    pipeline::{Pipeline, assess::Assessor, enrich::Enricher},
    probes::rights::Level,
    recording::{Header, recorder::Recorder},
    session::{
        Recording, Session,
        start::{self, Ready, Started, Unnamed, announce},
        unseen,
    },
    settings::values::Rotation,
    sinks::{Quiet, Sink, summary::Summary},
};

/// How often the log of the programs is looked at with `--debug-programs`.
const DEBUG_INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    log_from(log::LevelFilter::Warn, args.probes.debug_programs).init();
    let given = args.watch.given(&args.expect);
    let settings = config::settings(&given, args.expect.config.as_deref())?;
    let watched = settings.watch.to_string();
    let ready = start::ready(settings, &args.probes, level(args), Unnamed::Refused)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(trace(args, watched, ready))
}

/// `watched`: the filters, in words.
async fn trace(args: &TraceArgs, watched: String, ready: Ready) -> Result<()> {
    // Before anything is attached, so that a signal from here on ends it cleanly.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (started, assessor, filters) = ready.start(args.probes.flush_interval)?;
    let Started {
        attached,
        host,
        inventory,
        backend,
    } = started;
    let write = args.write.as_deref();
    let recording = write.map(|path| {
        let header = header(watched, &assessor, backend, &inventory);
        record(path, args.write_rotate, header)
    });
    let recording = recording.transpose()?;
    let host: Box<dyn Host> = match &recording {
        Some(recording) => Box::new(Noted::new(host, recording.notes.clone())),
        None => Box::new(host),
    };
    let enricher = Enricher::new(backend, host);
    let selection = args.user_filter.selection(args.count);
    let (sink, is_quiet) = sink(args);
    let engine = Engine::new(
        Pipeline::new(enricher, assessor, &inventory),
        Foreground::new(sink, namespaces::own().unwrap_or(0), selection),
    );
    let debug_programs = args.probes.debug_programs;
    let mut session = Session::begin(attached, engine, recording, debug_programs)?;
    announce(session.programs(), inventory, backend, "; Ctrl-C ends");
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
            () = sleep(DEBUG_INTERVAL), if debug_programs => {}
        }
        if let Err(error) = session.batch() {
            return leave(session, Err(error));
        }
        if session.engine().is_complete() || is_quiet && session.is_cut() {
            break;
        }
    }
    let mut summary = match end(&mut session) {
        Ok(summary) => summary,
        Err(error) => return leave(session, Err(error)),
    };
    if summary.saw_nothing() {
        summary.notes.extend(unseen::notes(&filters));
    }
    // Nobody may be left to read it.
    let _ = write!(io::stderr(), "{summary}");
    cut(session.is_cut())
}

/// Of which SYNs there have to be records. A recording is to tell of all, and by their reasons
/// also SYNs are asked for that are no alert; of those that meet a full accept queue there is
/// always one.
fn level(args: &TraceArgs) -> Level {
    let filter = &args.user_filter;
    let mut also = filter.alert_on.iter();
    let are_suspects = also.all(|&reason| reason == Reason::AcceptOverflow);
    if filter.only_alerts && are_suspects && args.write.is_none() {
        Level::Suspects
    } else {
        Level::All
    }
}

fn end(session: &mut Session<Foreground>) -> Result<Summary> {
    let end = session.detach()?;
    let summary = session.engine().sum_up(&end)?;
    session.end_recording(&end);
    Ok(summary)
}

/// Ends where stdout takes no more, as `how`: a recording gets its proper end before.
fn leave(mut session: Session<Foreground>, how: Result<()>) -> Result<()> {
    if session.is_recorded() {
        session.engine().mute();
        end(&mut session)?;
    }
    cut(session.is_cut())?;
    how
}

/// Whether a recording is whole: what there is to say if not was said when it happened.
fn cut(is_cut: bool) -> Result<()> {
    if is_cut {
        return Err(Failure::runtime("").into());
    }
    Ok(())
}

/// What a recording begins with. `watched`: the filters, in words.
fn header(watched: String, assessor: &Assessor, backend: Backend, inventory: &Inventory) -> Header {
    let read = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    Header {
        sockpick: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: preflight::release(),
        host: (
            read("/proc/sys/kernel/hostname"),
            read("/proc/sys/kernel/random/boot_id"),
        ),
        began: Enricher::wall_ns(monotonic_ns(), wall_offset_ns()),
        algorithm: assessor.algorithm(),
        backend,
        netns: namespaces::own().unwrap_or(0),
        filters: watched,
        listeners: inventory.into(),
    }
}

/// Begins a recording.
fn record(path: &Path, rotation: Option<Rotation>, header: Header) -> Result<Recording> {
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

/// Where events go, and whether that is nowhere.
fn sink(args: &TraceArgs) -> (Box<dyn Sink>, bool) {
    match args.output {
        None if args.write.is_some() => (Box::new(Quiet), true),
        output => {
            let output = output.unwrap_or(Output::Table);
            (
                shown(output, args.color, namespaces::own().unwrap_or(0)),
                false,
            )
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
