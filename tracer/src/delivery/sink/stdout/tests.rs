use super::*;
use crate::{
    alerts::Occasion,
    delivery::fixtures::{line, message, teller},
};

/// Takes what is written, or fails.
#[derive(Clone, Default)]
struct Out {
    text: Arc<Mutex<Vec<u8>>>,
    error: Option<fn() -> io::Error>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(error) = self.error {
            return Err(error());
        }
        self.text.lock().expect("no test panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_message_is_a_line() {
    let out = Out::default();
    let batch = [message(0, Occasion::Began), line("{}")];
    let attempt = StdoutSink::new(out.clone(), teller()).send(&batch, 0).await;
    assert_eq!(attempt, Attempt::accepted(2));
    let text = out.text.lock().expect("no test panicked").clone();
    let text = String::from_utf8(text).expect("text");
    assert!(text.starts_with(r#"{"schema":1,"alert":"began""#) && text.ends_with("}\n{}\n"));
}

#[tokio::test]
async fn only_a_reader_who_has_gone_ends_it() {
    let closed = || io::Error::new(io::ErrorKind::BrokenPipe, ClosedStdout);
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    for (error, is_final) in [(closed as fn() -> io::Error, true), (full, false)] {
        let out = Out {
            error: Some(error),
            ..Out::default()
        };
        let attempt = StdoutSink::new(out, teller()).send(&[line("{}")], 0).await;
        assert_eq!(attempt.accepted, 0);
        assert_eq!(
            attempt.failure.map(|failure| failure.is_final),
            Some(is_final)
        );
    }
}

/// Takes a few bytes, and then fails once.
struct Cuts {
    text: Arc<Mutex<Vec<u8>>>,
    takes: usize,
    fails: bool,
}

impl Write for Cuts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.takes == 0 && self.fails {
            self.fails = false;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let most = if self.fails { self.takes } else { bytes.len() };
        let taken = &bytes[..bytes.len().min(most)];
        self.text.lock().expect("no test panicked").extend(taken);
        self.takes = self.takes.saturating_sub(taken.len());
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_line_that_was_cut_is_ended_before_it_is_written_again() {
    for (takes, told) in [
        (3, "one\none\ntwo\n"),
        (4, "one\none\ntwo\n"),
        (6, "one\ntw\none\ntwo\n"),
        (0, "one\ntwo\n"),
    ] {
        let text = Arc::default();
        let out = Cuts {
            text: Arc::clone(&text),
            takes,
            fails: true,
        };
        let mut sink = StdoutSink::new(out, teller());
        let batch = [line("one"), line("two")];
        assert_eq!(sink.send(&batch, 0).await.accepted, 0);
        assert_eq!(sink.send(&batch, 0).await, Attempt::accepted(2));
        let text = text.lock().expect("no test panicked");
        assert_eq!(String::from_utf8_lossy(&text), told, "{takes}");
    }
}
