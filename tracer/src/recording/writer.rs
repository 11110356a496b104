//! Writes a recording, whole frames at a time.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::{Asked, Frame, MAGIC, MOST_BYTES, VERSION};
use crate::{decode::Record, pipeline::Input};

/// Bytes that wait for a batch's end at most.
const BUFFER: usize = 256 * 1024;

/// A recording that is being written.
pub struct Writer {
    path: PathBuf,
    file: File,
    compressed: bool,
    buffer: Vec<u8>,
    /// Bytes in the file that are whole.
    whole: u64,
    /// SYNs in them, and in the buffer.
    syns: u64,
    waiting: u64,
}

impl Writer {
    /// Begins a file, which must not be there; its name ends in `.zst` if it is to be compressed.
    /// `first` has the header.
    ///
    /// # Errors
    /// If it cannot be made or written.
    pub fn begin(path: &Path, first: &Frame) -> Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(path);
        let file = file.map_err(|error| {
            let shown = path.display();
            if error.kind() == io::ErrorKind::AlreadyExists {
                return anyhow::anyhow!(
                    "{shown} is there already, and sockpick overwrites no file: give another \
                     name, or remove it"
                );
            }
            anyhow::anyhow!("cannot write the recording {shown}: {error}")
        })?;
        let mut writer = Self {
            path: path.to_owned(),
            file,
            compressed: path.extension().is_some_and(|end| end == "zst"),
            buffer: Vec::with_capacity(BUFFER),
            whole: 0,
            syns: 0,
            waiting: 0,
        };
        writer.buffer.extend(MAGIC);
        writer.buffer.extend(VERSION.to_le_bytes());
        writer.frame(first)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, as the system knows it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Bytes in the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.whole
    }

    /// Writes a frame; what ends a batch or a file is in the file when this returns.
    ///
    /// # Errors
    /// If the file takes no more: what was written before is kept.
    pub fn put(&mut self, frame: &Frame) -> Result<()> {
        self.frame(frame)?;
        let (is_syn, is_end) = match frame {
            Frame::Input(Asked { to, .. }) => (
                matches!(to, Input::Record(Record::Syn(_))),
                matches!(to, Input::Counted(_)),
            ),
            _ => (false, true),
        };
        self.waiting += u64::from(is_syn);
        if self.buffer.len() >= BUFFER || is_end {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands over what waits.
    ///
    /// # Errors
    /// As [`Writer::put`].
    pub fn finish(mut self) -> Result<()> {
        self.flush()
    }

    fn frame(&mut self, frame: &Frame) -> Result<()> {
        let start = self.buffer.len();
        self.buffer.extend([0; 8]);
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(frame, buffer).context("cannot write a recording")?;
        let payload = &self.buffer[start + 8..];
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if length > MOST_BYTES {
            self.buffer.truncate(start);
            anyhow::bail!(
                "{length} bytes are more than a recording has at once: are there that many \
                 listeners?"
            );
        }
        let sum = crc32fast::hash(payload);
        self.buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.buffer[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// Hands over what waits; a frame that was not written whole is taken back.
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let written = if self.compressed {
            let packed = compress_to_vec(&*self.buffer, CompressionLevel::Fastest);
            self.file.write_all(&packed).map(|()| packed.len())
        } else {
            let plain = self.file.write_all(&self.buffer);
            plain.map(|()| self.buffer.len())
        };
        self.buffer.clear();
        match written {
            Ok(bytes) => {
                self.whole += bytes as u64;
                self.syns += std::mem::take(&mut self.waiting);
                Ok(())
            }
            Err(error) => {
                // What is left of the last write is a torn end, which replay can take as well.
                let _ = self.file.set_len(self.whole);
                let _ = self.file.seek(SeekFrom::Start(self.whole));
                Err(anyhow::anyhow!(
                    "cannot write the recording {}: {error}; kept are {} bytes with {}, which can \
                     be replayed",
                    self.path.display(),
                    self.whole,
                    crate::words::count(self.syns, "SYN")
                ))
            }
        }
    }
}
