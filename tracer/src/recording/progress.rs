//! How much of a long recording was read, on a terminal.

use std::{
    cell::Cell,
    io::{self, IsTerminal as _, Read, Write},
    rc::Rc,
    time::{Duration, Instant},
};

/// What is done sooner needs no progress.
const SHORT: Duration = Duration::from_secs(1);
/// How often it is renewed.
const RENEWED: Duration = Duration::from_millis(200);
/// Begins the line anew and clears it (ECMA-48, EL).
const ERASE: &str = "\r\x1b[K";

/// A line on stderr that is not there when nobody looks at it, or would be in the way.
pub(crate) struct Progress {
    /// Where it is written; `None`: nowhere.
    out: Option<Box<dyn Write>>,
    /// Bytes read of the file at hand, and how many it has.
    read: Counter,
    length: Option<u64>,
    began: Instant,
    /// When the line that stands there was written.
    shown: Option<Instant>,
}

/// Bytes that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Rc<Cell<u64>>);

/// Counts what is read through it.
struct Counted<R> {
    input: R,
    counter: Counter,
}

impl Counter {
    pub(crate) fn over(self, input: impl Read) -> impl Read {
        Counted {
            input,
            counter: self,
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(out)?;
        let Counter(read) = &self.counter;
        read.set(read.get() + got as u64);
        Ok(got)
    }
}

impl Progress {
    /// For whoever is at the terminal of stderr, if nothing else is written to it meanwhile.
    pub(crate) fn new(alone: bool) -> Self {
        let is_seen = alone && io::stderr().is_terminal();
        Self::on(is_seen.then(|| Box::new(io::stderr()) as Box<dyn Write>))
    }

    fn on(out: Option<Box<dyn Write>>) -> Self {
        Self {
            out,
            read: Counter::default(),
            length: None,
            began: Instant::now(),
            shown: None,
        }
    }

    /// A file begins, of so many bytes if that is known; what is read of it is to be counted.
    pub(crate) fn begin(&mut self, length: Option<u64>) -> Counter {
        self.read = Counter::default();
        self.length = length.filter(|length| *length > 0);
        self.read.clone()
    }

    /// Shows how much of the file was read, if it is time to.
    pub(crate) fn show(&mut self, name: &str) {
        if self.out.is_some() {
            self.show_at(name, Instant::now());
        }
    }

    fn show_at(&mut self, name: &str, now: Instant) {
        let is_due = match self.shown {
            None => now.duration_since(self.began) >= SHORT,
            Some(shown) => now.duration_since(shown) >= RENEWED,
        };
        if let (Some(out), Some(length), true) = (&mut self.out, self.length, is_due) {
            let share = self.read.0.get().saturating_mul(100) / length;
            // What cannot be shown is not worth ending for.
            let _ = write!(out, "{ERASE}sockpick: {} % of {name}", share.min(100));
            let _ = out.flush();
            self.shown = Some(now);
        }
    }

    /// Takes the line away.
    pub(crate) fn erase(&mut self) {
        if let (Some(out), Some(_)) = (&mut self.out, self.shown.take()) {
            let _ = write!(out, "{ERASE}");
            let _ = out.flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.erase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What would be on a terminal.
    #[derive(Clone, Default)]
    struct Screen(Rc<std::cell::RefCell<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Screen {
        fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.borrow()).into_owned()
        }
    }

    #[test]
    fn a_long_file_has_a_share_that_is_gone_at_the_end() -> io::Result<()> {
        let screen = Screen::default();
        let mut progress = Progress::on(Some(Box::new(screen.clone())));
        let began = progress.began;
        let mut file = progress.begin(Some(8)).over(&[0; 8][..]);
        file.read_exact(&mut [0; 2])?;
        progress.show_at("night", began);
        assert_eq!(screen.text(), "", "a short one has none");
        progress.show_at("night", began + SHORT);
        progress.show_at("night", began + SHORT + RENEWED / 2);
        assert_eq!(screen.text(), format!("{ERASE}sockpick: 25 % of night"));
        file.read_exact(&mut [0; 2])?;
        progress.show_at("night", began + SHORT + RENEWED);
        assert!(screen.text().ends_with("sockpick: 50 % of night"));
        progress.erase();
        drop(progress);
        assert!(screen.text().ends_with(&format!("50 % of night{ERASE}")));
        Ok(())
    }

    #[test]
    fn nothing_is_shown_of_what_has_no_length_or_no_terminal() {
        let screen = Screen::default();
        let mut progress = Progress::on(Some(Box::new(screen.clone())));
        progress.begin(None);
        progress.show_at("-", progress.began + 2 * SHORT);
        drop(progress);
        assert_eq!(screen.text(), "");
        let mut progress = Progress::on(None);
        progress.begin(Some(8));
        progress.show_at("night", progress.began + 2 * SHORT);
        assert!(progress.shown.is_none());
    }
}
