//! The daemon's crank: batches, timeouts, signals, questions and reloads, one after the other on
//! one thread.

use std::{collections::BTreeMap, rc::Rc};

use anyhow::Result;
use log::{error, info};
use tokio::sync::mpsc;

use super::{
    canary::{Canary, Step},
    exposition::{Exposition, Question},
    inventory::Inventory,
    keeper::Keeper,
    level::{Held, at_level, ready},
    names::Names,
    outside::take_leave,
    remarks::reload_remark,
    systemd::{self, Status, Watchdog},
    waits::{Signals, time, until},
};
use crate::{
    alerts::Sight,
    cli::DaemonArgs,
    delivery::Delivery,
    engine::Engine,
    event::{Backend, Stage},
    failure,
    judge::netns::NetnsName,
    metrics::view::{Overlaps, Reload, SelfCheck},
    namespaces,
    outlets::feed::Feed,
    pipeline::assess::Assessor,
    privileges,
    probes::filters::Filters,
    session::{
        Session, resident,
        start::{Started, announce},
    },
    settings::{OnUntraceable, Settings, Watch},
    words::count,
};

/// A running daemon.
pub(super) struct Service {
    pub(super) args: DaemonArgs,
    pub(super) settings: Settings,
    pub(super) session: Session<Feed>,
    pub(super) backend: Backend,
    /// Shared with the outlet.
    pub(super) delivery: Rc<Delivery>,
    pub(super) exposition: Exposition,
    pub(super) canary: Canary,
    pub(super) keeper: Keeper,
    pub(super) checks: SelfCheck,
    /// Events that pipelines before the present one lost.
    pub(super) lost_before: BTreeMap<Stage, u64>,
    /// Kept, as it counts what was left out of it.
    pub(super) overlaps: Overlaps,
    pub(super) names: Names,
    /// Why it does not see, if so.
    pub(super) blind: Option<String>,
    pub(super) reloaded: Reload,
    pub(super) held: Held,
    watchdog: Watchdog,
    shown: Status,
}

/// What is attached, and what it looks at.
struct Traced {
    started: Started,
    assessor: Assessor,
    filters: Filters,
    names: Vec<NetnsName>,
}

/// Runs until it is told to end.
///
/// # Errors
/// What stands in the way at the start; later, if the kernel refuses to be asked.
pub async fn run(args: DaemonArgs, settings: Settings) -> Result<()> {
    // Before anything is attached, so that a signal from here on ends it cleanly.
    let mut signals = Signals::new()?;
    let (asks, mut questions) = mpsc::channel(16);
    // The sockets that systemd passes are there once: whatever comes of tracing has them.
    let host = args.host.as_deref();
    let exposition = Exposition::start(host, settings.metrics.listen.as_ref(), asks)?;
    let traced = match trace(&args, &settings) {
        Err(error) if goes_on(&settings, &error) => {
            let why = format!("{error:#}");
            let mut inventory = Inventory::start(args, settings, exposition, &why)?;
            inventory.show();
            systemd::ready();
            inventory.watch(&mut signals, &mut questions).await;
            inventory.stop().await;
            return Ok(());
        }
        traced => traced?,
    };
    let mut service = Service::start(args, settings, exposition, traced)?;
    service.show();
    systemd::ready();
    let ended = service.watch(&mut signals, &mut questions).await;
    let stopped = service.stop().await;
    ended.and(stopped)
}

fn trace(args: &DaemonArgs, settings: &Settings) -> Result<Traced> {
    let fixed = settings.clone().with_netns(namespaces::fixed)?;
    let ready = ready(args, fixed.clone())?;
    let (started, assessor, filters) = ready.start(args.probes.flush_interval)?;
    Ok(Traced {
        started,
        assessor,
        filters,
        names: fixed.watch.netns,
    })
}

