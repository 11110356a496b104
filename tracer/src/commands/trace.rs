//! `sockpick trace`: sets the session up, runs it, and sums it up.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use super::outputs::{log_from, reader_gone, shown};
use crate::{
    cli::{Output, TraceArgs},
    config,
    engine::Engine,
    event::Reason,
    failure::Failure,
    host::{Host, noted::Noted},
    namespaces,
    outlets::foreground::Foreground,
    pipeline::{Pipeline, enrich::Enricher},
    probes::rights::Level,
    session::{
        Session,
        recorded::{Recording, header},
        start::{self, Ready, Started, Unnamed, announce},
        unseen,
    },
    sinks::{Quiet, Sink, summary::Summary},
};

/// How often the log of the programs is looked at with `--debug-programs`.
const DEBUG_INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    log_from(log::LevelFilter::Warn, args.probes.debug_programs).init();
    let given = args.watch.given(&args.expect);
    let settings = config::settings(&given, args.expect.config.as_deref())?;
    let watched = settings.watch.to_string();
    let mut ready = start::ready(settings, &args.probes, level(args), Unnamed::Refused)?;
    if args.no_accept {
        ready = ready.without_acceptors();
    }
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
        Recording::begin(path, args.write_rotate, header)
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
