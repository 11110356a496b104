//! `sockpick replay`: the pipeline once more, over a recording.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use ipnet::IpNet;
use sockpick_ebpf::abi::Stats;

use super::shown;
use crate::{
    cli::{FamilyArg, ReplayArgs, Speed, every_port},
    config,
    decode::Record,
    event::Family,
    failure::Failure,
    host::recorded::Recorded,
    judge::{self, expectations::Expectations},
    outlets::foreground::Foreground,
    pipeline::{Counted, End, Input},
    recording::{Header, player::Player, reader::Reader},
};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let filter = Filter::of(args)?;
    for file in &args.files {
        let name = file.display().to_string();
        let expectations =
            config::expectations(args.expect.config.as_deref(), &args.expect.expect)?;
        let (reader, header) = Reader::begin(open(file)?, &name)?;
        replay(args, &filter, expectations, reader, header, &name)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Box<dyn Read>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let file = File::open(path).map_err(|error| {
        Failure::usage(format!(
            "cannot read the recording {}: {error}",
            path.display()
        ))
    })?;
    Ok(Box::new(file))
}

fn replay(
    args: &ReplayArgs,
    filter: &Filter,
    expectations: Expectations,
    reader: Reader,
    header: Header,
    name: &str,
) -> Result<()> {
    let sink = shown(args.output, args.color, header.netns);
    let foreground = Foreground::new(sink, args.user_filter.selection(args.count));
    let mut player = Player::new(reader, header, expectations, foreground);
    let mut seen = Seen::default();
    let mut pace = Pace::new(args.speed);
    let end = player.play(|input, host| match input {
        Input::Record(record) => {
            pace.wait(record.ktime_ns());
            seen.record(record, filter.passes(record, host))
        }
        Input::Counted(counted) => {
            counted.stats = seen.of(&counted.stats);
            seen.last = *counted;
            true
        }
        _ => true,
    })?;
    let is_whole = end.is_some();
    let end = end.map_or_else(
        || seen.end(),
        |end| End {
            stats: seen.of(&end.stats),
            ..end
        },
    );
    let summary = player.end(&end)?;
    // Nobody may be left to read it.
    let _ = write!(io::stderr(), "{summary}");
    if let Some(torn) = player.torn() {
        eprintln!("sockpick: {name} is torn {torn}; what came before was replayed");
    } else if !is_whole {
        eprintln!(
            "sockpick: {name} ends before its session did (sockpick was killed, or still writes); \
             what it has was replayed"
        );
    }
    Ok(())
}

/// What was read.
#[derive(Default)]
struct Seen {
    syns: u64,
    /// SYNs that the filters left out, and those of them without a listener.
    left_out: u64,
    left_out_refused: u64,
    first_ns: Option<u64>,
    last_ns: u64,
    last: Counted,
}

impl Seen {
    /// A record, which passes the filters or is left out; returns which.
    fn record(&mut self, record: &Record, passes: bool) -> bool {
        let ktime_ns = record.ktime_ns();
        self.first_ns.get_or_insert(ktime_ns);
        self.last_ns = self.last_ns.max(ktime_ns);
        if let Record::Syn(record) = record {
            self.syns += u64::from(passes);
            self.left_out += u64::from(!passes);
            self.left_out_refused += u64::from(!passes && record.has_listener == 0);
        }
        passes
    }

    /// The counters, as if the filters had been in the kernel.
    fn of(&self, stats: &Stats) -> Stats {
        Stats {
            syns: stats.syns.saturating_sub(self.left_out),
            emitted: stats.emitted.saturating_sub(self.left_out),
            refused: stats.refused.saturating_sub(self.left_out_refused),
            ..*stats
        }
    }

    /// The end of a recording that has none.
    fn end(&self) -> End {
        let lost = self.last.stats.lost_ring;
        let took_ns = self.last_ns.saturating_sub(self.first_ns.unwrap_or(0));
        End {
            stats: Stats {
                syns: self.syns + lost,
                emitted: self.syns,
                ..self.last.stats
            },
            listeners: Vec::new(),
            seconds: Duration::from_nanos(took_ns).as_secs_f64(),
        }
    }
}

/// Keeps the time that there was between records.
struct Pace {
    speed: Speed,
    /// When the first record was told, and its time.
    began: Option<(Instant, u64)>,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    fn wait(&mut self, ktime_ns: u64) {
        let Speed::Times(times) = self.speed else {
            return;
        };
        let (began, first_ns) = *self.began.get_or_insert((Instant::now(), ktime_ns));
        let after = Duration::from_nanos(ktime_ns.saturating_sub(first_ns));
        // What is slower than there is time for waits as long as there is.
        let due = Duration::try_from_secs_f64(after.as_secs_f64() / times);
        let due = due.unwrap_or(Duration::MAX);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
}

/// The filters that trace has in the kernel.
struct Filter {
    ports: Vec<u16>,
    destinations: Vec<IpNet>,
    sources: Vec<IpNet>,
    namespaces: Vec<String>,
    family: Option<Family>,
}

impl Filter {
    fn of(args: &ReplayArgs) -> Result<Self> {
        let filter = &args.filter;
        Ok(Self {
            ports: every_port(&filter.port).map_err(Failure::usage)?,
            destinations: filter.dst.clone(),
            sources: filter.src.clone(),
            namespaces: filter.netns.clone(),
            family: filter.family.map(|family| match family {
                FamilyArg::Ipv4 => Family::Ipv4,
                FamilyArg::Ipv6 => Family::Ipv6,
            }),
        })
    }

    fn is_empty(&self) -> bool {
        self.ports.is_empty()
            && self.destinations.is_empty()
            && self.sources.is_empty()
            && self.namespaces.is_empty()
            && self.family.is_none()
    }

    /// Whether the kernel would have told of it. Listeners come and go past the filters.
    fn passes(&self, record: &Record, host: &Recorded) -> bool {
        if self.is_empty() {
            return true;
        }
        let (netns, cookie, family, client, destination, port_be) = match record {
            Record::Listen(_) | Record::Close(_) => return true,
            Record::Syn(syn) => (
                syn.netns,
                syn.netns_cookie,
                syn.family,
                syn.client,
                syn.destination,
                syn.destination_port_be,
            ),
            Record::Handover(one) => (
                one.netns,
                one.netns_cookie,
                one.family,
                one.client,
                one.destination,
                one.destination_port_be,
            ),
        };
        let within = |nets: &[IpNet], address| {
            let address = judge::packet_address(address, family);
            nets.is_empty() || nets.iter().any(|net| net.contains(&address))
        };
        let is_meant = |wanted: &String| {
            wanted.parse() == Ok(netns) || host.netns_name(netns, cookie).as_ref() == Some(wanted)
        };
        let family = if family == libc::AF_INET as u16 {
            Family::Ipv4
        } else {
            Family::Ipv6
        };
        (self.ports.is_empty() || self.ports.contains(&u16::from_be(port_be)))
            && within(&self.destinations, destination)
            && within(&self.sources, client)
            && (self.namespaces.is_empty() || self.namespaces.iter().any(is_meant))
            && self.family.is_none_or(|wanted| wanted == family)
    }
}
