//! The daemon on a host that cannot be traced, where `on_untraceable` says to go on: what
//! `sockpick audit` finds, looked for again and again, as alerts and metrics. It says wherever it
//! is asked that it does not trace.

use std::rc::Rc;

use anyhow::Result;
use log::{error, info, warn};
use tokio::sync::mpsc;

use super::{
    exposition::{Exposition, Question},
    keeper::Keeper,
    looks::{self, Looks, Outcome},
    outside::{outside, take_leave},
    remarks::{refused, reload_remark},
    systemd::{self, Status, Watchdog},
    waits::{Signals, time, until},
};
use crate::{
    alerts::Sight,
    audit::Finding,
    cli::DaemonArgs,
    config,
    delivery::Delivery,
    judge::rules::Algorithm,
    kernel::algorithm,
    metrics::{
        Families, View,
        view::{Findings, Reload},
    },
    outlets::feed::Feed,
    privileges,
    settings::{OnUntraceable, Settings, change::changes},
    words::count,
};

/// A running daemon that does not trace.
pub(super) struct Inventory {
    args: DaemonArgs,
    settings: Settings,
    feed: Feed,
    /// Shared with the outlet.
    delivery: Rc<Delivery>,
    exposition: Exposition,
    keeper: Keeper,
    looks: Looks,
    algorithm: Algorithm,
    /// Why it does not trace.
    why: String,
    /// What the last look found that succeeded.
    findings: Option<Findings>,
    /// Why the last one did not.
    failed: Option<String>,
    /// What the last one could not see.
    remarks: Vec<String>,
    reloaded: Reload,
    watchdog: Watchdog,
    shown: Status,
}

impl Inventory {
    /// Begins, as it cannot be traced and why.
    ///
    /// # Errors
    /// If a sink cannot be begun, or a privilege not be given up.
    pub(super) fn start(
        args: DaemonArgs,
        settings: Settings,
        mut exposition: Exposition,
        why: &str,
    ) -> Result<Self> {
        // Whatever it is told in goes on after it.
        let why = why.trim_end_matches('.').to_owned();
        error!(
            "this host is not traced: {why}; it goes on with what sockpick audit finds, as \
             on_untraceable = \"inventory\" says"
        );
        let (algorithm, how) = algorithm::detect();
        let left = privileges::shrink()?;
        let delivery = Rc::new(Delivery::start(args.host.as_deref(), &settings.sinks)?);
        let keeper = Keeper::new(settings.alerts.state.clone());
        let give = {
            let delivery = Rc::clone(&delivery);
            Box::new(move |message| delivery.send(message))
        };
        let feed = Feed::new(&settings, keeper.restored(), time(), give);
        info!("lookup: {algorithm:?}, {}", how.words());
        info!("privileges that are left: {}", left.join(", "));
        exposition.push(&settings.metrics);
        let look = looks::of(settings.watch.clone(), algorithm);
        let mut inventory = Self {
            args,
            feed,
            delivery,
            exposition,
            keeper,
            looks: Looks::new(settings.daemon.audit, look),
            algorithm,
            why,
            findings: None,
            failed: None,
            remarks: Vec::new(),
            reloaded: Reload {
                successful: true,
                taken: time().wall,
            },
            watchdog: Watchdog::new(),
            shown: Status::default(),
            settings,
        };
        inventory.sight();
        Ok(inventory)
    }

    /// Until it is told to end.
    pub(super) async fn watch(
        &mut self,
        signals: &mut Signals,
        questions: &mut mpsc::Receiver<Question>,
    ) {
        loop {
            tokio::select! {
                _ = signals.interrupt.recv() => return,
                _ = signals.terminate.recv() => return,
                _ = signals.hangup.recv() => self.reload(),
                () = until(self.feed.next_timeout()) => {}
                Some(question) = questions.recv() => self.answer(question),
                outcome = self.looks.step() => self.looked(outcome),
                () = self.keeper.turn() => {}
                () = self.watchdog.due() => {}
            }
            self.feed.tick(time());
            let are_spooled = || self.delivery.are_spooled();
            self.keeper.keep(self.feed.alerts(), are_spooled);
            self.watchdog.alive();
            self.show();
        }
    }

    /// Tells how it is, where that changed.
    pub(super) fn show(&mut self) {
        let status = self.status();
        self.shown.show(status);
    }

