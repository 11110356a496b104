//! Which files import which, as the sources have it. A declared module is no import, and tests are
//! left out: nobody but they import them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    slice,
};

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// What each file imports: files by the paths of their modules, as in `judge::rules`.
pub(crate) type Imports = BTreeMap<String, BTreeSet<String>>;

/// Parts of a path, or names.
type Words = Vec<String>;

/// The imports of all files that belong to the crate in this folder.
pub(crate) fn of(source: &Path) -> io::Result<Imports> {
    let mut files = BTreeMap::new();
    take(&source.join("lib.rs"), source, &[], &mut files)?;
    Ok(between(&files))
}

/// Takes a file with all that it declares; `below`: the folder where those are.
fn take(
    file: &Path,
    below: &Path,
    module: &[String],
    files: &mut BTreeMap<String, Words>,
) -> io::Result<()> {
    let tokens = tokens(&fs::read_to_string(file)?)?;
    for name in declared(&tokens) {
        let folder = below.join(&name);
        let file = [below.join(format!("{name}.rs")), folder.join("mod.rs")];
        let file = file.into_iter().find(|file| file.exists());
        let file = file.ok_or_else(|| io::Error::other(format!("no file of {name}")))?;
        take(&file, &folder, &joined(module, &[name]), files)?;
    }
    files.insert(module.join("::"), tokens);
    Ok(())
}

/// The same of these files, by their tokens.
pub(crate) fn between(files: &BTreeMap<String, Words>) -> Imports {
    let of = |(module, tokens): (&String, &Words)| {
        let mut imports: BTreeSet<String> = named(module, tokens, files)
            .iter()
            .map(|path| home(path, files))
            .collect();
        // What is no module is the crate's own: nothing is in there.
        imports.remove("");
        imports.remove(module);
        (module.clone(), imports)
    };
    files.iter().map(of).collect()
}

/// The module that a path leads into.
fn home(path: &[String], files: &BTreeMap<String, Words>) -> String {
    let mut heads = (0..=path.len()).rev().map(|end| path[..end].join("::"));
    heads
        .find(|head| files.contains_key(head))
        .unwrap_or_default()
}

/// Every path that a file names, from the root of the crate.
fn named(module: &str, tokens: &[String], files: &BTreeMap<String, Words>) -> Vec<Words> {
    let here: Words = module
        .split("::")
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let mut names: BTreeMap<String, Words> = declared(tokens)
        .into_iter()
        .map(|name| (name.clone(), joined(&here, &[name])))
        .collect();
    let mut found = Vec::new();
    for (path, name) in used(tokens) {
        if let Some(path) = from_root(&path, &here, &names) {
            if files.contains_key(&path.join("::")) {
                names.insert(name, path.clone());
            }
            found.push(path);
        }
    }
    let written = written(tokens);
    let written = written
        .iter()
        .filter_map(|path| from_root(path, &here, &names));
    found.extend(written);
    found
}

/// `None`: it leads out of the crate.
fn from_root(path: &[String], here: &[String], names: &BTreeMap<String, Words>) -> Option<Words> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some(joined(here, rest)),
        "super" => {
            let more = rest.iter().take_while(|part| *part == "super").count();
            let above = here.len().checked_sub(1 + more)?;
            Some(joined(&here[..above], &rest[more..]))
        }
        _ => Some(joined(names.get(first)?, rest)),
    }
}

fn joined(path: &[String], more: &[String]) -> Words {
    [path, more].concat()
}

/// Names of the modules that are files of their own.
fn declared(tokens: &[String]) -> Words {
    let declared = |three: &[String]| match three {
        [word, name, end] if word == "mod" && end == ";" => Some(name.clone()),
        _ => None,
    };
    tokens.windows(3).filter_map(declared).collect()
}

/// What is imported by `use`: paths, and the name of each.
fn used(tokens: &[String]) -> Vec<(Words, String)> {
    let mut found = Vec::new();
    for at in uses(tokens) {
        tree(&mut tokens[at + 1..].iter(), &[], &mut found);
    }
    found
}

