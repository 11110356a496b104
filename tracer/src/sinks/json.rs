//! One JSON object a line, as `docs/events.md` says.
//!
//! The bytes are those of `serde_json::to_string(&event)`, which the tests hold this to.
//! They are put together here because serde escapes every key anew, letter by letter; and
//! what the SYNs of a listener have in common, nearly all of a line, is kept as text between
//! events.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    Sink,
    digits::{NANOSECONDS, push_address, push_nanoseconds, push_number, push_port},
    kept::Kept,
    lines::Lines,
};
use crate::event::{Endpoint, Event, Item, Listener, Queue, Reuseport, Time};

/// Writes each item as a JSON object on a line of its own.
#[derive(Debug)]
pub struct Json<W: Write> {
    lines: Lines<W>,
    /// One that somebody asked for.
    line: Vec<u8>,
    events: Events,
}

impl<W: Write> Json<W> {
    /// A sink that writes to `out`, whole lines at a time.
    pub fn new(out: W) -> Self {
        Self {
            lines: Lines::new(out),
            line: Vec::new(),
            events: Events::new(),
        }
    }

    /// The line of an item, with its end.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which no item brings about.
    pub fn line(&mut self, item: &Item) -> io::Result<&[u8]> {
        self.line.clear();
        self.events.push_item(&mut self.line, item)?;
        self.line.push(b'\n');
        Ok(&self.line)
    }

    /// The line of a SYN, with its end.
    ///
    /// # Errors
    /// As [`Json::line`].
    pub fn syn_line(&mut self, event: &Event) -> io::Result<&[u8]> {
        self.line.clear();
        self.events.push(&mut self.line, event)?;
        self.line.push(b'\n');
        Ok(&self.line)
    }
}

impl<W: Write> Sink for Json<W> {
    fn write(&mut self, item: &Item) -> io::Result<()> {
        self.events.push_item(&mut self.lines.text, item)?;
        self.lines.end()
    }

