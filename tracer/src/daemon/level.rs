//! Of which SYNs the daemon has records: of those that may be an alert, or of all where more is
//! asked for; and of all to the ports of alerts that last, as any may show that one is over.

use anyhow::Result;

use crate::{
    cli::DaemonArgs,
    listeners::Inventory,
    outlets::feed::{self, Feed},
    pipeline::{Pipeline, assess::Assessor, enrich::Enricher},
    probes::rights::Level,
    session::{
        Session,
        start::{self, Attached, EVERY_SYN, Ready, Started, Unnamed},
    },
    settings::{Settings, Stream},
};

/// The level that the settings ask for.
pub(super) fn level(settings: &Settings) -> Level {
    if settings.alerts.need_every_syn() || feed::stream(settings) != Stream::Alerts {
        Level::All
    } else {
        Level::Suspects
    }
}

/// What is to be attached: the programs can change between levels while they run, and the buffer
/// has room for the one that is asked for.
pub(super) fn ready(args: &DaemonArgs, settings: Settings) -> Result<Ready> {
    let mut probes = args.probes.clone();
    if level(&settings) == Level::All {
        probes.buffer_size.get_or_insert(EVERY_SYN);
    }
    start::ready(settings, &probes, Level::Suspects, Unnamed::Awaited)
}

/// What was started, at that level, with its pipeline and who listens.
pub(super) fn at_level(
    settings: &Settings,
    started: Started,
    assessor: Assessor,
) -> (Attached, Pipeline, Inventory) {
    let Started {
        mut attached,
        host,
        inventory,
        backend,
    } = started;
    if attached.rights.is_some() {
        attached.programs.serve(level(settings));
    }
    let enricher = Enricher::new(backend, Box::new(host));
    let pipeline = Pipeline::new(enricher, assessor, &inventory).over_a_window();
    (attached, pipeline, inventory)
}

/// Ports of alerts that last.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The alerts' generation when they were looked at.
    as_of: Option<u64>,
}

impl Held {
    /// Has the session record each SYN to them.
    pub(super) fn by(&mut self, session: &mut Session<Feed>) {
        let alerts = session.engine().outlet().alerts();
        let now = Some(alerts.generation());
        if self.as_of != now {
            self.as_of = now;
            let ports = alerts.ports().collect();
            session.hold(ports);
        }
    }
}
