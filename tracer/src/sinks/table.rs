//! One line a SYN, for people: aligned for IPv4 at 120 columns.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

mod alert;
mod columns;
mod line;

use columns::dash;
use line::{Right, Widths};

use super::{
    Sink,
    digits::{push_endpoint, push_milliseconds},
    kept::Kept,
    lines::Lines,
};
use crate::event::{Endpoint, Event, Handover, Item, Lost, Time, Why};

const SECOND: i64 = 1_000_000_000;

/// Writes each SYN as a line of a table.
///
/// Columns start wide enough for usual IPv4 addresses and grow to hold what comes, so that later
/// lines stand below it. They get narrower again once nothing has needed them for a while.
#[derive(Debug)]
pub struct Table<W: Write> {
    lines: Lines<W>,
    widths: Widths,
    headed: bool,
    color: bool,
    own_netns: u32,
    zone: TimeZone,
    /// What formatting costs most.
    right: Kept<Right>,
    /// The whole second last shown, and how.
    second: (i64, String),
    /// The destination last shown, and how, with the arrow before it.
    destination: (Option<Endpoint>, Vec<u8>),
}

impl<W: Write> Table<W> {
    /// A table on `out`, with times in the system's time zone. SYNs of a namespace other
    /// than `own_netns` (an inode number) are marked with it.
    pub fn new(out: W, color: bool, own_netns: u32) -> Self {
        Self {
            lines: Lines::new(out),
            widths: Widths::new(),
            headed: false,
            color,
            own_netns,
            zone: TimeZone::system(),
            right: Kept::new(),
            second: (i64::MIN, String::new()),
            destination: (None, Vec::new()),
        }
    }

    /// The same table, with times in `zone`.
    #[must_use]
    pub fn in_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self.second.0 = i64::MIN;
        self
    }

    fn head(&mut self) -> io::Result<()> {
        if self.headed {
            return Ok(());
        }
        self.headed = true;
        self.widths.head(&mut self.lines.text);
        self.lines.end()
    }

    fn row(&mut self, event: &Event) -> io::Result<()> {
        self.line(event)?;
        if alert::is_due(event) {
            self.alert(event, None)?;
        }
        Ok(())
    }

    /// A hand-over that is an alert.
    fn handed_over(&mut self, handover: &Handover) -> io::Result<()> {
        self.line(&handover.event)?;
        self.alert(&handover.event, Some(handover.why))
    }

    fn line(&mut self, event: &Event) -> io::Result<()> {
        self.remember_second(event.time);
        self.remember_destination(&event.destination);
        self.widths.begin();
        self.left(event);
        let (color, own_netns) = (self.color, self.own_netns);
        let right = |event: &Event| Ok::<_, io::Error>(right(event, color, own_netns));
        let right = self.right.of(event, right)?;
        right.push(&mut self.lines.text, &mut self.widths);
        self.lines.end()
    }

    /// A second line below a SYN's own.
    fn alert(&mut self, event: &Event, handed_over: Option<Why>) -> io::Result<()> {
        let style = match (self.color, event.verdict.is_alert()) {
            (false, _) => Style::new(),
            (true, true) => AnsiColor::Red.on_default().bold(),
            (true, false) => AnsiColor::Yellow.on_default(),
        };
        let text = alert::text(event, handed_over, &self.zone);
        write!(self.lines.text, "{style}{text}{style:#}")?;
        self.lines.end()
    }

    /// TIME and CLIENT → DESTINATION, which no two lines share.
    fn left(&mut self, event: &Event) {
        let line = &mut self.lines.text;
        let start = line.len();
        line.extend_from_slice(self.second.1.as_bytes());
        let millisecond = event.time.0.rem_euclid(SECOND).unsigned_abs() / 1_000_000;
        line.push(b'.');
        push_milliseconds(line, millisecond);
        self.widths.end(0, line.len() - start, line);
        let start = line.len();
        push_endpoint(line, &event.client);
        line.extend_from_slice(&self.destination.1);
        // The arrow has three bytes.
        self.widths.end(1, line.len() - start - 2, line);
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        let style = if self.color {
            AnsiColor::Red.on_default()
        } else {
            Style::new()
        };
        let syns = if lost.lost == 1 { "SYN" } else { "SYNs" };
        let stage = lost.stage.word();
        let line = &mut self.lines.text;
        write!(
            line,
            "{style}-- {} {syns} lost: {stage}{style:#}",
            lost.lost
        )?;
        self.lines.end()
    }

    /// Formats it, unless it is the last one again.
    fn remember_destination(&mut self, destination: &Endpoint) {
        let (last, text) = &mut self.destination;
        if *last != Some(*destination) {
            *last = Some(*destination);
            text.clear();
            text.extend_from_slice(" → ".as_bytes());
            push_endpoint(text, destination);
        }
    }

    /// Formats the whole second, unless it is the last one again.
    fn remember_second(&mut self, time: Time) {
        let second = time.0.div_euclid(SECOND);
        if self.second.0 == second {
            return;
        }
        let text = Timestamp::from_second(second).map_or_else(
            |_| dash(),
            |time| {
                let time = time.to_zoned(self.zone.clone()).time();
                format!(
                    "{:02}:{:02}:{:02}",
                    time.hour(),
                    time.minute(),
                    time.second()
                )
            },
        );
        self.second = (second, text);
    }
}

impl<W: Write> Sink for Table<W> {
    fn write(&mut self, item: &Item) -> io::Result<()> {
        self.head()?;
        match item {
            Item::Syn(event) => self.row(event),
            Item::Lost(lost) => self.lost(lost),
            Item::Handover(handover) if handover.event.verdict.is_alert() => {
                self.handed_over(handover)
            }
            // The summary tells people.
            Item::Handover(_) | Item::Health(_) => Ok(()),
        }
    }

    fn syn(&mut self, event: &Event) -> io::Result<()> {
        self.head()?;
        self.row(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.head()?;
        self.lines.flush()
    }
}

/// What stands from LISTENER on.
fn right(event: &Event, color: bool, own_netns: u32) -> Right {
    let (cells, style) = columns::right(event, own_netns);
    Right::new(cells, color.then_some(style))
}
