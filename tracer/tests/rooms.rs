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
    let mut found = vec![source.join("pipeline.rs"), source.join("decode.rs")];
    files(&source.join("pipeline"), &mut found)?;
    files(&source.join("judge"), &mut found)?;
    assert!(found.len() > 12, "{found:?}");
    for path in found {
        let text = fs::read_to_string(&path)?;
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in FOREIGN {
                let place = format!("{}:{}", path.display(), number + 1);
                assert!(!code.contains(word), "{place}: {word} in `{line}`");
            }
        }
    }
    Ok(())
}
