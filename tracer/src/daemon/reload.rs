//! New settings while it runs: checked whole, then in force whole. What may fail comes first; a
//! file that is refused changes nothing.

use anyhow::{Context as _, Result};
use log::{info, warn};

use super::service::{Service, begin, time};
use crate::{
    config,
    namespaces,
    session::start::{self, Started},
    settings::{Given, Settings, change::{Changes, changes}},
    pipeline::assess::Assessor,
};

/// What is ready to be put in force.
struct Prepared {
    settings: Settings,
    changes: Changes,
    /// Where other SYNs are to be looked at: programs that do, not yet recording.
    anew: Option<(Started, Assessor)>,
}

impl Service {
    /// Reads the configuration again. One that is refused is told of.
    ///
    /// # Errors
    /// If the kernel refuses to go on with programs that it took before.
    pub(super) async fn reload(&mut self) -> Result<()> {
        self.manager.reloading();
        let done = match self.prepare() {
            Ok(prepared) => self.put_in_force(prepared).await,
            Err(error) => {
                warn!("the configuration is not taken, the one before is in force: {error:#}");
                self.reloaded.successful = false;
                Ok(())
            }
        };
        let status = self.status();
        self.manager.ready(&status);
        done
    }

    fn prepare(&mut self) -> Result<Prepared> {
        let settings = config::settings(&Given::default(), Some(&self.args.config))?;
        let changes = changes(&self.settings, &settings);
        let anew = if changes.attach_anew {
            let ready = start::ready(settings.clone(), &self.args.probes)?;
            let (started, assessor, _) = ready.start(self.args.probes.flush_interval)?;
            Some((started, assessor))
        } else {
            None
        };
        if changes.metrics_listen {
            self.exposition
                .prepare(settings.metrics.listen.as_ref())
                .context("metrics cannot be had there")?;
        }
        // The last that may fail: sinks are asked nothing, but their files must make sense.
        if !changes.sinks.is_none() {
            self.delivery.replace(&settings.sinks)?;
        }
        Ok(Prepared {
            settings,
            changes,
            anew,
        })
    }

    async fn put_in_force(&mut self, prepared: Prepared) -> Result<()> {
        let Prepared {
            settings,
            changes,
            anew,
        } = prepared;
        self.exposition.switch();
        let fixed = settings.clone().with_netns(namespaces::fixed)?;
        if let Some((started, assessor)) = anew {
            self.attach_anew(started, assessor)?;
        } else if changes.expectations {
            self.session.engine().expect(fixed.expectations);
        }
        let feed = self.session.engine().outlet();
        feed.reconfigure(&settings, time());
        self.canary.set_interval(settings.daemon.self_check);
        self.keeper.move_to(settings.alerts.state.clone());
        self.settings = settings;
        self.reloaded.successful = true;
        self.reloaded.taken = time().wall;
        info!("the configuration was read again: {changes}");
        Ok(())
    }
}
