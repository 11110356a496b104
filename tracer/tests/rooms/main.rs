//! Rooms that are pure stay so: no command line, no clock, no file, no socket. And no file of
//! `probes/` imports one that imports it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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

#[test]
fn pure_rooms_do_nothing_but_think() -> io::Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rooms = [
        "alerts.rs",
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

/// First names of the paths that follow the prefix: of `a::b` it is `a`, of `{a::b, c}` both.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let word = |text: &str| -> String {
        let is_part = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim_start().chars().take_while(is_part).collect()
    };
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let path = &code[at + prefix.len()..];
        let Some(list) = path.strip_prefix('{') else {
            names.insert(word(path));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                ',' | '}' if depth == 0 => {
                    names.insert(word(&list[start..at]));
                    start = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    // Behind the last comma of a list there is no name.
    names.remove("");
    names
}

/// Files of `probes/`, a folder with the file of its name as one, and which others each imports.
fn imports_of_probes() -> io::Result<BTreeMap<String, BTreeSet<String>>> {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/probes");
    let mut found = Vec::new();
    files(&room, &mut found)?;
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in found {
        let inner = path.strip_prefix(&room).unwrap_or(&path);
        let is_top = inner.components().count() == 1;
        let file = inner.iter().next();
        let file = file.unwrap_or_default().to_string_lossy();
        let file = file.trim_end_matches(".rs");
        if file == "mod" {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().map(|line| line.split("//").next());
        let code = lines.flatten().collect::<Vec<_>>().join("\n");
        let mut names = names_after(&code, "probes::");
        if is_top {
            names.extend(names_after(&code, "super::"));
        }
        names.remove(file);
        imports.entry(file.to_owned()).or_default().extend(names);
    }
    Ok(imports)
}

#[test]
fn imports_are_understood() {
    let code = "use super::{\n a::{B, c},\n d,\n e::F,\n};\nuse super::g::H;";
    let names: Vec<String> = names_after(code, "super::").into_iter().collect();
    assert_eq!(names, ["a", "d", "e", "g"]);
}

#[test]
fn no_files_of_probes_import_each_other() -> io::Result<()> {
    let mut left = imports_of_probes()?;
    assert!(left["attach"].contains("programs") && left["measure"].contains("trial"));
    // What imports none of the rest is the floor below it.
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, imports| !imports.is_disjoint(&names));
        if left.len() == names.len() {
            break;
        }
    }
    assert!(left.is_empty(), "in a circle, or above one: {left:#?}");
    Ok(())
}