/// Whether it is this host that stands in the way, and that is no reason to end.
fn goes_on(settings: &Settings, error: &anyhow::Error) -> bool {
    settings.daemon.on_untraceable == OnUntraceable::Inventory
        && failure::exit_code(error) == failure::Kind::Environment.exit_code()
}

impl Service {
    fn start(
        args: DaemonArgs,
        settings: Settings,
        mut exposition: Exposition,
        traced: Traced,
    ) -> Result<Self> {
        let Traced {
            started,
            assessor,
            filters,
            names,
        } = traced;
        let names = Names::new(names, filters.namespaces);
        let left = privileges::shrink()?;
        let delivery = Rc::new(Delivery::start(args.host.as_deref(), &settings.sinks)?);
        let keeper = Keeper::new(settings.alerts.state.clone());
        let give = {
            let delivery = Rc::clone(&delivery);
            Box::new(move |message| delivery.send(message))
        };
        let mut feed = Feed::new(&settings, keeper.restored(), time(), give);
        // Its start had a check of its own: what another run could not see is over.
        feed.sight(passed(&settings), time());
        feed.unlooked(time());
        let backend = started.backend;
        let (attached, pipeline, inventory) = at_level(&settings, started, assessor);
        let engine = Engine::new(pipeline, feed);
        // All descriptors that it keeps are open before it says that it watches.
        let canary = Canary::new(settings.daemon.self_check, args.probes.flush_interval);
        let watchdog = Watchdog::new();
        let debug = args.probes.debug_programs;
        let session = Session::begin(attached, engine, None, debug)?;
        announce(session.programs(), inventory, backend, "");
        info!("privileges that are left: {}", left.join(", "));
        exposition.push(&settings.metrics);
        Ok(Self {
            canary,
            args,
            settings,
            session,
            backend,
            delivery,
            exposition,
            keeper,
            // The one at the start.
            checks: SelfCheck { ok: 1, failed: 0 },
            lost_before: BTreeMap::new(),
            overlaps: Overlaps::default(),
            names,
            blind: None,
            reloaded: Reload {
                successful: true,
                taken: time().wall,
            },
            held: Held::default(),
            watchdog,
            shown: Status::default(),
        })
    }

    /// Until it is told to end.
    async fn watch(
        &mut self,
        signals: &mut Signals,
        questions: &mut mpsc::Receiver<Question>,
    ) -> Result<()> {
        loop {
            let timeout = self.session.engine().outlet().next_timeout();
            tokio::select! {
                ready = self.session.source().ready() => ready?,
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.hangup.recv() => self.reload()?,
                () = until(timeout) => {}
                Some(question) = questions.recv() => self.answer(question)?,
                step = self.canary.step() => self.checked(step)?,
                () = self.keeper.turn() => {}
                () = self.names.turn() => {}
                () = self.watchdog.due() => {}
            }
            // Whatever it was: it may have come while records were waited for, whose signal is
            // gone.
            self.turn()?;
        }
    }

    /// Takes what is due, and lets time pass for alerts.
    fn turn(&mut self) -> Result<()> {
        let changed = self.names.look();
        self.pass(changed)?;
        self.session.batch()?;
        let feed = self.session.engine().outlet();
        feed.tick(time());
        let are_spooled = || self.delivery.are_spooled();
        self.keeper.keep(feed.alerts(), are_spooled);
        self.held.by(&mut self.session);
        if self.session.engine().outlet().has_seen() && self.canary.seen() {
            self.seen()?;
        }
        self.watchdog.alive();
        self.show();
        Ok(())
    }

    /// The self-check passed.
    fn seen(&mut self) -> Result<()> {
        self.checks.ok += 1;
        let feed = self.session.engine().outlet();
        feed.sight(Sight::Sees, time());
        self.sees(None);
        self.end_check()?;
        // Rarely enough to cost nothing: memory of a busy time lies in pieces.
        resident::give_back();
        Ok(())
    }

    /// Tells how it is, where that changed.
    fn show(&mut self) {
        let status = self.status();
        self.shown.show(status);
    }

