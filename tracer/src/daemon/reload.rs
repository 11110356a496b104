//! New settings while it runs: checked whole, then in force whole. What may fail comes first; a
//! file that is refused changes nothing.

use anyhow::Result;
use log::info;

use super::{
    exposition,
    level::{Held, at_level, level, ready},
    names::Names,
    outside::outside,
    remarks::refused,
    service::Service,
    systemd,
    waits::time,
};
use crate::{
    alerts::Sight,
    config, namespaces,
    pipeline::assess::Assessor,
    probes::filters::Filters,
    session::start::{Started, announce},
    settings::{
        Settings,
        change::{Changes, changes},
    },
};

/// What is ready to be put in force.
struct Prepared {
    settings: Settings,
    /// The same, with paths and processes as the namespaces that they lead to now.
    fixed: Settings,
    changes: Changes,
    /// Where metrics will be had and pushed, if elsewhere.
    outside: exposition::Prepared,
    /// Where other SYNs are to be looked at: programs that do, not yet recording.
    anew: Option<(Started, Assessor, Filters)>,
}

impl Service {
    /// Reads the configuration again. One that is refused is told of.
    ///
    /// # Errors
    /// If the kernel refuses to go on with programs that it took before.
    pub(super) fn reload(&mut self) -> Result<()> {
        systemd::reloading();
        let done = match self.prepare() {
            Ok(prepared) => self.put_in_force(prepared),
            Err(error) => {
                refused(&error);
                self.reloaded.successful = false;
                Ok(())
            }
        };
        systemd::ready();
        done
    }

    fn prepare(&mut self) -> Result<Prepared> {
        let settings = config::again(&self.args.config)?;
        let changes = changes(&self.settings, &settings);
        let fixed = settings.clone().with_netns(namespaces::fixed)?;
        let anew = if changes.attach_anew {
            let ready = ready(&self.args, fixed.clone())?;
            Some(ready.start(self.args.probes.flush_interval)?)
        } else {
            None
        };
        let outside = outside(&self.exposition, &self.delivery, &changes, &settings)?;
        Ok(Prepared {
            settings,
            fixed,
            changes,
            outside,
            anew,
        })
    }

    fn put_in_force(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared {
            settings,
            fixed,
            changes,
            outside,
            anew,
        } = prepared;
        self.exposition.put_in_force(outside);
        if let Some((started, assessor, filters)) = anew {
            self.attach_anew(&settings, started, assessor)?;
            self.names = Names::new(fixed.watch.netns, filters.namespaces);
        } else {
            if changes.expectations {
                let pipeline = self.session.engine().pipeline();
                pipeline.expect(fixed.expectations);
            }
            let changed = self.names.look_now();
            self.pass(changed)?;
            if level(&settings) != level(&self.settings) {
                self.session.set_level(level(&settings))?;
                // One that is under way was to be recorded past the filters.
                self.canary.rest();
            }
        }
        let feed = self.session.engine().outlet();
        feed.reconfigure(&settings, time());
        self.canary.set_interval(settings.daemon.self_check);
        if settings.daemon.self_check.is_none() {
            // Nobody would find out that it sees again.
            self.blind = None;
            feed.sight(Sight::Unchecked, time());
        }
        if changes.self_check {
            self.end_check()?;
        }
        self.keeper.move_to(settings.alerts.state.clone());
        self.settings = settings;
        self.reloaded.successful = true;
        self.reloaded.taken = time().wall;
        info!("the configuration was read again: {changes}");
        Ok(())
    }

    /// Goes on with other programs: those before are detached, and what they wrote is taken.
    /// Between the two nobody looks; what was learned of listeners that closed is forgotten.
    fn attach_anew(
        &mut self,
        settings: &Settings,
        started: Started,
        assessor: Assessor,
    ) -> Result<()> {
        let end = self.session.detach()?;
        let engine = self.session.engine();
        engine.end(&end)?;
        for (stage, lost) in engine.pipeline().losses() {
            *self.lost_before.entry(*stage).or_default() += lost;
        }
        engine.outlet().anew(time());
        self.backend = started.backend;
        let (attached, pipeline, inventory) = at_level(settings, started, assessor);
        let debug = self.args.probes.debug_programs;
        self.session.go_on(attached, pipeline, debug)?;
        self.held = Held::default();
        // One that is under way was announced to the programs before.
        self.canary.rest();
        announce(self.session.programs(), inventory, self.backend, "");
        Ok(())
    }
}
