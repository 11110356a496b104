//! One JSON object a line, as `docs/events.md` says.
//!
//! The bytes are those of `serde_json::to_string(&event)`, which the tests hold this to.
//! They are put together here because serde escapes every key anew, letter by letter; and
//! what is costly to write and seldom changes (a listener's owners, the namespace, the
//! whole second of the time) is kept as text between events.

use std::collections::hash_map::Entry;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::Sink;
use crate::event::{Endpoint, Event, Item, Listener, Netns, Owner, Queue, Reuseport, Time};

/// Bytes that wait for a flush at most.
const BUFFER: usize = 64 * 1024;

/// Writes each item as a JSON object on a line of its own.
#[derive(Debug)]
pub struct Json<W: Write> {
    out: BufWriter<W>,
    line: Vec<u8>,
    texts: Texts,
}

impl<W: Write> Json<W> {
    /// A sink that writes to `out`, whole lines at a time.
    pub fn new(out: W) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, out),
            line: Vec::with_capacity(2048),
            texts: Texts::default(),
        }
    }
}

impl<W: Write> Json<W> {
    /// The line of an item, with its end.
    ///
    /// # Errors
    /// If it cannot be written as JSON, which no item brings about.
    pub fn line(&mut self, item: &Item) -> io::Result<&[u8]> {
        self.line.clear();
        match item {
            Item::Syn(event) => self.texts.event(&mut self.line, event)?,
            Item::Lost(lost) => serde_json::to_writer(&mut self.line, lost)?,
            Item::Handover(handover) => serde_json::to_writer(&mut self.line, handover)?,
            Item::Health(health) => serde_json::to_writer(&mut self.line, health)?,
        }
        self.line.push(b'\n');
        Ok(&self.line)
    }
}

