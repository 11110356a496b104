//! Follows a running guest: passes its lines on and notices how it ends.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::machine::Machine;

/// Who said a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The kernel, on its console.
    Kernel,
    /// The command, on its standard output or error.
    Command,
}

/// What a kernel says when it is broken. Looked for on the console only, which a command does not
/// write to.
const BROKEN: [&str; 7] = [
    "Kernel panic",
    "BUG: ",
    "Oops",
    "general protection",
    "soft lockup",
    "self-detected stall",
    "detected stalls on CPUs",
];

/// Stands before what init.sh itself says on the command's port.
const MARKER: &[u8] = b"\x1esockpick-guest ";

/// How long a broken kernel may go on explaining itself.
const LAST_WORDS: Duration = Duration::from_secs(3);

enum Event {
    Line(Source, Vec<u8>),
    Closed,
}

/// What init.sh says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// The command is about to start.
    Up,
    /// The command has ended, with this status.
    Exit(u8),
}

/// Returns the command's exit status. `on_up` is called when the command starts.
pub(crate) fn watch(
    machine: &Machine,
    allowed: Duration,
    on_up: impl Fn(),
    mut on_line: impl FnMut(Source, &[u8]),
) -> Result<u8> {
    let (sender, events) = mpsc::channel();
    follow(&machine.console, Source::Kernel, sender.clone())?;
    follow(&machine.output, Source::Command, sender)?;
    let mut deadline = Instant::now() + allowed;
    let mut broken: Option<String> = None;
    let mut last = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match events.recv_timeout(left) {
            Ok(Event::Line(Source::Command, line)) => {
                let (text, sign) = split_sign(&line);
                if !text.is_empty() {
                    on_line(Source::Command, text);
                    remember(&mut last, text);
                }
                match (sign, &broken) {
                    (Some(Sign::Up), _) => on_up(),
                    (Some(Sign::Exit(code)), None) => return Ok(code),
                    (Some(Sign::Exit(_)), Some(_)) => deadline = Instant::now(),
                    (None, _) => {}
                }
            }
            Ok(Event::Line(Source::Kernel, line)) => {
                on_line(Source::Kernel, &line);
                remember(&mut last, &line);
                if broken.is_none() && is_broken(&line) {
                    broken = Some(String::from_utf8_lossy(&line).trim().to_owned());
                    deadline = deadline.min(Instant::now() + LAST_WORDS);
                }
            }
            // Both ports close when QEMU ends; the other one's last lines may still be coming.
            Ok(Event::Closed) => {}
            Err(end) => return Err(why(end, broken, allowed, &last, machine)),
        }
    }
}

fn why(
    end: RecvTimeoutError,
    broken: Option<String>,
    allowed: Duration,
    last: &str,
    machine: &Machine,
) -> anyhow::Error {
    if let Some(words) = broken {
        return anyhow::anyhow!("the kernel broke: {words}");
    }
    let last = if last.is_empty() { "nothing" } else { last };
    match end {
        RecvTimeoutError::Timeout => anyhow::anyhow!(
            "it did not end within {} s (--timeout allows more); the last it said: {last}",
            allowed.as_secs()
        ),
        RecvTimeoutError::Disconnected => anyhow::anyhow!(
            "it ended without an exit status of the command; the last it said: {last}; QEMU said: {}",
            machine.said()
        ),
    }
}

fn remember(last: &mut String, line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    if !text.trim().is_empty() {
        text.trim().clone_into(last);
    }
}

fn is_broken(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    BROKEN.iter().any(|sign| text.contains(sign))
}

/// Reads one port in a thread of its own, to its end.
fn follow(port: &UnixStream, source: Source, sender: Sender<Event>) -> Result<()> {
    let mut reader = BufReader::new(port.try_clone().context("cannot read a serial port")?);
    thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) if sender.send(Event::Line(source, line)).is_err() => break,
                Ok(_) => {}
            }
        }
        // Nobody listens any more when the guest was ended from here.
        let _ = sender.send(Event::Closed);
    });
    Ok(())
}

/// Divides a line of output into what the command said and what init.sh said.
fn split_sign(line: &[u8]) -> (&[u8], Option<Sign>) {
    let Some(at) = line
        .windows(MARKER.len())
        .position(|window| window == MARKER)
    else {
        return (line, None);
    };
    let words = String::from_utf8_lossy(&line[at + MARKER.len()..]);
    let words = words.trim();
    let exit = words
        .strip_prefix("exit ")
        .and_then(|code| code.parse().ok());
    let up = (words == "up").then_some(Sign::Up);
    (&line[..at], up.or(exit.map(Sign::Exit)))
}

#[cfg(test)]
mod tests {
    use super::{Sign, is_broken, split_sign};

    #[test]
    fn the_status_follows_an_unfinished_line() {
        let line = b"no line ending\x1esockpick-guest exit 7\n";
        let exit = Some(Sign::Exit(7));
        assert_eq!(split_sign(line), (&b"no line ending"[..], exit));
        assert_eq!(split_sign(b"plain\n"), (&b"plain\n"[..], None));
        let up = b"\x1esockpick-guest up\n";
        assert_eq!(split_sign(up), (&b""[..], Some(Sign::Up)));
    }

    #[test]
    fn a_broken_kernel_is_noticed() {
        assert!(is_broken(b"[ 1.0] BUG: kernel NULL pointer dereference"));
        assert!(is_broken(
            b"rcu: INFO: rcu_preempt self-detected stall on CPU"
        ));
        assert!(!is_broken(b"random: crng init done"));
    }
}
