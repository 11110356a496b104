//! `sockpick replay`: the pipeline once more, over a recording.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    net::SocketAddr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use sockpick_ebpf::abi::Stats;

use super::shown;
use crate::{
    cli::{ReplayArgs, Speed},
    config,
    decode::Record,
    event::Netns,
    failure::Failure,
    host::recorded::Recorded,
    judge::{self, netns::NetnsName},
    pipeline::{Counted, End, Input, Pipeline, assess::Assessor, enrich::Enricher},
    recording::{Asked, Frame, Header, reader::Reader},
    settings::{Settings, Watch},
};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let given = args.watch.given(&args.expect);
    let settings = config::settings(&given, args.expect.config.as_deref())?;
    let settings = settings.with_netns(as_recorded)?;
    for file in &args.files {
        let name = file.display().to_string();
        let (reader, header) = Reader::begin(open(file)?, &name)?;
        replay(args, &settings, reader, header, &name)?;
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
    settings: &Settings,
    mut reader: Reader,
    header: Header,
    name: &str,
) -> Result<()> {
    let mut host = Recorded::default();
    let mut pipeline = Pipeline::new(
        Enricher::new(header.backend, Box::new(host.clone())),
        Assessor::new(settings.expectations.clone(), header.algorithm),
        &header.listeners.into(),
        shown(args.output, args.color, header.netns),
        args.user_filter.selection(args.count),
    );
    let mut seen = Seen::default();
    let mut pace = Pace::new(args.speed);
    let mut end = None;
    while let Some(frame) = reader.frame() {
        match frame {
            Frame::Header(_) => {}
            Frame::Input(Asked {
                starts_afresh,
                notes,
                to: mut input,
            }) => {
                host.begin(starts_afresh, notes);
                if let Input::Record(record) = &input {
                    pace.wait(record.ktime_ns());
                    seen.ktime_ns(record.ktime_ns());
                    if !passes(&settings.watch, record, &host) {
                        seen.left_out(record);
                        continue;
                    }
                    seen.syns += u64::from(matches!(record, Record::Syn(_)));
                }
                if let Input::Counted(counted) = &mut input {
                    counted.stats = seen.of(&counted.stats);
                    seen.last = *counted;
                }
                pipeline.take(&input, &mut host)?;
            }
            Frame::End(Asked {
                starts_afresh,
                notes,
                mut to,
            }) => {
                host.begin(starts_afresh, notes);
                to.stats = seen.of(&to.stats);
                end = Some(to);
                break;
            }
        }
    }
    let is_whole = end.is_some();
    let summary = pipeline.end(&end.unwrap_or_else(|| seen.end()))?;
    // Nobody may be left to read it.
    let _ = write!(io::stderr(), "{summary}");
    if let Some(torn) = reader.torn() {
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
    fn ktime_ns(&mut self, ktime_ns: u64) {
        self.first_ns.get_or_insert(ktime_ns);
        self.last_ns = self.last_ns.max(ktime_ns);
    }

    fn left_out(&mut self, record: &Record) {
        if let Record::Syn(record) = record {
            self.left_out += 1;
            self.left_out_refused += u64::from(record.has_listener == 0);
        }
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

/// Whether the kernel would have told of it. Listeners come and go past the filters.
fn passes(watch: &Watch, record: &Record, host: &Recorded) -> bool {
    if watch.is_everything() {
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
    let client = judge::packet_address(client, family);
    let destination = judge::packet_address(destination, family);
    let named = || Netns {
        inode: netns,
        cookie: None,
        name: host.netns_name(netns, cookie),
    };
    watch.fits(client, SocketAddr::new(destination, u16::from_be(port_be)))
        && (watch.netns.is_empty() || watch.fits_netns(&named()))
}

/// What a recording knows of a namespace: its name and its inode number.
fn as_recorded(name: &NetnsName) -> Result<NetnsName, Failure> {
    match name {
        NetnsName::Name(_) | NetnsName::Inode(_) => Ok(name.clone()),
        NetnsName::Path(_) | NetnsName::Pid(_) => Err(Failure::usage(format!(
            "a recording does not say which network namespace {name} was; write it as the name \
             that ip netns had for it, or as its inode number"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use sockpick_ebpf::abi::SynRecord;

    use super::*;
    use crate::host::answers::{Key, Value};

    #[test]
    fn a_namespace_is_meant_by_the_name_that_it_had_when_it_was_recorded() {
        let host = Recorded::default();
        let name = |inode, name: &str| {
            let value = Value::Name(Some(name.to_owned()));
            (Key::Netns(inode, 1), 0, value)
        };
        host.begin(false, vec![name(7, "web"), name(8, "db")]);
        let syn = |netns| {
            Record::Syn(SynRecord {
                netns,
                netns_cookie: 1,
                family: libc::AF_INET as u16,
                ..SynRecord::default()
            })
        };
        let of = |text: &str| Watch {
            netns: vec![NetnsName::parse(text).expect("a name")],
            ..Watch::default()
        };
        assert!(passes(&of("web"), &syn(7), &host));
        assert!(!passes(&of("web"), &syn(8), &host));
        assert!(passes(&of("8"), &syn(8), &host));
        assert!(!passes(&of("web"), &syn(9), &host), "it has no name");
        assert!(passes(&Watch::default(), &syn(9), &host));
        assert!(as_recorded(&NetnsName::Pid(1)).is_err());
    }
}
