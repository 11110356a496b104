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