/// Places of the declarations that import.
fn uses(tokens: &[String]) -> impl Iterator<Item = usize> {
    let pairs = tokens.windows(2).enumerate();
    // `impl Trait + use<'a>` imports nothing.
    pairs.filter_map(|(at, pair)| (pair[0] == "use" && pair[1] != "<").then_some(at))
}

/// A part of what `use` imports; says whether another follows it in its list.
fn tree(
    tokens: &mut slice::Iter<'_, String>,
    before: &[String],
    found: &mut Vec<(Words, String)>,
) -> bool {
    let mut path = before.to_vec();
    let mut name = None;
    loop {
        match tokens.next().map_or(";", String::as_str) {
            "{" => {
                while tree(tokens, &path, found) {}
                name = None;
            }
            "as" => name = tokens.next().cloned(),
            "::" => {}
            end @ ("," | "}" | ";") => {
                found.extend(name.map(|name| (path, name)));
                return end == ",";
            }
            "self" if !path.is_empty() => name = path.last().cloned(),
            word => {
                path.push(word.to_owned());
                name = path.last().cloned();
            }
        }
    }
}

/// Paths that stand in the code itself.
fn written(tokens: &[String]) -> Vec<Words> {
    let mut tokens = tokens.to_vec();
    for at in uses(&tokens).collect::<Vec<_>>() {
        let end = tokens[at..].iter().position(|token| token == ";");
        tokens[at..][..end.unwrap_or(0)].fill(String::new());
    }
    let is_path = |one: &String, other: &String| (one == "::") != (other == "::");
    let runs = tokens.chunk_by(is_path);
    runs.filter(|run| run.len() > 2 && run[0] != "::")
        .map(|run| run.iter().filter(|part| *part != "::").cloned().collect())
        .collect()
}

/// The words and marks of a source without its tests, and without who may see what.
pub(crate) fn tokens(text: &str) -> io::Result<Words> {
    let stream = text
        .parse()
        .map_err(|error: LexError| io::Error::other(error.to_string()))?;
    let mut all = Words::new();
    flat(stream, &mut all);
    let mut tokens = Words::new();
    let mut rest = &all[..];
    while let Some((first, after)) = rest.split_first() {
        if rest.starts_with(&TEST.map(str::to_owned)) {
            rest = after_item(&rest[TEST.len()..]);
        } else if first == "pub" && after.first().is_some_and(|next| next == "(") {
            let end = after.iter().position(|token| token == ")");
            rest = &after[end.map_or(0, |end| end + 1)..];
        } else {
            tokens.push(first.clone());
            rest = after;
        }
    }
    Ok(tokens)
}

/// What marks an item as one for tests.
const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// What follows the item that these begin with: it ends with a semicolon or a body.
fn after_item(tokens: &[String]) -> &[String] {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let goes_on = tokens.get(at + 1).is_some_and(|next| next == ";");
        if depth == 0 && (token == ";" || token == "}" && !goes_on) {
            return &tokens[at + 1..];
        }
    }
    &[]
}

fn flat(stream: TokenStream, to: &mut Words) {
    for tree in stream {
        match tree {
            TokenTree::Group(group) => {
                let [open, close] = match group.delimiter() {
                    Delimiter::Parenthesis => ["(", ")"],
                    Delimiter::Brace => ["{", "}"],
                    Delimiter::Bracket => ["[", "]"],
                    Delimiter::None => ["", ""],
                };
                to.push(open.to_owned());
                flat(group.stream(), to);
                to.push(close.to_owned());
            }
            // Nowhere else do two of them stand side by side.
            TokenTree::Punct(mark)
                if mark.as_char() == ':' && to.last().is_some_and(|last| last == ":") =>
            {
                to.pop();
                to.push("::".to_owned());
            }
            // Whatever it says, it is no path.
            TokenTree::Literal(_) => to.push("\"\"".to_owned()),
            other => to.push(other.to_string()),
        }
    }
}
