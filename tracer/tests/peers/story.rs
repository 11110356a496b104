//! The story of A and B, as it was recorded, told to the daemon's outlet as if it had happened a
//! few minutes ago.

use std::{
    cell::RefCell,
    io::Cursor,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use sockpick::{
    alerts::{Notice, SHORTEST},
    delivery::{Delivery, Message, SinkStats},
    event::Time,
    metrics::{
        Families, View,
        view::{Probe, SelfCheck},
    },
    outlets::feed::{self, Feed},
    pipeline::Input,
    recording::{Frame, player::Player, reader::Reader},
    settings::Settings,
};

const RECORDING: &[u8] = include_bytes!("../recordings/v1.sockpick");
/// What is in it.
const SAID: &str = include_str!("../recordings/v1.json");
/// How long ago the last wrong SYN is to have come: longer than the shortest alert, so that what
/// ends it is past, too; and little longer, as Alertmanager takes it to be over by itself in time.
const AGO: Duration = SHORTEST.saturating_add(Duration::from_secs(5));

/// The SYNs of the recording, as JSON.
pub(crate) fn syns() -> Vec<Value> {
    let items = SAID
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    items
        .filter(|item: &Value| item["client"].is_object())
        .collect()
}

fn ktime_ns(syn: &Value) -> u64 {
    syn["ktime_ns"].as_u64().expect("a number")
}

fn recorded(syn: &Value) -> i64 {
    let time: Time = serde_json::from_value(syn["time"].clone()).expect("a time");
    time.0
}

fn wrong() -> impl Iterator<Item = Value> {
    syns()
        .into_iter()
        .filter(|syn| syn["verdict"] == "uncovered")
}

/// How far the story goes.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// A has not closed yet.
    BeforeWrong,
    /// B has got the SYNs of A; A is not back.
    Wrong,
    /// A is back.
    End,
}

impl Until {
    /// The time that what is told comes before.
    fn ktime_ns(self) -> u64 {
        match self {
            Self::BeforeWrong => wrong()
                .map(|syn| ktime_ns(&syn))
                .min()
                .expect("a wrong one"),
            Self::Wrong => {
                wrong()
                    .map(|syn| ktime_ns(&syn))
                    .max()
                    .expect("a wrong one")
                    + 1
            }
            Self::End => u64::MAX,
        }
    }
}

/// The pipeline and the daemon's outlet, with sinks at work.
pub(crate) struct Story {
    reader: Reader,
    /// What was read too early.
    next: Option<Frame>,
    /// The last time that was told.
    told_ns: u64,
    player: Player<Feed>,
    delivery: Rc<Delivery>,
    notices: Rc<RefCell<Vec<Arc<Notice>>>>,
    /// How much later than it was recorded all of it is told to have happened.
    shift_ns: i64,
    /// What the wall clock is ahead of `CLOCK_MONOTONIC`, so shifted.
    wall_offset_ns: i64,
}

impl Story {
    pub(crate) fn begin(settings: &Settings) -> Self {
        let (reader, header) =
            Reader::begin(Cursor::new(RECORDING.to_vec()), "v1").expect("a recording");
        let last = wrong().max_by_key(ktime_ns).expect("a wrong one");
        let shift_ns = unix_ns() - nanos(AGO) - recorded(&last);
        let wall_offset_ns = recorded(&last) - ktime_ns(&last).cast_signed() + shift_ns;
        let delivery = Rc::new(Delivery::start(None, &settings.sinks).expect("sinks"));
        let notices = Rc::<RefCell<Vec<_>>>::default();
        let (sinks, kept) = (Rc::clone(&delivery), Rc::clone(&notices));
        let give = Box::new(move |message: Message| {
            if let Message::Notice(notice) = &message {
                kept.borrow_mut().push(Arc::clone(notice));
            }
            sinks.send(message);
        });
        let feed = Feed::new(settings, None, feed::now(0, wall_offset_ns), give);
        Self {
            reader,
            next: None,
            told_ns: 0,
            player: Player::new(header, settings.expectations.clone(), feed),
            delivery,
            notices,
            shift_ns,
            wall_offset_ns,
        }
    }

    /// Tells of it as far as that.
    pub(crate) fn tell(&mut self, until: Until) {
        let end = until.ktime_ns();
        while let Some(frame) = self.next.take().or_else(|| self.reader.frame()) {
            if time(&frame).is_some_and(|time| time >= end) {
                self.next = Some(frame);
                break;
            }
            self.told_ns = time(&frame).unwrap_or(self.told_ns);
            let shift_ns = self.shift_ns;
            let shifted = |input: &mut Input, _: &_| {
                if let Input::Begin(wall_offset_ns) = input {
                    *wall_offset_ns += shift_ns;
                }
                true
            };
            self.player.take(frame, shifted).expect("a feed takes all");
        }
        self.tick(self.told_ns);
    }

    fn tick(&mut self, ktime_ns: u64) {
        let now = feed::now(ktime_ns, self.wall_offset_ns);
        self.player.engine().outlet().tick(now);
    }

    /// Has the time go by that the outlet waits for, until no alert lasts.
    pub(crate) fn let_it_end(&mut self) {
        while self.player.engine().outlet().alerts().active() > 0 {
            let due = self.player.engine().outlet().next_timeout();
            self.tick(due.expect("an alert lasts for some time"));
        }
    }

    /// When the first wrong SYN is told to have come.
    pub(crate) fn since(&self) -> Time {
        let first = wrong().map(|syn| recorded(&syn)).min();
        Time(first.expect("a wrong one") + self.shift_ns)
    }

    /// What was given to the sinks of alerts.
    pub(crate) fn notices(&self) -> Vec<Arc<Notice>> {
        self.notices.borrow().clone()
    }

    pub(crate) fn sinks(&self) -> Vec<SinkStats> {
        self.delivery.stats()
    }

    /// What the daemon would expose; of programs in the kernel there are none.
    pub(crate) fn metrics(&mut self) -> Families {
        let mut view = View {
            self_check: Some(SelfCheck { ok: 1, failed: 0 }),
            ..View::default()
        };
        let attached = Probe {
            backend: "fentry",
            attached: true,
            missed: None,
            run: None,
        };
        view.probes
            .insert("__inet_lookup_listener".into(), attached);
        self.player.engine().families(&mut view, &self.delivery)
    }
}

/// When that happened which is in the frame, if it has a time.
fn time(frame: &Frame) -> Option<u64> {
    match frame {
        Frame::Input(asked) => match &asked.to {
            Input::Record(record) => Some(record.ktime_ns()),
            _ => None,
        },
        _ => None,
    }
}

fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    nanos(since.expect("after 1970"))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).expect("before 2262")
}
