//! What the daemon tells beside what SYNs count: filled in when it is asked for.

use std::{collections::BTreeMap, mem::take, sync::Arc, time::Duration};

use super::service::Service;
use crate::{
    metrics::{Families, View, view::Probe},
    probes::{plan::Decision, programs::Use},
};

impl Service {
    /// Everything that is exposed, as of now.
    pub(super) fn metrics(&mut self) -> Families {
        let probes = self.probes();
        self.metrics_with(probes)
    }

    /// The same, but for its probes.
    pub(super) fn metrics_with(&mut self, probes: BTreeMap<Arc<str>, Probe>) -> Families {
        let mut view = View {
            tracing: Some(true),
            self_check: self.settings.daemon.self_check.map(|_| self.checks),
            reload: Some(self.reloaded),
            overlapping: take(&mut self.overlaps),
            probes,
            lost: self.lost_before.clone(),
            pushes: self.exposition.pushes(),
            ..View::default()
        };
        let families = self.session.engine().families(&mut view, &self.delivery);
        self.overlaps = view.overlapping;
        families
    }

    /// What each of them did. Of one that is detached the kernel knows nothing any more.
    pub(super) fn probes(&self) -> BTreeMap<Arc<str>, Probe> {
        let programs = self.session.programs();
        let hooks = programs.plan.hooks.iter();
        let wanted = hooks.filter(|(_, decision)| !matches!(decision, Decision::NotNeeded(_)));
        wanted
            .map(|(hook, decision)| {
                let probe = match decision {
                    Decision::Attach { mechanism, .. } => {
                        let Use { missed, run } = programs.use_of(*hook);
                        Probe {
                            backend: mechanism.word(),
                            attached: true,
                            missed: Some(missed),
                            run: (run > Duration::ZERO).then_some(run),
                        }
                    }
                    Decision::NotNeeded(_) | Decision::Missing(_) => Probe {
                        backend: "",
                        attached: false,
                        missed: None,
                        run: None,
                    },
                };
                (hook.function().into(), probe)
            })
            .collect()
    }
}
