//! From settings to sinks: one route for each place that something is sent to.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::{
    backoff::Backoff,
    outbox::{Lost, Outbox},
    queue::Message,
    sink::Sink,
    spool::Spool,
    told::Teller,
};
use crate::{
    alerts::Occasion,
    settings::sink::{SinkKind, SinkSettings},
};

/// Settings of one sink with one place to send to, and its outbox.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) settings: SinkSettings,
    pub(super) outbox: Arc<Outbox>,
    takes: Takes,
}

/// Which messages a sink is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// All notices: it forgets what is not repeated.
    Notices,
    /// That alerts begin and end.
    Changes,
    /// Events, and all notices but those that an alert is over still.
    Lines,
}

impl Takes {
    fn takes(self, message: &Message) -> bool {
        match message {
            Message::Line(_) => self == Self::Lines,
            Message::Notice(notice) => match notice.occasion {
                Occasion::Began | Occasion::Ended => true,
                Occasion::Lasts => self != Self::Changes,
                Occasion::OverStill => self == Self::Notices,
            },
        }
    }
}

impl Route {
    /// One for this; its queue is empty. What is lost is added to `lost`.
    pub(super) fn new(settings: SinkSettings, lost: Lost) -> Self {
        let takes = match &settings.to {
            to if to.takes_events() => Takes::Lines,
            to if to.is_told_once() => Takes::Changes,
            _ => Takes::Notices,
        };
        let outbox = Arc::new(Outbox::new(settings.name.clone(), settings.queue, lost));
        Self {
            settings,
            outbox,
            takes,
        }
    }

    /// Gives the message to the sink, if it takes such ones.
    pub(super) fn push(&self, message: &Message) {
        if self.takes.takes(message) {
            self.outbox.push(message.clone());
        }
    }
}

/// The settings with one place each: every Alertmanager has a queue of its own, and its address
/// in its name.
pub(super) fn one_place_each(sinks: &[SinkSettings]) -> Vec<SinkSettings> {
    let mut all: Vec<SinkSettings> = Vec::new();
    for sink in sinks {
        let SinkKind::Alertmanager(targets) = &sink.to else {
            all.push(sink.clone());
            continue;
        };
        for target in targets {
            all.push(SinkSettings {
                name: format!("{}/{}", sink.name, target.url),
                queue: sink.queue,
                spool: sink.spool.clone(),
                to: SinkKind::Alertmanager(vec![target.clone()]),
            });
        }
    }
    number(&mut all);
    all
}

/// No two have one name: series and messages are told apart by it.
fn number(sinks: &mut [SinkSettings]) {
    let mut seen = std::collections::HashMap::new();
    for sink in sinks {
        let times = seen.entry(sink.name.clone()).or_insert(0u32);
        *times += 1;
        if *times > 1 {
            sink.name = format!("{}#{times}", sink.name);
        }
    }
}

/// A sink that is made, and waits for its runtime.
pub(super) struct Ready {
    sink: Sink,
    spool: Option<Spool>,
}

impl Ready {
    /// What the settings ask for. Nothing is opened and nobody is asked yet.
    pub(super) fn new(settings: &SinkSettings, teller: &Teller) -> Option<Self> {
        let sink = Sink::new(&settings.to, teller.clone())?;
        let spool = settings.spool.as_ref();
        let spool = spool.map(|spool| Spool::new(&settings.name, spool, settings.queue));
        Some(Self { sink, spool })
    }

    /// Sends what comes, until the outbox is closed and empty.
    pub(super) async fn run(self, outbox: Arc<Outbox>) {
        self.sink.run(outbox, Backoff::seeded(), self.spool).await;
    }
}

#[cfg(test)]
mod tests;