impl<W: Write> Sink for Json<W> {
    fn write(&mut self, item: &Item) -> io::Result<()> {
        self.line(item)?;
        self.out.write_all(&self.line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What is kept between events.
#[derive(Debug, Default)]
struct Texts {
    clock: Clock,
    namespaces: Cache<Netns>,
    owners: Cache<[Owner]>,
}

impl Texts {
    // Every structure is taken apart by name, so that a field added to the event does not
    // compile until it is written here.
    fn event(&mut self, out: &mut Vec<u8>, event: &Event) -> serde_json::Result<()> {
        let Event {
            schema,
            time,
            ktime_ns,
            cpu,
            netns,
            client,
            destination,
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
        put(out, "{\"schema\":", schema)?;
        raw(out, ",\"time\":\"", self.clock.text(*time));
        put(out, "\",\"ktime_ns\":", ktime_ns)?;
        put(out, ",\"cpu\":", cpu)?;
        raw(out, ",\"netns\":", self.namespaces.text(netns)?);
        endpoint(out, ",\"client\":{\"address\":", client)?;
        endpoint(out, ",\"destination\":{\"address\":", destination)?;
        put(out, ",\"ifindex\":", ifindex)?;
        put_some(out, ",\"ifname\":", ifname.as_ref())?;
        put(out, ",\"match\":", matched)?;
        put(out, ",\"via\":", via)?;
        put(out, ",\"verdict\":", verdict)?;
        put_some(out, ",\"reason\":", reason.as_ref())?;
        match listener {
            Some(listener) => self.listener(out, listener)?,
            None => raw(out, ",\"listener\":", b"null"),
        }
        if let Some(reuseport) = reuseport {
            group(out, reuseport)?;
        }
        put_some(out, ",\"steered_by\":", steered_by.as_ref())?;
        put_some(out, ",\"expected\":", expected.as_ref())?;
        put_some(out, ",\"candidates\":", candidates.as_ref())?;
        put(out, ",\"backend\":", backend)?;
        out.push(b'}');
        Ok(())
    }

    fn listener(&mut self, out: &mut Vec<u8>, listener: &Listener) -> serde_json::Result<()> {
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
            queue: Queue { length, limit },
            owners,
            in_kernel,
            accepted_by,
            opened_by,
        } = listener;
        put(out, ",\"listener\":{\"address\":", address)?;
        put(out, ",\"port\":", port)?;
        put(out, ",\"family\":", family)?;
        put_some(out, ",\"device\":", device.as_ref())?;
        put(out, ",\"v6only\":", v6only)?;
        put_some(out, ",\"inode\":", inode.as_ref())?;
        put_some(out, ",\"cookie\":", cookie.as_ref())?;
        put(out, ",\"id\":", id)?;
        put_some(out, ",\"opened\":", opened.as_ref())?;
        put(out, ",\"queue\":{\"length\":", length)?;
        put(out, ",\"limit\":", limit)?;
        raw(out, "},\"owners\":", self.owners.text(owners)?);
        if *in_kernel {
            raw(out, ",\"in_kernel\":", b"true");
        }
        put_some(out, ",\"accepted_by\":", accepted_by.as_ref())?;
        put_some(out, ",\"opened_by\":", opened_by.as_ref())?;
        out.push(b'}');
        Ok(())
    }
}

fn endpoint(out: &mut Vec<u8>, key: &str, endpoint: &Endpoint) -> serde_json::Result<()> {
    let Endpoint { address, port } = endpoint;
    put(out, key, address)?;
    put(out, ",\"port\":", port)?;
    out.push(b'}');
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

/// Writes what stands before a value, and the value.
#[inline]
fn put<T: Serialize + ?Sized>(out: &mut Vec<u8>, key: &str, value: &T) -> serde_json::Result<()> {
    out.extend_from_slice(key.as_bytes());
    serde_json::to_writer(out, value)
}

/// As [`put`], or nothing.
#[inline]
fn put_some<T: Serialize>(
    out: &mut Vec<u8>,
    key: &str,
    value: Option<&T>,
) -> serde_json::Result<()> {
    value.map_or(Ok(()), |value| put(out, key, value))
}

/// As [`put`], for a value that is JSON text already.
#[inline]
fn raw(out: &mut Vec<u8>, key: &str, text: &[u8]) {
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(text);
}

/// The text of values that hang on an [`Arc`], found again by the `Arc`'s address.
#[derive(Debug)]
struct Cache<T: ?Sized> {
    texts: FxHashMap<usize, Text<T>>,
}

#[derive(Debug)]
struct Text<T: ?Sized> {
    json: Vec<u8>,
    /// Keeps the address from being given to another value.
    _value: Arc<T>,
}

impl<T: ?Sized> Default for Cache<T> {
    fn default() -> Self {
        Self {
            texts: FxHashMap::default(),
        }
    }
}

impl<T: Serialize + ?Sized> Cache<T> {
    /// Values kept at most; a full cache starts over, which costs time and loses nothing.
    const BOUND: usize = 1024;

    fn text(&mut self, value: &Arc<T>) -> serde_json::Result<&[u8]> {
        let key = Arc::as_ptr(value).addr();
        if self.texts.len() >= Self::BOUND && !self.texts.contains_key(&key) {
            self.texts.clear();
        }
        let text = match self.texts.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Text {
                json: serde_json::to_vec(&**value)?,
                _value: Arc::clone(value),
            }),
        };
        Ok(&text.json)
    }
}

/// Writes times and keeps the text of the last whole second.
#[derive(Debug, Default)]
struct Clock {
    second: Option<i64>,
    text: Vec<u8>,
}

impl Clock {
    fn text(&mut self, time: Time) -> &[u8] {
        const NANOSECONDS: i64 = 1_000_000_000;
        let second = time.0.div_euclid(NANOSECONDS);
        if self.second != Some(second) {
            self.text = time.to_string().into_bytes();
            self.second = Some(second);
            return &self.text;
        }
        let mut rest = time.0.rem_euclid(NANOSECONDS).unsigned_abs();
        // "….123456789Z"
        for digit in self.text.iter_mut().rev().skip(1).take(9) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_to_its_bound() {
        let mut cache = Cache::default();
        for number in 0..3 * Cache::<usize>::BOUND {
            let text = cache.text(&Arc::new(number)).expect("a number").to_vec();
            assert_eq!(text, number.to_string().into_bytes());
            assert!(cache.texts.len() <= Cache::<usize>::BOUND);
        }
    }
}
