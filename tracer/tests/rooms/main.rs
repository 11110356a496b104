//! Rooms that are pure stay so: no command line, no clock, no file, no socket. No file imports one
//! that imports it, by whatever way, and none imports from above.

mod floors;
mod imports;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use imports::Imports;

/// What a pure room has no business with.
const FOREIGN: [&str; 16] = [
    "clap::",
    "aya::",
    "tokio::",
    "crate::cli",
    "crate::config",
    "crate::namespaces",
    "std::net::Tcp",
    "crate::probes::attach",
    "crate::probes::programs",
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

/// What a command finds, counts and puts into words has a room elsewhere.
#[test]
fn commands_only_wire() -> io::Result<()> {
    let mut found = Vec::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/commands");
    files(&source, &mut found)?;
    assert!(found.len() > 7, "{found:?}");
    nowhere(&["struct ", "enum ", "write!(text"], &found)
}

#[test]
fn pure_rooms_do_nothing_but_think() -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = [
        "alerts.rs",
        "kin.rs",
        "pipeline.rs",
        "decode.rs",
        "outlets.rs",
        "engine.rs",
        "settings.rs",
        "metrics.rs",
        "otlp.rs",
        "delivery/queue.rs",
        "delivery/attempt.rs",
        "delivery/backoff.rs",
        "delivery/json.rs",
        "delivery/spool/format.rs",
    ];
    let mut found: Vec<PathBuf> = rooms.iter().map(|room| source.join(room)).collect();
    for room in [
        "alerts", "metrics", "otlp", "pipeline", "judge", "outlets", "engine", "settings",
    ] {
        files(&source.join(room), &mut found)?;
    }
    assert!(found.len() > 25, "{found:?}");
    nowhere(&FOREIGN, &found)
}

/// Words of the command line are their own there, by `clap::ValueEnum`.
#[test]
fn rooms_with_words_of_the_command_line_do_nothing_but_think_either() -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&source.join("audit"), &mut found)?;
    // A test may ask how long something took.
    found.retain(|path| !path.iter().any(|part| part == "tests"));
    assert!(found.len() > 10, "{found:?}");
    found.push(source.join("probes/plan.rs"));
    for path in &found {
        let text = fs::read_to_string(path)?.replace("clap::ValueEnum", "");
        assert!(!text.contains("clap::"), "{}", path.display());
    }
    let words: Vec<&str> = FOREIGN
        .into_iter()
        .filter(|word| *word != "clap::")
        .collect();
    nowhere(&words, &found)
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

/// These sources, as if they were all files there are.
fn imports_between(sources: &[(&str, &str)]) -> io::Result<Imports> {
    let tokens = |(module, text): &(&str, &str)| Ok(((*module).to_owned(), imports::tokens(text)?));
    let files: io::Result<_> = sources.iter().map(tokens).collect();
    Ok(imports::between(&files?))
}

#[test]
fn imports_are_understood() -> io::Result<()> {
    let sources = [
        ("", "mod a; mod b; mod c;"),
        (
            "a",
            "mod b; pub(in crate::c) mod c; pub use self::c::X; use super::{b::{self as n, Y}, d};
             #[cfg(test)] use crate::c::{Z, W}; #[cfg(test)] mod tests { use crate::c; }
             /// `crate::c`
             fn f() -> impl Copy + use<> { log!(\"crate::c\", n::d::g(), std::c::h()) }",
        ),
        ("a::b", "fn f() { super::super::c::g() }"),
        ("a::c", "use crate::c::V;"),
        ("b", "mod d;"),
        ("b::d", "mod tests { use super::*; }"),
        ("c", "use crate::a::b as other; fn f() { other::g() }"),
    ];
    let told: Vec<String> = imports_between(&sources)?
        .iter()
        .filter(|(_, imports)| !imports.is_empty())
        .map(|(file, imports)| format!("{file} -> {imports:?}"))
        .collect();
    let expected = [
        r#"a -> {"a::c", "b", "b::d"}"#,
        r#"a::b -> {"c"}"#,
        r#"a::c -> {"c"}"#,
        r#"b::d -> {"b"}"#,
        r#"c -> {"a::b"}"#,
    ];
    assert_eq!(told, expected);
    Ok(())
}

/// Files that are in a circle, or on the way from one to another.
fn circles(mut left: Imports) -> Imports {
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        let imported: BTreeSet<String> = left.values().flatten().cloned().collect();
        left.retain(|name, imports| imported.contains(name) && !imports.is_disjoint(&names));
        if left.len() == names.len() {
            return left;
        }
    }
}

#[test]
fn a_circle_is_found() -> io::Result<()> {
    let child = "use super::Shared;";
    let circle = [
        ("a", "mod b; use b::B;"),
        ("a::b", child),
        ("c", "use crate::a::B;"),
    ];
    let found = circles(imports_between(&circle)?);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "a::b"]);
    let none = [("a", "mod b;"), ("a::b", child), ("c", "use crate::a::B;")];
    assert!(circles(imports_between(&none)?).is_empty());
    Ok(())
}

#[test]
fn no_file_imports_one_that_leads_back_to_it() -> io::Result<()> {
    let imports = imports::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))?;
    assert!(imports.len() > 250, "{}", imports.len());
    assert!(imports["probes::attach"].contains("probes::programs"));
    let circles = circles(imports);
    assert!(circles.is_empty(), "in a circle: {circles:#?}");
    Ok(())
}

#[test]
fn an_import_from_above_is_found() -> io::Result<()> {
    let sources = [
        ("judge", "mod rules; use crate::event::Event;"),
        (
            "judge::rules",
            "use super::Bound; fn f() { crate::pipeline::g() }",
        ),
        ("pipeline", "use crate::judge::rules;"),
        ("event", ""),
        ("attic", ""),
    ];
    let imports = imports_between(&sources)?;
    assert_eq!(floors::upwards(&imports), [("judge::rules", "pipeline")]);
    let misplaced = floors::misplaced(&imports);
    assert!(misplaced.contains("attic") && misplaced.contains("web"));
    assert!(!misplaced.contains("judge"));
    Ok(())
}

#[test]
fn no_file_imports_from_above() -> io::Result<()> {
    let imports = imports::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))?;
    let misplaced = floors::misplaced(&imports);
    assert!(
        misplaced.is_empty(),
        "on no floor, or not there: {misplaced:?}"
    );
    let upwards = floors::upwards(&imports);
    assert!(upwards.is_empty(), "from above: {upwards:#?}");
    Ok(())
}

#[test]
fn the_document_has_the_same_floors() {
    let document = include_str!("../../../ARCHITECTURE.md");
    for floor in floors::told() {
        assert!(document.contains(&floor), "not there{floor}");
    }
}

#[test]
fn the_glossary_has_twenty_words_at_most() {
    let document = include_str!("../../../ARCHITECTURE.md");
    let (_, rest) = document.split_once("## Words\n").expect("a glossary");
    let (words, _) = rest.split_once("\n## ").expect("its end");
    let count = words.split("**").skip(1).step_by(2).count();
    assert!((10..=20).contains(&count), "{count}");
}
