//! `[[sink]]`: where alerts and events go.

pub(super) mod kind;

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{
    values::{bytes_text, duration_text},
    writer::Text,
};
pub use kind::SinkKind;

/// `[[sink]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// What it is called in metrics and messages: as configured, or its type, with a number
    /// if there are several.
    pub name: String,
    /// Most notices and events that wait for it.
    pub queue: usize,
    /// Where what waits for it outlives the end of sockpick; `None`: nowhere.
    pub spool: Option<SpoolSettings>,
    /// Where to.
    pub to: SinkKind,
}

/// The file in which what waits for a sink outlives the end of sockpick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// Which.
    pub path: PathBuf,
    /// Most bytes of what waits; past it the oldest is thrown away.
    pub bytes: u64,
    /// What is older than this is thrown away.
    pub age: Duration,
}

impl SpoolSettings {
    /// What `spool_size` may be: the least has room for some records as long as they may be.
    pub const BYTES: RangeInclusive<u64> = 1 << 20..=1 << 30;
    /// `spool_size`, unless told otherwise.
    pub const USUAL_BYTES: u64 = 64 << 20;
    /// What `spool_age` may be.
    pub const AGE: RangeInclusive<Duration> =
        Duration::from_mins(1)..=Duration::from_hours(30 * 24);
    /// `spool_age`, unless told otherwise.
    pub const USUAL_AGE: Duration = Duration::from_hours(24);
}

impl SinkSettings {
    /// Most sinks: each has a queue and a thread of work of its own.
    pub const MOST: usize = 32;
    /// What `queue` may be.
    pub const QUEUE: RangeInclusive<usize> = 1..=1_000_000;
    /// `queue`, unless told otherwise.
    pub const USUAL_QUEUE: usize = 10_000;
    /// Most bytes of a name: it is the label of metrics.
    pub const LONGEST_NAME: usize = 64;
}

impl SinkSettings {
    /// It as a part of a configuration file.
    pub(super) fn write(&self, text: &mut Text) {
        text.table("[[sink]]");
        text.text("type", self.to.word());
        text.text("name", &self.name);
        text.key("queue", self.queue);
        self.to.write(text);
        if self.to.is_told_once() {
            spool(text, self.spool.as_ref());
        }
    }
}

fn spool(text: &mut Text, spool: Option<&SpoolSettings>) {
    text.file("spool", spool.map(|spool| &*spool.path));
    let size = bytes_text(spool.map_or(SpoolSettings::USUAL_BYTES, |spool| spool.bytes));
    let age = duration_text(spool.map_or(SpoolSettings::USUAL_AGE, |spool| spool.age));
    for (key, value) in [("spool_size", size), ("spool_age", age)] {
        match spool {
            Some(_) => text.text(key, value),
            // Alone it would be refused.
            None => text.line(format_args!("# {key}: \"{value}\" with a spool")),
        }
    }
}
