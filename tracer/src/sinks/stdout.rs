//! Standard output, which whoever reads it may close at any time.

use std::io::{self, Write};

use crate::failure::ClosedStdout;

/// [`io::Stdout`], whose closed pipe is a [`ClosedStdout`] and no other's broken pipe.
#[derive(Debug)]
pub struct Stdout(io::Stdout);

/// Where data goes.
#[must_use]
pub fn stdout() -> Stdout {
    Stdout(io::stdout())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(told_apart)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(told_apart)
    }
}

fn told_apart(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => io::Error::new(error.kind(), ClosedStdout),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Error;

    use super::*;
    use crate::failure::{exit_code, is_closed_stdout};

    #[test]
    fn only_a_closed_stdout_ends_quietly() {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let stdout = Error::from(told_apart(broken())).context("cannot write the output");
        assert!(is_closed_stdout(&stdout));
        let other = Error::from(broken()).context("cannot ask the kernel");
        assert!(!is_closed_stdout(&other));
        assert_eq!(exit_code(&other), 4);
        let full = told_apart(io::ErrorKind::StorageFull.into());
        assert!(!is_closed_stdout(&full.into()));
    }
}