    /// What the self-check came to.
    fn checked(&mut self, step: Step) -> Result<()> {
        if !matches!(step, Step::Made(_)) {
            self.end_check()?;
        }
        match step {
            Step::Made(netns) => {
                if self.is_filtered() {
                    self.session.record_also(Some(netns))?;
                }
                self.session.engine().outlet().seek(netns);
                self.canary.go();
            }
            Step::Overdue => {
                // Where this process itself was stopped for a while, it may wait to be read.
                self.session.batch()?;
                if self.session.engine().outlet().has_seen() {
                    return self.seen();
                }
                self.missed(
                    "the SYN of its own connection was not seen; sockpick doctor may tell why"
                        .into(),
                );
            }
            Step::Failed(why) => self.missed(format!("it cannot connect to itself: {why}")),
        }
        Ok(())
    }

    /// Names stay names: a namespace that came since, or came again, passes from now on, and the
    /// number of one that is gone does not.
    pub(super) fn pass(&mut self, changed: Option<(Vec<u32>, Vec<u32>)>) -> Result<()> {
        let Some((before, now)) = changed else {
            return Ok(());
        };
        self.session.filter_namespaces(&before, &now)?;
        info!(
            "{} of those that are watched are there now",
            count(now.len() as u64, "namespace")
        );
        Ok(())
    }

    /// Whether the kernel leaves SYNs out, so that the self-check has to get past that.
    fn is_filtered(&self) -> bool {
        self.settings.watch != Watch::default()
    }

    /// Nothing passes the filters any more: another namespace gets the number.
    pub(super) fn end_check(&mut self) -> Result<()> {
        if self.is_filtered() {
            self.session.record_also(None)?;
        }
        Ok(())
    }

    fn missed(&mut self, why: String) {
        self.checks.failed += 1;
        let feed = self.session.engine().outlet();
        feed.sight(Sight::Blind(why.clone()), time());
        self.sees(Some(why));
    }

    /// Says so when it sees no more, and when it does again.
    fn sees(&mut self, blind: Option<String>) {
        if self.blind == blind {
            return;
        }
        match &blind {
            Some(why) => error!("the self-check failed: {why}"),
            None => info!("the self-check passes again"),
        }
        self.blind = blind;
    }

    fn answer(&mut self, question: Question) -> Result<()> {
        // Whoever asked may have gone meanwhile.
        match question {
            Question::Metrics(to) => {
                self.session.count()?;
                let _ = to.send(self.metrics());
            }
            Question::Ready(to) => {
                let _ = to.send(self.blind.clone().map_or(Ok(()), Err));
            }
        }
        Ok(())
    }

    /// Ends: what waits is sent, as far as there is time, whatever the kernel says to the end.
    async fn stop(mut self) -> Result<()> {
        systemd::stopping();
        let probes = self.exposition.pushes().map(|_| self.probes());
        let end = self.session.detach();
        let ended = end.and_then(|end| self.session.engine().end(&end).map(drop));
        let feed = self.session.engine().outlet();
        self.keeper.last(feed.alerts()).await;
        let families = probes.map(|probes| self.metrics_with(probes));
        take_leave(&mut self.exposition, families, &self.delivery).await;
        ended
    }

    /// One line for who asks how it is.
    fn status(&mut self) -> String {
        let active = self.session.engine().outlet().alerts().active() as u64;
        let reload = reload_remark(self.reloaded);
        match &self.blind {
            Some(why) => format!("does not see: {why}{reload}"),
            None => format!(
                "watching by {}, {}{reload}",
                self.backend,
                count(active, "alert")
            ),
        }
    }
}

/// What it means for the alerts that sockpick sees, or as much as anybody looks after it.
pub(super) fn passed(settings: &Settings) -> Sight {
    match settings.daemon.self_check {
        Some(_) => Sight::Sees,
        None => Sight::Unchecked,
    }
}
