//! The outlet of the daemon: raises alerts, counts, and gives out what sinks are to have. It
//! never fails: who cannot take what it gives counts that itself.

mod exposed;

use anyhow::Result;

use super::Outlet;
use crate::{
    alerts::{Alerts, Now, Sight, state::State},
    audit::Finding,
    delivery::Message,
    event::{Event, Item, Time},
    metrics::Series,
    pipeline::{Balance, Output, enrich::Enricher},
    settings::{Settings, Stream},
    sinks::json::Json,
};

/// Takes what is to be told, at once.
pub type Give = Box<dyn FnMut(Message)>;

/// Alerts, counters and a stream of events.
pub struct Feed {
    alerts: Alerts,
    series: Series,
    stream: Stream,
    /// SYNs since the start, for samples of them.
    syns: u64,
    json: Json<Vec<u8>>,
    give: Give,
    /// The latest time that was told.
    now: Now,
    /// Namespace of the daemon's own connection, while its SYN was not seen yet.
    sought: Option<u32>,
}

impl Feed {
    /// Begins, or goes on where another run ended.
    #[must_use]
    pub fn new(settings: &Settings, restored: Option<State>, now: Now, give: Give) -> Self {
        let alerts = match restored {
            Some(state) => Alerts::restore(&settings.alerts, state, now),
            None => Alerts::new(&settings.alerts),
        };
        Self {
            alerts,
            series: Series::new(settings.metrics.max_series),
            stream: stream(settings),
            syns: 0,
            json: Json::new(Vec::new()),
            give,
            now,
            sought: None,
        }
    }

    /// New settings are in force. Alerts that go on, go on.
    pub fn reconfigure(&mut self, settings: &Settings, now: Now) {
        self.advance(now);
        self.alerts.reconfigure(&settings.alerts, self.now);
        self.series.allow(settings.metrics.max_series);
        self.stream = stream(settings);
        self.tell();
    }

    /// Other programs look from here on.
    pub fn anew(&mut self, now: Now) {
        self.advance(now);
        self.series.anew(self.now.ktime_ns);
    }

    /// When [`Feed::tick`] is due, on `CLOCK_MONOTONIC` in nanoseconds.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.alerts.next_timeout()
    }

    /// Time went by.
    pub fn tick(&mut self, now: Now) {
        self.advance(now);
        self.alerts.timeout(self.now);
        self.tell();
    }

    /// Takes everything that a look at the listeners found; says how many findings have no alert
    /// for want of room.
    pub fn found(&mut self, findings: &[Finding], now: Now) -> u64 {
        self.advance(now);
        let without_room = self.alerts.found(findings, self.now);
        self.tell();
        without_room
    }

    /// SYNs are traced: nobody looks for findings.
    pub fn unlooked(&mut self, now: Now) {
        self.advance(now);
        self.alerts.unlooked(self.now);
        self.tell();
    }

    /// Takes whether sockpick sees.
    pub fn sight(&mut self, sight: Sight, now: Now) {
        self.advance(now);
        self.alerts.sight(sight, self.now);
        self.tell();
    }

    /// The alerts.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// The counters, as of now.
    pub fn series(&mut self) -> &mut Series {
        self.series.sweep(self.now.ktime_ns);
        &mut self.series
    }

    /// Looks for the SYN of the daemon's own connection in this namespace.
    pub fn seek(&mut self, netns: u32) {
        self.sought = Some(netns);
    }

    /// Whether it was seen, or none is looked for.
    #[must_use]
    pub fn has_seen(&self) -> bool {
        self.sought.is_none()
    }

    /// Records of several CPUs are in order but for a moment; alerts are told no earlier time
    /// after a later one.
    fn advance(&mut self, now: Now) {
        if now.ktime_ns >= self.now.ktime_ns {
            self.now = now;
        }
    }

    fn judged(&mut self, event: &Event) {
        self.advance(Now {
            ktime_ns: event.ktime_ns,
            wall: event.time,
        });
        self.alerts.take(event, self.now);
    }

    fn balance(&mut self, balance: &Balance) {
        self.advance(Now {
            ktime_ns: balance.ktime_ns,
            wall: balance.time,
        });
        self.alerts.balance(&balance.groups, self.now);
    }

    fn is_sampled(&mut self) -> bool {
        self.syns += 1;
        match self.stream {
            Stream::Alerts => false,
            Stream::Sample(of) => self.syns.is_multiple_of(of),
            Stream::All => true,
        }
    }

    fn stream(&mut self, item: &Item) {
        if self.stream != Stream::Alerts {
            give_line(&mut self.give, self.json.line(item).ok());
        }
    }

    fn tell(&mut self) {
        for notice in self.alerts.notices() {
            (self.give)(Message::Notice(notice.into()));
        }
    }
}

/// A vector takes everything, so there is a line.
fn give_line(give: &mut Give, line: Option<&[u8]>) {
    if let Some(line) = line {
        give(Message::Line(line.into()));
    }
}

impl Outlet for Feed {
    fn take(&mut self, output: &Output) -> Result<()> {
        self.series.take(output, self.now.ktime_ns);
        match output {
            Output::Syn(event, _) => {
                self.judged(event);
                if self.is_sampled() {
                    give_line(&mut self.give, self.json.syn_line(event).ok());
                }
            }
            Output::Handover(handover) => {
                self.judged(&handover.event);
                self.stream(&Item::Handover(handover.clone()));
            }
            Output::Lost(lost) => self.stream(&Item::Lost(*lost)),
            Output::Health(health) => self.stream(&Item::Health(health.clone())),
            Output::Own(netns) if self.sought == Some(*netns) => self.sought = None,
            Output::Balance(balance) => self.balance(balance),
            Output::Own(_) | Output::Gone(_) | Output::Unrecorded(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.tell();
        Ok(())
    }
}

/// Which events are written as lines: none where no sink takes them.
#[must_use]
pub fn stream(settings: &Settings) -> Stream {
    let mut sinks = settings.sinks.iter();
    if sinks.any(|sink| sink.to.takes_events()) {
        settings.stream
    } else {
        Stream::Alerts
    }
}

/// The time by both clocks. `wall_offset_ns`: what the wall clock is ahead.
#[must_use]
pub fn now(ktime_ns: u64, wall_offset_ns: i64) -> Now {
    Now {
        ktime_ns,
        wall: Time(Enricher::wall_ns(ktime_ns, wall_offset_ns)),
    }
}