    /// That it does not trace is an alert, unless nobody wants to know whether it sees.
    fn sight(&mut self) {
        let sight = match self.settings.daemon.self_check {
            Some(_) => Sight::Untraced(self.why.clone()),
            None => Sight::Unchecked,
        };
        self.feed.sight(sight, time());
    }

    fn looked(&mut self, outcome: Outcome) {
        let looked = match outcome {
            Ok(looked) => looked,
            Err(error) => return self.missed(format!("{error:#}")),
        };
        if self.failed.take().is_some() {
            info!("the listeners can be looked at again");
        }
        if self.remarks != looked.remarks {
            for remark in &looked.remarks {
                warn!("{remark}");
            }
            self.remarks = looked.remarks;
        }
        self.found(&looked.findings);
    }

    fn found(&mut self, found: &[Finding]) {
        let now = time();
        let without_room = self.feed.found(found, now);
        let before = self.findings.take().map(|before| before.number);
        let findings = Findings::of(found, now.wall);
        // Said when it changes: it is looked for all day.
        if before.as_ref() != Some(&findings.number) {
            let number = &findings.number;
            info!("looked at the listeners: {}", words(number.values().sum()));
            if without_room > 0 {
                let without_room = words(without_room);
                warn!("{without_room} without an alert: more than max_active in [alerts] last");
            }
        }
        self.findings = Some(findings);
    }

    /// What was found before stays as it was.
    fn missed(&mut self, why: String) {
        if self.failed.as_ref() != Some(&why) {
            warn!("the listeners cannot be looked at: {why}; what was found before is as it was");
        }
        self.failed = Some(why);
    }

    fn answer(&mut self, question: Question) {
        // Whoever asked may have gone meanwhile.
        match question {
            Question::Metrics(to) => {
                let _ = to.send(self.metrics());
            }
            Question::Ready(to) => {
                let _ = to.send(Err(self.blindness()));
            }
        }
    }

    fn blindness(&self) -> String {
        format!("this host is not traced: {}", self.why)
    }

    fn metrics(&mut self) -> Families {
        let mut view = View {
            tracing: Some(false),
            reload: Some(self.reloaded),
            algorithm: Some(self.algorithm),
            findings: self.findings.clone(),
            pushes: self.exposition.pushes(),
            ..View::default()
        };
        self.feed.families(&mut view, &self.delivery)
    }

    /// Reads the configuration again. One that is refused is told of.
    fn reload(&mut self) {
        systemd::reloading();
        if let Err(error) = self.take_settings() {
            refused(&error);
            self.reloaded.successful = false;
        }
        systemd::ready();
    }

    fn take_settings(&mut self) -> Result<()> {
        let settings = config::again(&self.args.config)?;
        let changes = changes(&self.settings, &settings);
        let outside = outside(&self.exposition, &self.delivery, &changes, &settings)?;
        // Nothing fails from here on.
        self.exposition.put_in_force(outside);
        self.feed.reconfigure(&settings, time());
        self.keeper.move_to(settings.alerts.state.clone());
        if changes.attach_anew || changes.inventory {
            let look = looks::of(settings.watch.clone(), self.algorithm);
            self.looks.renew(settings.daemon.audit, look);
        }
        self.settings = settings;
        if changes.self_check {
            self.sight();
        }
        self.reloaded = Reload {
            successful: true,
            taken: time().wall,
        };
        info!("the configuration was read again: {changes}");
        if self.settings.daemon.on_untraceable == OnUntraceable::Exit {
            warn!(
                "on_untraceable = \"exit\" holds from the next start on: until then this host is \
                 not traced, and the daemon goes on"
            );
        }
        Ok(())
    }

    /// One line for who asks how it is.
    fn status(&self) -> String {
        let found = match (&self.failed, &self.findings) {
            (Some(why), _) => format!("listeners cannot be looked at: {why}"),
            (None, Some(findings)) => words(findings.number.values().sum()),
            (None, None) => "looking at the listeners".to_owned(),
        };
        let alerts = count(self.feed.alerts().active() as u64, "alert");
        let reload = reload_remark(self.reloaded);
        format!(
            "does not trace; {found}, {alerts}{reload}; why: {}",
            self.why
        )
    }

    /// Ends: what waits is sent, as far as there is time.
    pub(super) async fn stop(mut self) {
        systemd::stopping();
        self.keeper.last(self.feed.alerts()).await;
        let families = self.exposition.pushes().map(|_| self.metrics());
        take_leave(&mut self.exposition, families, &self.delivery).await;
    }
}

fn words(findings: u64) -> String {
    count(findings, "finding")
}