    fn syn(&mut self, event: &Event) -> io::Result<()> {
        self.events.push(&mut self.lines.text, event)?;
        self.lines.end()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// Writes events, and keeps what is the same for the next.
#[derive(Debug)]
struct Events {
    clock: Clock,
    monotonic: Monotonic,
    destination: Destination,
    kept: Kept<Common>,
}

impl Events {
    fn new() -> Self {
        Self {
            clock: Clock::default(),
            monotonic: Monotonic::default(),
            destination: Destination::default(),
            kept: Kept::new(),
        }
    }

    // Every structure is taken apart by name, here and below, so that a field added to the event
    // does not compile until it is written.
    fn push(&mut self, line: &mut Vec<u8>, event: &Event) -> io::Result<()> {
        let Common {
            start,
            netns,
            choice,
            rest,
        } = self.kept.of(event, Common::of)?;
        line.extend_from_slice(start);
        self.clock.push(line, event.time);
        line.extend_from_slice(b"\",\"ktime_ns\":");
        self.monotonic.push(line, event.ktime_ns);
        number(line, b",\"cpu\":", event.cpu.into());
        line.extend_from_slice(netns);
        endpoint(line, &event.client);
        line.extend_from_slice(self.destination.text(&event.destination));
        line.extend_from_slice(choice);
        if let Some(listener) = &event.listener {
            push_number(line, listener.queue.length.into());
        }
        line.extend_from_slice(rest);
        Ok(())
    }

    /// All of the item, or nothing.
    fn push_item(&mut self, line: &mut Vec<u8>, item: &Item) -> io::Result<()> {
        let start = line.len();
        let pushed = match item {
            Item::Syn(event) => self.push(line, event),
            Item::Lost(lost) => put(line, "", lost).map_err(io::Error::from),
            Item::Handover(handover) => put(line, "", handover).map_err(io::Error::from),
            Item::Health(health) => put(line, "", health).map_err(io::Error::from),
        };
        if pushed.is_err() {
            line.truncate(start);
        }
        pushed
    }
}

/// The text that SYNs which [are alike](Event::is_like) have in common.
#[derive(Debug)]
struct Common {
    /// Before the time.
    start: Vec<u8>,
    /// Between the CPU and the client's address.
    netns: Vec<u8>,
    /// Between the destination and the length of the queue; without a listener all that follows.
    choice: Vec<u8>,
    /// After the length of the queue.
    rest: Vec<u8>,
}

impl Common {
    fn of(event: &Event) -> serde_json::Result<Self> {
        let Event {
            schema,
            time: _,
            ktime_ns: _,
            cpu: _,
            netns,
            client: _,
            destination: _,
            ifindex,
            ifname,
            matched,
            via,
            verdict,
            reason,
            listener,
            reuseport,
            steered_by,
            expected,
            candidates,
            backend,
        } = event;
        let mut start = Vec::new();
        put(&mut start, "{\"schema\":", schema)?;
        raw(&mut start, ",\"time\":\"", b"");
        let mut before_client = Vec::new();
        put(&mut before_client, ",\"netns\":", netns)?;
        raw(&mut before_client, ",\"client\":", ADDRESS);
        let mut choice = Vec::new();
        let out = &mut choice;
        put(out, ",\"ifindex\":", ifindex)?;
        put_some(out, ",\"ifname\":", ifname.as_ref())?;
        put(out, ",\"match\":", matched)?;
        put(out, ",\"via\":", via)?;
        put(out, ",\"verdict\":", verdict)?;
        put_some(out, ",\"reason\":", reason.as_ref())?;
        let mut rest = Vec::new();
        match listener {
            Some(chosen) => listener_around(out, &mut rest, chosen)?,
            None => raw(out, ",\"listener\":", b"null"),
        }
        let out = &mut rest;
        if let Some(reuseport) = reuseport {
            group(out, reuseport)?;
        }
        put_some(out, ",\"steered_by\":", steered_by.as_ref())?;
        put_some(out, ",\"expected\":", expected.as_ref())?;
        put_some(out, ",\"candidates\":", candidates.as_ref())?;
        put(out, ",\"backend\":", backend)?;
        out.push(b'}');
        Ok(Self {
            start,
            netns: before_client,
            choice,
            rest,
        })
    }
}

/// What stands before the length of the listener's queue, and after it.
fn listener_around(
    before: &mut Vec<u8>,
    after: &mut Vec<u8>,
    listener: &Listener,
) -> serde_json::Result<()> {
    let Listener {
        address,
        port,
        family,
        device,
        v6only,
        inode,
        cookie,
        id,
        opened,
        queue: Queue { length: _, limit },
        owners,
        in_kernel,
        accepted_by,
        opened_by,
    } = listener;
    put(before, ",\"listener\":{\"address\":", address)?;
    put(before, ",\"port\":", port)?;
    put(before, ",\"family\":", family)?;
    put_some(before, ",\"device\":", device.as_ref())?;
    put(before, ",\"v6only\":", v6only)?;
    put_some(before, ",\"inode\":", inode.as_ref())?;
    put_some(before, ",\"cookie\":", cookie.as_ref())?;
    put(before, ",\"id\":", id)?;
    put_some(before, ",\"opened\":", opened.as_ref())?;
    raw(before, ",\"queue\":{\"length\":", b"");
    put(after, ",\"limit\":", limit)?;
    put(after, "},\"owners\":", owners)?;
    if *in_kernel {
        raw(after, ",\"in_kernel\":", b"true");
    }
    put_some(after, ",\"accepted_by\":", accepted_by.as_ref())?;
    put_some(after, ",\"opened_by\":", opened_by.as_ref())?;
    after.push(b'}');
    Ok(())
}

fn group(out: &mut Vec<u8>, reuseport: &Reuseport) -> serde_json::Result<()> {
    let Reuseport {
        group,
        size,
        member,
        program_id,
    } = reuseport;
    put(out, ",\"reuseport\":{\"group\":", group)?;
    put(out, ",\"size\":", size)?;
    put_some(out, ",\"member\":", member.as_ref())?;
    put_some(out, ",\"program_id\":", program_id.as_ref())?;
    out.push(b'}');
    Ok(())
}

/// How an endpoint begins.
const ADDRESS: &[u8] = b"{\"address\":\"";

/// The rest of it.
fn endpoint(out: &mut Vec<u8>, endpoint: &Endpoint) {
    let Endpoint { address, port } = endpoint;
    push_address(out, *address);
    out.extend_from_slice(b"\",\"port\":");
    push_port(out, *port);
    out.push(b'}');
}

/// Writes what stands before a value, and the value.
fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, key: &str, value: &T) -> serde_json::Result<()> {
    out.extend_from_slice(key.as_bytes());
    serde_json::to_writer(out, value)
}

/// As [`put`], or nothing.
fn put_some<T: Serialize>(
    out: &mut Vec<u8>,
    key: &str,
    value: Option<&T>,
) -> serde_json::Result<()> {
    value.map_or(Ok(()), |value| put(out, key, value))
}

/// As [`put`], for a value that is JSON text already.
fn raw(out: &mut Vec<u8>, key: &str, text: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(text);
}

/// As [`put`], without the way through serde. A key of known length is copied by a few moves.
#[inline]
fn number<const N: usize>(out: &mut Vec<u8>, key: &[u8; N], number: u64) {
    out.extend_from_slice(key);
    push_number(out, number);
}

/// Writes destinations and keeps the text of the last: those of a service are few, and an IPv6
/// address is costly.
#[derive(Debug, Default)]
struct Destination {
    last: Option<Endpoint>,
    text: Vec<u8>,
}

impl Destination {
    fn text(&mut self, destination: &Endpoint) -> &[u8] {
        if self.last != Some(*destination) {
            self.last = Some(*destination);
            self.text.clear();
            raw(&mut self.text, ",\"destination\":", ADDRESS);
            endpoint(&mut self.text, destination);
        }
        &self.text
    }
}

/// Writes times and keeps the text of the last whole second.
#[derive(Debug, Default)]
struct Clock {
    second: Option<i64>,
    /// With the point after it.
    text: Vec<u8>,
}

impl Clock {
    fn push(&mut self, out: &mut Vec<u8>, time: Time) {
        let second = time.0.div_euclid(NANOSECONDS.cast_signed());
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = time.to_string().into_bytes();
            // "….123456789Z"
            self.text
                .truncate(self.text.len().saturating_sub("123456789Z".len()));
        }
        out.extend_from_slice(&self.text);
        let rest = time.0.rem_euclid(NANOSECONDS.cast_signed());
        push_nanoseconds(out, rest.unsigned_abs());
        out.push(b'Z');
    }
}

/// Writes times of the kernel's in nanoseconds, and keeps the text of the last whole second.
#[derive(Debug, Default)]
struct Monotonic {
    second: u64,
    text: Vec<u8>,
}

impl Monotonic {
    fn push(&mut self, out: &mut Vec<u8>, ktime_ns: u64) {
        let second = ktime_ns / NANOSECONDS;
        if second == 0 {
            return push_number(out, ktime_ns);
        }
        if self.second != second {
            self.second = second;
            self.text.clear();
            push_number(&mut self.text, second);
        }
        out.extend_from_slice(&self.text);
        push_nanoseconds(out, ktime_ns - second * NANOSECONDS);
    }
}
