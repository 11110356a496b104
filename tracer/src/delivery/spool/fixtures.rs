//! Notices that are told apart by a number, and a disk in memory that fills up.

use std::{
    io::{self, BufRead},
    sync::{Arc, Mutex},
};

use super::{
    book::Medium,
    format::{HEAD, Piece, read, record},
};
use crate::{
    alerts::{Notice, Occasion},
    delivery::fixtures,
    event::Time,
};

/// That alert number `serial` began, as of so many seconds.
pub(super) fn notice(serial: u32, seconds: i64) -> Arc<Notice> {
    let mut notice = fixtures::notice(serial, Occasion::Began);
    notice.alert.count = serial.into();
    notice.at = Time(seconds * 1_000_000_000);
    Arc::new(notice)
}

/// The number of it.
pub(super) fn serial(notice: &Notice) -> u32 {
    u32::try_from(notice.alert.count).expect("a small number")
}

/// The record of it.
pub(super) fn text(serial: u32) -> Vec<u8> {
    record(&notice(serial, 0)).expect("it is short")
}

/// The numbers of what waits in a spool with this text, and how much of it is damaged.
pub(super) fn waiting(spool: &[u8]) -> (Vec<u32>, usize) {
    let (found, damaged) = notices(spool);
    (found.iter().map(|notice| serial(notice)).collect(), damaged)
}

/// What waits in a spool with this text, and how much of it is damaged.
pub(super) fn notices(spool: &[u8]) -> (Vec<Arc<Notice>>, usize) {
    let (mut found, mut damaged) = (Vec::new(), 0);
    let text = spool.get(HEAD.len()..).unwrap_or_default();
    let end = read(text, |piece| match piece {
        Piece::Waits { at, bytes, notice } => {
            let record = at as usize..(at + bytes) as usize;
            assert!(record.end <= spool.len());
            found.push(notice);
        }
        Piece::Damaged => damaged += 1,
    });
    assert_eq!(end.expect("memory"), (HEAD.len() + text.len()) as u64);
    (found, damaged)
}

/// A file that its copies share, with room for so many bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    room: usize,
    most: usize,
    is_gone: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            room: usize::MAX,
            most: 0,
            is_gone: false,
        }
    }
}

impl Memory {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let memory = Self::default();
        memory.with(|inner| inner.bytes = bytes.to_vec());
        memory
    }

    fn with<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.0.lock().expect("no test panicked");
        let result = what(&mut inner);
        inner.most = inner.most.max(inner.bytes.len());
        result
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.with(|inner| inner.bytes.clone())
    }

    /// The most that it ever had.
    pub(super) fn most(&self) -> usize {
        self.with(|inner| inner.most)
    }

    pub(super) fn set_room(&self, room: usize) {
        self.with(|inner| inner.room = room);
    }

    /// Somebody removes it; who opens it finds another.
    pub(super) fn remove(&self) {
        self.with(|inner| (inner.bytes, inner.is_gone) = (Vec::new(), true));
    }

    pub(super) fn open(&self) -> Box<dyn Medium> {
        self.with(|inner| inner.is_gone = false);
        Box::new(self.clone())
    }
}

impl Medium for Memory {
    fn text(&mut self) -> io::Result<Box<dyn BufRead + '_>> {
        Ok(Box::new(io::Cursor::new(self.bytes())))
    }

    fn append(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(|inner| {
            assert_eq!(at, inner.bytes.len() as u64, "behind the end");
            if inner.bytes.len() + bytes.len() > inner.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.bytes.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn overwrite(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = at as usize;
        self.with(|inner| inner.bytes[at..at + bytes.len()].copy_from_slice(bytes));
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.with(|inner| inner.bytes.truncate(bytes as usize));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn replace(&mut self, parts: &mut dyn Iterator<Item = Vec<u8>>) -> io::Result<()> {
        let bytes: Vec<u8> = parts.flatten().collect();
        self.with(|inner| {
            if inner.bytes.len() + bytes.len() > inner.room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            inner.bytes = bytes;
            Ok(())
        })
    }

    fn is_gone(&self) -> bool {
        self.with(|inner| inner.is_gone)
    }
}
