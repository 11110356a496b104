//! Lines on their way to an output.

use std::io::{self, Write};

/// Bytes that wait for a flush at most, but for a line that is longer.
const BUFFER: usize = 64 * 1024;
/// There is room for a line of so many in any case.
const LINE: usize = 4 * 1024;

/// Puts lines together in place, and hands them over whole and many at a time.
#[derive(Debug)]
pub(super) struct Lines<W: Write> {
    out: W,
    /// Where the line at hand goes.
    pub(super) text: Vec<u8>,
}

impl<W: Write> Lines<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            text: Vec::with_capacity(BUFFER),
        }
    }

    /// Ends the line at hand.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.text.push(b'\n');
        if self.text.len() > BUFFER - LINE {
            return self.hand_over();
        }
        Ok(())
    }

    /// Hands over all that waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.hand_over()?;
        self.out.flush()
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.text);
        self.text.clear();
        written
    }
}

/// Who ends without a flush, as something else failed, shows what there was all the same.
impl<W: Write> Drop for Lines<W> {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            let _ = self.hand_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes what it is given, and whether it was flushed after it.
    #[derive(Default)]
    struct Given(Vec<Vec<u8>>, bool);

    impl Write for &mut Given {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            self.1 = false;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            self.1 = true;
            Ok(())
        }
    }

    fn write(lines: &mut Lines<&mut Given>, line: &[u8]) {
        lines.text.extend_from_slice(line);
        lines.end().expect("it takes all");
    }

    #[test]
    fn a_batch_is_one_write() {
        let mut given = Given::default();
        let mut lines = Lines::new(&mut given);
        write(&mut lines, b"one");
        write(&mut lines, b"two");
        lines.flush().expect("it takes all");
        drop(lines);
        assert_eq!((given.0, given.1), (vec![b"one\ntwo\n".to_vec()], true));
    }

    #[test]
    fn a_long_one_is_some_writes_of_whole_lines() {
        let mut given = Given::default();
        let mut lines = Lines::new(&mut given);
        for length in (0..200).chain([3 * BUFFER, 1]) {
            write(&mut lines, &vec![b'x'; 10 * length]);
        }
        lines.flush().expect("it takes all");
        drop(lines);
        assert!(given.0.iter().all(|written| written.ends_with(b"\n")));
        assert!(given.0.len() <= 6, "{}", given.0.len());
    }

    #[test]
    fn what_was_not_flushed_is_not_lost() {
        let mut given = Given::default();
        write(&mut Lines::new(&mut given), b"one");
        assert_eq!(given.0, [b"one\n"]);
    }
}
