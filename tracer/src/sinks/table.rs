//! One line a SYN, for people: aligned for IPv4 at 120 columns.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Sink;
use crate::event::{Event, Item, Listener, Lost, Match, Netns, Reuseport, Stage, Time, Via};

/// The columns; the last, OWNER, is as wide as it must be.
const COLUMNS: [Column; 6] = [
    Column::new("TIME", 12, 12),
    Column::new("CLIENT → DESTINATION", 37, 45),
    Column::new("LISTENER", 15, 21),
    Column::new("MATCH VIA", 23, 25),
    Column::new("MEMBER", 6, 9),
    Column::new("OWNER", 0, 0),
];
/// Position of the column that is coloured.
const MATCH: usize = 3;
/// Blanks between columns.
const GAP: usize = 2;

/// A column's title and its width: at first, and once something wider has come.
struct Column {
    title: &'static str,
    width: usize,
    widest: usize,
}

impl Column {
    const fn new(title: &'static str, width: usize, widest: usize) -> Self {
        Self {
            title,
            width,
            widest,
        }
    }
}

/// Writes each SYN as a line of a table.
///
/// Columns start wide enough for usual IPv4 addresses and grow to hold any. What is longer
/// still, an IPv6 address, pushes what follows to the right in its own line only, as far as
/// the blanks of that line do not make up for it.
#[derive(Debug)]
pub struct Table<W: Write> {
    out: BufWriter<W>,
    line: String,
    widths: [usize; COLUMNS.len()],
    headed: bool,
    color: bool,
    own_netns: u32,
    zone: TimeZone,
}

impl<W: Write> Table<W> {
    /// A table on `out`, with times in the system's time zone. SYNs of a namespace other
    /// than `own_netns` (an inode number) are marked with it.
    pub fn new(out: W, color: bool, own_netns: u32) -> Self {
        Self {
            out: BufWriter::new(out),
            line: String::new(),
            widths: COLUMNS.map(|column| column.width),
            headed: false,
            color,
            own_netns,
            zone: TimeZone::system(),
        }
    }

    /// The same table, with times in `zone`.
    #[must_use]
    pub fn in_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    fn head(&mut self) -> io::Result<()> {
        if self.headed {
            return Ok(());
        }
        self.headed = true;
        self.row(
            &COLUMNS.map(|column| Cow::Borrowed(column.title)),
            Style::new(),
        )
    }

    fn syn(&mut self, event: &Event) -> io::Result<()> {
        let (chosen, style) = chosen(event);
        let cells = [
            self.time(event.time),
            format!("{} → {}", event.client, event.destination),
            event.listener.as_ref().map_or_else(dash, bound),
            chosen,
            event.reuseport.as_ref().map_or_else(dash, member),
            self.owner(event),
        ];
        self.row(&cells.map(Cow::Owned), style)
    }

    fn row(&mut self, cells: &[Cow<'_, str>; COLUMNS.len()], style: Style) -> io::Result<()> {
        self.line.clear();
        let (mut at, mut start) = (0, 0);
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                let blanks = start.max(at + GAP) - at;
                self.line.extend(std::iter::repeat_n(' ', blanks));
                at += blanks;
            }
            if index == MATCH && self.color {
                let _ = write!(self.line, "{style}{cell}{style:#}");
            } else {
                self.line.push_str(cell);
            }
            let wide = cell.chars().count();
            at += wide;
            if wide <= COLUMNS[index].widest {
                self.widths[index] = wide.max(self.widths[index]);
            }
            start += self.widths[index] + GAP;
        }
        self.line.push('\n');
        self.out.write_all(self.line.as_bytes())
    }

    fn lost(&mut self, lost: &Lost) -> io::Result<()> {
        let style = if self.color {
            AnsiColor::Red.on_default()
        } else {
            Style::new()
        };
        let syns = if lost.lost == 1 { "SYN" } else { "SYNs" };
        let stage = stage_word(lost.stage);
        writeln!(
            self.out,
            "{style}-- {} {syns} lost: {stage}{style:#}",
            lost.lost
        )
    }

    fn time(&self, time: Time) -> String {
        Timestamp::from_nanosecond(time.0.into()).map_or_else(
            |_| dash(),
            |time| {
                let time = time.to_zoned(self.zone.clone()).time();
                let (hour, minute, second) = (time.hour(), time.minute(), time.second());
                format!(
                    "{hour:02}:{minute:02}:{second:02}.{:03}",
                    time.millisecond()
                )
            },
        )
    }

    fn owner(&self, event: &Event) -> String {
        let mut text = event.listener.as_ref().map_or_else(dash, holder);
        if event.netns.inode != self.own_netns {
            text += " netns=";
            text += &namespace(&event.netns);
        }
        text
    }
}

