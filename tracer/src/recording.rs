//! Recordings: what came to the pipeline, and what the machine answered to it, in a file, so
//! that the same can be told again at another time, on another machine.
//!
//! A file is [`MAGIC`], the version, and frames: a length, a checksum, and a [`Frame`] in
//! postcard's encoding, which is the same on every machine. It may be cut anywhere. docs/recordings.md describes it.

#![forbid(unsafe_code)]

pub mod anonymise;
pub(crate) mod files;
pub(crate) mod filter;
pub(crate) mod pace;
mod permutation;
pub mod player;
mod progress;
pub mod reader;
pub mod recorder;
pub(crate) mod seen;
pub mod writer;

use serde::{Deserialize, Serialize};

use crate::{
    event::Backend,
    host::{answers::Listeners, noted::Note},
    judge::rules::Algorithm,
    pipeline::{Counted, End, Input},
};

/// How a recording begins.
pub const MAGIC: [u8; 8] = *b"sockpick";
/// Of the format; a file of a later one is refused.
/// 2: answers may have names of containers.
pub const VERSION: u16 = 2;
/// Most bytes of a frame: a stock-taking of a quarter of a million listeners.
pub const MOST_BYTES: u32 = 16 << 20;
/// How a file that zstd compressed begins (RFC 8878).
pub const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// A part of a recording.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Frame {
    /// The first: where and how it was recorded.
    Header(Box<Header>),
    /// What came to the pipeline, with what the machine answered to it.
    Input(Asked<Input>),
    /// The last: how the session ended.
    End(Asked<End>),
    /// The first of a part, where a long recording is cut into several files.
    Part(Box<Part>),
    /// The last of a part that another follows.
    Continued,
}

/// A part of a recording that is cut into several files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Where and how it was recorded; time and listeners as of this part's beginning.
    pub header: Header,
    /// Which part it is.
    pub position: Position,
}

/// Which part of a recording a file is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Names the session: all its parts have the same number, chosen at random.
    pub session: u64,
    /// Counted from 1.
    pub number: u32,
    /// What was counted in the parts before.
    pub counted: Counted,
    /// How long they took.
    pub seconds: f64,
}

impl Position {
    /// Whether this is the part after that one.
    #[must_use]
    pub fn follows(&self, before: &Self) -> bool {
        self.session == before.session && before.number.checked_add(1) == Some(self.number)
    }

    /// Whether parts came before.
    #[must_use]
    pub fn is_later(&self) -> bool {
        self.number > 1
    }
}

/// Something, and the answers that it led to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asked<T> {
    /// What was answered before is void.
    pub starts_afresh: bool,
    /// Answers that were not given before.
    pub notes: Vec<Note>,
    /// What led to them.
    pub to: T,
}

/// Where and how a recording was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Version of sockpick.
    pub sockpick: String,
    /// Release of the kernel, and its machine.
    pub kernel: (String, String),
    /// Name of the host, and id of its boot.
    pub host: (String, String),
    /// When recording began: wall-clock nanoseconds since 1970.
    pub began: i64,
    /// How this kernel looks listeners up.
    pub algorithm: Algorithm,
    /// How it was observed.
    pub backend: Backend,
    /// Namespace that sockpick ran in.
    pub netns: u32,
    /// Filters of the kernel that were in force, in words; empty for none.
    pub filters: String,
    /// The listeners that were there.
    pub listeners: Listeners,
}
