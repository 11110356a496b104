//! Rooms that are pure stay so: no command line, no clock, no file, no socket.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What a pure room has no business with.
const FOREIGN: [&str; 12] = [
    "clap::",
    "aya::",
    "tokio::",
    "crate::cli",
    "crate::probes::loader",
    "std::fs",
    "fs::",
    "File::",
    "Instant",
    "SystemTime",
    "TcpStream",
    "socket2",
];

fn files(of: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(of)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn stdout_is_written_where_its_end_is_told_from_other_pipes() -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source, &mut found)?;
    for path in found
        .iter()
        .filter(|path| !path.ends_with("sinks/stdout.rs"))
    {
        let text = fs::read_to_string(path)?;
        let asked = text.replace("io::stdout().is_terminal()", "");
        for word in ["io::stdout().lock", "(io::stdout()", "println!", "print!"] {
            let asked = asked.replace("eprint", "");
            assert!(!asked.contains(word), "{}: {word}", path.display());
        }
    }
    Ok(())
}

#[test]
fn pure_rooms_do_nothing_but_think() -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = ["pipeline.rs", "decode.rs", "outlets.rs", "engine.rs"];
    let mut found: Vec<PathBuf> = rooms.iter().map(|room| source.join(room)).collect();
    for room in ["pipeline", "judge", "outlets", "engine"] {
        files(&source.join(room), &mut found)?;
    }
    assert!(found.len() > 20, "{found:?}");
    nowhere(&FOREIGN, &found)
}

#[test]
fn who_judges_knows_nothing_of_who_shows() -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = vec![source.join("pipeline.rs")];
    files(&source.join("pipeline"), &mut found)?;
    files(&source.join("judge"), &mut found)?;
    nowhere(&["outlets", "sinks", "engine::"], &found)
}

/// None of these words is in the code of any of the files.
fn nowhere(words: &[&str], found: &[PathBuf]) -> io::Result<()> {
    for path in found {
        let text = fs::read_to_string(path)?;
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in words {
                let place = format!("{}:{}", path.display(), number + 1);
                assert!(!code.contains(word), "{place}: {word} in `{line}`");
            }
        }
    }
    Ok(())
}