impl<W: Write> Sink for Table<W> {
    fn write(&mut self, item: &Item) -> io::Result<()> {
        self.head()?;
        match item {
            Item::Syn(event) => self.syn(event),
            Item::Lost(lost) => self.lost(lost),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.head()?;
        self.out.flush()
    }
}

fn dash() -> String {
    "-".to_owned()
}

/// Where a listener is bound, as `ss` writes it: `*%eth0:80`, `[::]:80`.
fn bound(listener: &Listener) -> String {
    let device = listener.device.as_deref().map(printable);
    let (mark, device) = device.map_or(("", Cow::Borrowed("")), |device| ("%", device));
    let port = listener.port;
    match listener.address {
        IpAddr::V4(any) if any.is_unspecified() => format!("*{mark}{device}:{port}"),
        IpAddr::V4(address) => format!("{address}{mark}{device}:{port}"),
        IpAddr::V6(address) => format!("[{address}]{mark}{device}:{port}"),
    }
}

/// The words for match and via, and their colour.
fn chosen(event: &Event) -> (String, Style) {
    let (fit, style) = match (event.matched, &event.listener) {
        (_, None) => ("refused", AnsiColor::Red.on_default()),
        (Match::Exact, _) => ("exact", AnsiColor::Green.on_default()),
        (Match::Wildcard, _) => ("wildcard", AnsiColor::Yellow.on_default()),
        (Match::DualStack, _) => ("dual_stack", AnsiColor::Yellow.on_default()),
        (Match::None, _) => ("none", Style::new()),
    };
    let via = match event.via {
        Via::Lookup if event.listener.is_none() => return (fit.to_owned(), style),
        Via::Lookup => "lookup",
        Via::ReuseportHash => "reuseport_hash",
        Via::ReuseportBpf => "reuseport_bpf",
        Via::ReuseportCbpf => "reuseport_cbpf",
        Via::SkLookup => "sk_lookup",
        Via::SkAssign => "sk_assign",
        Via::Tproxy => "tproxy",
    };
    (format!("{fit} {via}"), style)
}

fn member(reuseport: &Reuseport) -> String {
    let size = reuseport.size;
    match reuseport.member {
        Some(member) => format!("[{member}]/{size}"),
        None => format!("[?]/{size}"),
    }
}

/// Who takes a listener's connections: the process seen to, else the first that holds it.
fn holder(listener: &Listener) -> String {
    let owners = &listener.owners;
    let acceptor = listener.accepted_by.as_ref();
    let (pid, comm) = match (acceptor, owners.first()) {
        (Some(process), _) => (process.pid, &*process.comm),
        (None, Some(owner)) => (owner.pid, owner.comm.as_str()),
        (None, None) => return dash(),
    };
    let others = owners.iter().filter(|owner| owner.pid != pid).count();
    let comm = printable(comm);
    if others == 0 {
        format!("{comm}({pid})")
    } else {
        format!("{comm}({pid}) +{others}")
    }
}

fn namespace(netns: &Netns) -> Cow<'_, str> {
    match &netns.name {
        Some(name) => printable(name),
        None => Cow::Owned(netns.inode.to_string()),
    }
}

/// A text that a process chose, without what would steer the terminal.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) {
        Cow::Owned(text.replace(char::is_control, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The word for a stage, as in the JSON output.
pub(super) fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Kernel => "kernel",
        Stage::Queue => "queue",
        Stage::Sink => "sink",
    }
}
