//! Recordings: those of released versions for ever, torn ones up to the tear, and whatever else
//! somebody gives.

#[path = "recordings/anonymised.rs"]
mod anonymised;
#[path = "recordings/parts.rs"]
mod parts;

use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use sockpick::judge::expectations::Expectations;
use sockpick::outlets::{foreground::Foreground, selection::Selection};
use sockpick::recording::player::{Played, Player};
use sockpick::recording::reader::Reader;
use sockpick::sinks::json::Json;

/// Recorded on Linux 6.12 by sockpick 0.1.0: the story of A and B, and two refusals.
const V1: &[u8] = include_bytes!("recordings/v1.sockpick");
/// What that session printed.
const SAID: &str = include_str!("recordings/v1.json");

/// A file in memory that a sink writes to.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut page = self.0.lock().map_err(|_| io::Error::other("poisoned"))?;
        page.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replays; returns the JSON, whether there was an end, and where it is torn.
fn replay(bytes: &[u8]) -> Option<(String, bool, Option<String>)> {
    let (mut reader, header) = Reader::begin(Cursor::new(bytes.to_vec()), "it").ok()?;
    let page = Page::default();
    let sink = Box::new(Json::new(page.clone()));
    let foreground = Foreground::new(sink, header.netns, Selection::default());
    let mut player = Player::new(header, Expectations::default(), foreground);
    let mut end = None;
    if let Played::Ended(ended) = player.play(&mut reader, |_, _| true).ok()? {
        // It is written out, so that what it says is looked at, too.
        let _ = player.end(&ended).ok()?.to_string();
        end = Some(ended);
    }
    drop(player);
    let text = String::from_utf8(page.0.lock().ok()?.clone()).ok()?;
    Some((text, end.is_some(), reader.torn()))
}

#[test]
fn the_recording_of_a_released_version_says_what_it_said() {
    assert_eq!(replay(V1), Some((SAID.to_owned(), true, None)));
}

#[test]
fn a_torn_recording_says_what_was_before_the_tear() {
    for length in (0..V1.len()).step_by(7) {
        let Some((text, ended, _)) = replay(&V1[..length]) else {
            assert!(length < 400, "{length}: not even the beginning");
            continue;
        };
        assert!(!ended && SAID.starts_with(&text), "{length}: {text}");
    }
    let (_, _, torn) = replay(&V1[..V1.len() - 3]).expect("a beginning");
    let torn = torn.expect("a tear");
    assert!(torn.contains("in the middle of a frame"), "{torn}");
}

#[test]
fn a_later_version_is_refused_with_the_remedy() {
    let mut later = V1.to_vec();
    later[8] = 9;
    let refused = Reader::begin(Cursor::new(later), "it")
        .err()
        .expect("refused");
    let words = refused.to_string();
    assert!(words.contains("later sockpick"), "{words}");
}

/// A folder for files of a test's own; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Self> {
        let name = format!("sockpick-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in a folder for what may be lost.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `sockpick replay` ended with, and what it said: on stdout, on stderr.
fn sockpick_replay(files: &[PathBuf], options: &[&str]) -> io::Result<(i32, String, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockpick"));
    let output = command.arg("replay").args(files).args(options).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ok((code, text(&output.stdout), text(&output.stderr)))
}

#[test]
fn nobody_reads_and_replay_ends_quietly() -> io::Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockpick"));
    command.args(["replay", "-o", "json", "tests/recordings/v1.sockpick"]);
    let (reader, writer) = io::pipe()?;
    drop(reader);
    let output = command.stdout(writer).output()?;
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    Ok(())
}

#[test]
fn what_concerns_the_daemon_is_checked_and_left_alone() -> io::Result<()> {
    let folder = Folder::new("of-the-daemon")?;
    let recording = [PathBuf::from("tests/recordings/v1.sockpick")];
    let said = |configuration: &str| {
        let file = folder.file("sockpick.toml");
        std::fs::write(&file, configuration)?;
        let file = file.to_string_lossy();
        sockpick_replay(&recording, &["-o", "json", "--config", &file])
    };
    let (code, events, _) = said(include_str!("../../packaging/sockpick.toml"))?;
    assert_eq!((code, events.as_str()), (0, SAID));
    let (code, events, wrong) = said("[[sink]]\ntype = 'stdout'\npath = '/a'")?;
    assert_eq!((code, events.as_str()), (2, ""));
    assert!(
        wrong.contains("line 3: ") && wrong.contains("`path`"),
        "{wrong}"
    );
    Ok(())
}

#[test]
fn other_filters_and_expectations_are_taken() -> io::Result<()> {
    let said = |arguments: &[&str]| -> io::Result<(String, String)> {
        let output = Command::new(env!("CARGO_BIN_EXE_sockpick"))
            .args(["replay", "tests/recordings/v1.sockpick", "-o", "json"])
            .args(arguments)
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}", text(&output.stderr));
        Ok((text(&output.stdout), text(&output.stderr)))
    };
    assert_eq!(said(&[])?.0, SAID);
    let (lines, account) = said(&["--port", "81"])?;
    assert_eq!(lines.lines().count(), 1, "{lines}");
    assert!(account.contains("1 SYN in"), "{account}");
    let count = |lines: &str, what: &str| lines.matches(what).count();
    let (lines, _) = said(&["--only-alerts", "--family", "ipv4"])?;
    assert_eq!(count(&lines, "\"reason\":\"restart_gap\""), 2, "{lines}");
    let (lines, _) = said(&["--expect", "10.0.0.2:80=C"])?;
    assert_eq!(count(&lines, "\"reason\":\"not_listening\""), 2, "{lines}");
    let (lines, account) = said(&["--count", "3"])?;
    assert_eq!(count(&lines, "\"client\""), 3, "{lines}");
    assert!(account.contains("3 shown"), "{account}");
    Ok(())
}

/// The checksum and the length are made right again, so that what is inside is read.
fn repaired(bytes: &mut [u8]) {
    let mut at = 10;
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(payload) = bytes.get(at + 8..at + 8 + length) else {
            return;
        };
        let sum = crc32fast::hash(payload).to_le_bytes();
        bytes[at + 4..at + 8].copy_from_slice(&sum);
        at += 8 + length;
    }
}

proptest! {
    // PROPTEST_CASES=10000000 for the long run.
    #[test]
    fn nothing_that_is_given_does_harm(
        changes in prop::collection::vec((0..V1.len(), any::<u8>()), 1..8),
        length in 0..=V1.len(),
        is_repaired in any::<bool>(),
    ) {
        let mut bytes = V1[..length].to_vec();
        for (place, byte) in changes {
            if let Some(there) = bytes.get_mut(place) {
                *there = byte;
            }
        }
        if is_repaired {
            repaired(&mut bytes);
        }
        let _ = replay(&bytes);
    }
}
