//! Reads a recording, of whom- and wherever it is: nothing in it is believed, and no more memory
//! is taken than a recording of a busy host needs.

use std::io::{self, BufRead, BufReader, Read};

use anyhow::{Context as _, Result};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::{Frame, Header, MAGIC, MOST_BYTES, Position, VERSION, ZSTD};
use crate::failure::Failure;

/// Most bytes of what compression may refer back to; what sockpick writes needs less.
const MOST_WINDOW: u64 = 2 * MOST_BYTES as u64;

/// Most memory of the process, in bytes, at which more is read. Whatever a file makes replay
/// remember, listeners that never close for one, counts.
const MOST_RESIDENT: u64 = 768 << 20;
/// After so many bytes of frames that is looked at.
const LOOKED_AT: u64 = MOST_BYTES as u64;

/// A recording that is being read.
pub struct Reader {
    input: Box<dyn Read>,
    /// Which part of a recording it is, if it is one.
    position: Option<Position>,
    /// Bytes (uncompressed) of whole frames, and how many there were when memory was looked at.
    whole: u64,
    looked_at: u64,
    most_resident: u64,
    torn: Option<String>,
}

impl Reader {
    /// Begins with the header. `name` is for messages.
    ///
    /// # Errors
    /// If it is no recording, or of a later version.
    pub fn begin(input: impl Read + 'static, name: &str) -> Result<(Self, Header)> {
        let mut input = BufReader::new(input);
        let start = input
            .fill_buf()
            .with_context(|| format!("cannot read {name}"))?;
        let input: Box<dyn Read> = if start.starts_with(&ZSTD) {
            Box::new(Unpacked {
                input: Some(input),
                frame: None,
            })
        } else {
            Box::new(input)
        };
        let mut reader = Self {
            input,
            position: None,
            whole: 0,
            looked_at: 0,
            most_resident: MOST_RESIDENT,
            torn: None,
        };
        let is_none = || Failure::usage(format!("{name} is no recording of sockpick's"));
        let mut magic = [0; MAGIC.len()];
        let mut version = [0; 2];
        reader.input.read_exact(&mut magic).map_err(|_| is_none())?;
        if magic != MAGIC {
            return Err(is_none().into());
        }
        reader
            .input
            .read_exact(&mut version)
            .map_err(|_| is_none())?;
        let version = u16::from_le_bytes(version);
        if version > VERSION {
            return Err(Failure::usage(format!(
                "{name} was recorded by a later sockpick (its format is {version}, this one \
                 reads up to {VERSION}): replay it with that or a later one"
            ))
            .into());
        }
        match reader.frame() {
            Some(Frame::Header(header)) => Ok((reader, *header)),
            Some(Frame::Part(part)) => {
                reader.position = Some(part.position);
                Ok((reader, part.header))
            }
            _ => Err(Failure::usage(format!("{name} is a recording without its beginning")).into()),
        }
    }

    /// Which part of a recording it is, if it is one.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// The next frame; `None` at the end, or where it is torn.
    pub fn frame(&mut self) -> Option<Frame> {
        if self.torn.is_some() {
            return None;
        }
        match self.read() {
            Ok(frame) => frame,
            Err(error) => {
                self.torn = Some(error.to_string());
                None
            }
        }
    }

    /// Where and why it could not be read to its end.
    #[must_use]
    pub fn torn(&self) -> Option<String> {
        let why = self.torn.as_ref()?;
        Some(format!("after {} bytes: {why}", self.whole))
    }

    /// Fails if the process has grown too large.
    fn look_at_memory(&mut self) -> io::Result<()> {
        if self.whole - self.looked_at < LOOKED_AT {
            return Ok(());
        }
        self.looked_at = self.whole;
        if resident() > self.most_resident {
            return Err(io::Error::other(format!(
                "going on would need more than {} MiB of memory",
                self.most_resident >> 20
            )));
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<Option<Frame>> {
        self.look_at_memory()?;
        let mut head = [[0; 4]; 2];
        if !fill(&mut self.input, head.as_flattened_mut())? {
            return Ok(None);
        }
        let [length, sum] = head.map(u32::from_le_bytes);
        if length > MOST_BYTES {
            return Err(io::Error::other("a frame is longer than any"));
        }
        // Grows with what is there, not with what is claimed.
        let mut payload = Vec::new();
        let length = u64::from(length);
        let got = (&mut self.input).take(length).read_to_end(&mut payload)?;
        if (got as u64) < length {
            return Err(io::Error::other("it ends in the middle of a frame"));
        }
        if crc32fast::hash(&payload) != sum {
            return Err(io::Error::other("a checksum is wrong"));
        }
        let frame = postcard::from_bytes(&payload);
        let frame = frame.map_err(|_| io::Error::other("a frame cannot be understood"))?;
        self.whole += 8 + length;
        Ok(Some(frame))
    }
}

/// Memory of this process in bytes; 0 where it cannot be told.
fn resident() -> u64 {
    let own = procfs::process::Process::myself();
    let status = own.and_then(|own| own.status()).ok();
    // In KiB.
    status.and_then(|status| status.vmrss).unwrap_or(0) << 10
}

/// Fills the buffer; false if there is nothing at all.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) if got == 0 => return Ok(false),
            Ok(0) => return Err(io::Error::other("it ends in the middle of a frame")),
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// One frame of zstd's after the other.
struct Unpacked<R: BufRead> {
    input: Option<R>,
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let got = frame.read(out)?;
                if got > 0 || out.is_empty() {
                    return Ok(got);
                }
                self.input = self.frame.take().map(StreamingDecoder::into_inner);
            }
            let Some(mut input) = self.input.take() else {
                return Ok(0);
            };
            if input.fill_buf()?.is_empty() {
                return Ok(0);
            }
            let frame = StreamingDecoder::new_with_max_window_size(input, MOST_WINDOW);
            let frame = frame.map_err(io::Error::other)?;
            self.frame = Some(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{
        host::answers::{Key, Value},
        pipeline::Input,
        recording::Asked,
    };

    /// A frame with an answer almost as long as a frame may be.
    fn long() -> Result<Vec<u8>> {
        let text = "x".repeat(MOST_BYTES as usize - 64);
        let payload = postcard::to_stdvec(&Frame::Input(Asked {
            starts_afresh: false,
            notes: vec![(Key::Told(1), 0, Value::Text(text))],
            to: Input::Malformed,
        }))?;
        let mut bytes = u32::try_from(payload.len())?.to_le_bytes().to_vec();
        bytes.extend(crc32fast::hash(&payload).to_le_bytes());
        bytes.extend(payload);
        Ok(bytes)
    }

    #[test]
    fn what_would_take_too_much_memory_is_not_read_on() -> Result<()> {
        let mut bytes = include_bytes!("../../tests/recordings/v1.sockpick").to_vec();
        let header = u32::from_le_bytes(bytes[10..14].try_into()?) as usize;
        bytes.truncate(18 + header);
        bytes.extend(long()?.repeat(3));
        let read = |most_resident| -> Result<(usize, Option<String>)> {
            let (mut reader, _) = Reader::begin(Cursor::new(bytes.clone()), "it")?;
            reader.most_resident = most_resident;
            let frames = std::iter::from_fn(|| reader.frame()).count();
            Ok((frames, reader.torn()))
        };
        assert_eq!(read(u64::MAX)?, (3, None));
        let (frames, torn) = read(1 << 20)?;
        assert_eq!(frames, 1, "looked at after 16 MiB");
        let torn = torn.unwrap_or_default();
        assert!(torn.contains("more than 1 MiB of memory"), "{torn}");
        Ok(())
    }
}
