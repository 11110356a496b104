//! Recordings in parts: the golden one, recorded once more so.

use sockpick::engine::Engine;
use sockpick::host::noted::{Noted, NotedStock, Notes};
use sockpick::host::{answers::Listeners, recorded::Recorded};
use sockpick::pipeline::{Counted, Input, Pipeline, assess::Assessor, enrich::Enricher};
use sockpick::recording::recorder::Recorder;
use sockpick::recording::{Asked, Frame, Header, Position};
use sockpick::settings::values::Rotation;
use sockpick::sinks::Quiet;

use super::*;

/// Every batch is a part of its own.
const SMALLEST: u64 = 1;

/// Records the golden recording once more, in parts; returns how many these are.
fn recorded_in_parts(path: &Path, keep: Option<u32>) -> anyhow::Result<usize> {
    let (mut reader, header) = Reader::begin(Cursor::new(V1), "it")?;
    let mut then = Recorded::default();
    let notes = Notes::default();
    let pipeline = Pipeline::new(
        Enricher::new(
            header.backend,
            Box::new(Noted::new(then.clone(), notes.clone())),
        ),
        Assessor::new(Expectations::default(), header.algorithm),
        &header.listeners.clone().into(),
    );
    let foreground = Foreground::new(Box::new(Quiet), header.netns, Selection::default());
    let mut engine = Engine::new(pipeline, foreground);
    let rotation = Rotation {
        bytes: SMALLEST,
        keep,
    };
    let mut recorder = Recorder::begin(path, header.clone(), notes.clone(), Some(rotation))?;
    let mut counted = Counted::default();
    let mut parts = 1;
    while let Some(frame) = reader.frame() {
        match frame {
            Frame::Input(Asked {
                starts_afresh,
                notes: answers,
                to,
            }) => {
                // The first two batches are one, as they are where sockpick begins.
                if matches!(to, Input::Begin(_)) && counted.stats.syns > 0 && recorder.is_due() {
                    let now = Position {
                        counted,
                        seconds: 0.5,
                        ..Position::default()
                    };
                    let header = Header {
                        listeners: Listeners::present(engine.listeners()),
                        ..header.clone()
                    };
                    recorder.next_part(header, now)?;
                    parts += 1;
                }
                if let Input::Counted(now) = &to {
                    counted = *now;
                }
                then.begin(starts_afresh, answers);
                let present = &mut then;
                let mut present = NotedStock {
                    present,
                    notes: &notes,
                };
                engine.take(&to, &mut present)?;
                recorder.input(&to)?;
            }
            Frame::End(Asked {
                starts_afresh,
                notes: answers,
                to,
            }) => {
                then.begin(starts_afresh, answers);
                engine.sum_up(&to)?;
                recorder.end(&to)?;
            }
            Frame::Header(_) | Frame::Part(_) | Frame::Continued => {}
        }
    }
    Ok(parts)
}

/// The files of a recording's parts, in their order.
fn files(folder: &Folder, parts: usize) -> Vec<PathBuf> {
    let name = |part| match part {
        0 => "night.zst".to_owned(),
        part => format!("night.{part}.zst"),
    };
    (0..parts).map(|part| folder.file(&name(part))).collect()
}

#[test]
fn all_parts_say_what_the_session_said() -> anyhow::Result<()> {
    let folder = Folder::new("parts")?;
    let parts = recorded_in_parts(&folder.file("night.zst"), None)?;
    assert!(parts > 3, "{parts}");
    let mut files = files(&folder, parts);
    // Whatever order a shell gives them in.
    files.rotate_left(2);
    let (code, said, summary) = sockpick_replay(&files, &["-o", "json"])?;
    assert_eq!((code, said.as_str()), (0, SAID));
    let whole = [PathBuf::from("tests/recordings/v1.sockpick")];
    assert_eq!(summary, sockpick_replay(&whole, &[])?.2);
    Ok(())
}

#[test]
fn a_later_part_replays_by_itself_and_says_what_is_missing() -> anyhow::Result<()> {
    let folder = Folder::new("later")?;
    let parts = recorded_in_parts(&folder.file("night.zst"), None)?;
    let files = files(&folder, parts);
    let clients = |said: &str| -> Vec<String> {
        let events = said.lines().filter(|line| line.contains("\"client\""));
        events
            .filter_map(|line| {
                Some(
                    line.split_once("\"ktime_ns\":")?
                        .1
                        .chars()
                        .take(11)
                        .collect(),
                )
            })
            .collect()
    };
    let (code, said, summary) = sockpick_replay(&files[2..], &["-o", "json"])?;
    assert_eq!(code, 0, "{summary}");
    assert!(summary.contains("is part 3 of a recording"), "{summary}");
    let (all, later) = (clients(SAID), clients(&said));
    assert!(!later.is_empty() && later.len() < all.len(), "{said}");
    assert!(all.ends_with(&later), "{said}");
    let syns = format!("{} SYN", later.len());
    assert!(
        summary.contains(&syns) && summary.contains(" 0 lost"),
        "{summary}"
    );

    let gap = [files[0].clone(), files[2].clone()];
    let (code, _, summary) = sockpick_replay(&gap, &[])?;
    assert_eq!(code, 0, "{summary}");
    let words = ["goes on in part 2", "is part 3", "goes on in part 4"];
    assert!(words.iter().all(|word| summary.contains(word)), "{summary}");
    Ok(())
}

#[test]
fn only_so_many_parts_are_kept() -> anyhow::Result<()> {
    let folder = Folder::new("kept")?;
    let path = folder.file("night.zst");
    let parts = recorded_in_parts(&path, Some(1))?;
    let left = std::fs::read_dir(&folder.0)?.count();
    assert_eq!(left, 2);
    let files = files(&folder, parts);
    assert!(files[parts - 2..].iter().all(|file| file.exists()));

    // The first has gone: a session that begins now would come upon the others.
    let refused = recorded_in_parts(&path, None)
        .err()
        .map(|error| error.to_string());
    let refused = refused.unwrap_or_default();
    assert!(refused.contains("is there already"), "{refused}");
    assert!(!path.exists());
    Ok(())
}

#[test]
fn what_others_put_in_the_place_of_a_part_stays() -> anyhow::Result<()> {
    let folder = Folder::new("place")?;
    let path = folder.file("night");
    let (_, header) = Reader::begin(Cursor::new(V1), "it")?;
    let rotation = Rotation {
        bytes: SMALLEST,
        keep: Some(1),
    };
    let mut recorder = Recorder::begin(&path, header.clone(), Notes::default(), Some(rotation))?;
    std::fs::rename(&path, folder.file("saved"))?;
    std::fs::write(&path, "somebody's")?;
    for _ in 0..3 {
        recorder.next_part(header.clone(), Position::default())?;
    }
    assert!(path.exists() && folder.file("saved").exists());
    assert!(!folder.file("night.1").exists() && folder.file("night.2").exists());
    Ok(())
}
