use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use super::*;
use crate::{
    alerts::Occasion,
    delivery::fixtures::{line, message, scratch, teller},
};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn appended(log: &mut Log, lines: &[&str]) {
    let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
    let (whole, result) = log.append(&lines);
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(whole, lines.len());
}

#[tokio::test]
async fn lines_and_notices_are_as_the_page_shows_them() {
    let path = scratch("lines").join("alerts.json");
    let mut sink = FileSink::new(&path, None, 0, teller());
    let batch = [message(0, Occasion::Began), line(r#"{"schema":1}"#)];
    let attempt = sink.send(&batch, 2).await;
    assert_eq!((attempt.accepted, attempt.told_losses), (2, true));
    sink.send(&[message(0, Occasion::Lasts)], 0).await;
    let text = read(&path);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], r#"{"schema":1,"lost":2,"stage":"sink"}"#);
    assert_eq!(lines[2], r#"{"schema":1}"#);
    let parse = |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    assert_eq!(parse(lines[3])["alert"], "lasts");
    insta::assert_snapshot!(lines[1]);
    crate::delivery::tests::on_the_page("file", lines[1]);
    let mode = fs::metadata(&path).expect("the file").permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[test]
fn a_full_file_becomes_the_first_of_those_before_it() {
    let path = scratch("rotate").join("log");
    let mut log = Log::new(&path, Some(10), 2);
    for number in 0..6 {
        appended(&mut log, &[&format!("{number}{number}{number}\n"), "---\n"]);
    }
    assert_eq!(read(&path), "555\n---\n");
    assert_eq!(read(&path.with_extension("1")), "444\n---\n");
    assert_eq!(read(&path.with_extension("2")), "333\n---\n");
    assert!(!path.with_extension("3").exists());
}

#[test]
fn one_batch_may_fill_several_files_and_a_line_is_never_divided() {
    let path = scratch("batch").join("log");
    let mut log = Log::new(&path, Some(8), 9);
    appended(
        &mut log,
        &["aaa\n", "bbb\n", "ccc\n", "far longer than a file\n", "d\n"],
    );
    assert_eq!(read(&path), "d\n");
    assert_eq!(read(&path.with_extension("1")), "far longer than a file\n");
    assert_eq!(read(&path.with_extension("2")), "ccc\n");
    assert_eq!(read(&path.with_extension("3")), "aaa\nbbb\n");
}

#[test]
fn if_none_are_kept_the_file_begins_anew() {
    let path = scratch("none").join("log");
    let mut log = Log::new(&path, Some(8), 0);
    appended(&mut log, &["aaa\n", "bbb\n", "ccc\n"]);
    assert_eq!(read(&path), "ccc\n");
    assert!(!path.with_extension("1").exists());
}

#[test]
fn what_is_there_is_added_to_and_a_cut_line_ended() {
    let path = scratch("there").join("log");
    fs::write(&path, "old\ncut").expect("a file");
    appended(&mut Log::new(&path, None, 0), &["new\n"]);
    assert_eq!(read(&path), "old\ncut\nnew\n");
}

#[test]
fn a_file_that_another_program_moved_is_begun_anew() {
    let path = scratch("moved").join("log");
    let mut log = Log::new(&path, None, 0);
    appended(&mut log, &["one\n"]);
    fs::rename(&path, path.with_extension("old")).expect("moved");
    appended(&mut log, &["two\n"]);
    assert_eq!(read(&path), "two\n");
    assert_eq!(read(&path.with_extension("old")), "one\n");
}

#[test]
fn neither_a_link_nor_a_device_is_written_to() {
    let directory = scratch("link");
    let (path, other) = (directory.join("log"), directory.join("other"));
    fs::write(&other, "precious\n").expect("a file");
    symlink(&other, &path).expect("a link");
    let (whole, result) = Log::new(&path, None, 0).append(&[b"x\n"]);
    assert!(whole == 0 && result.is_err());
    assert_eq!(read(&other), "precious\n");
    let (_, result) = Log::new(Path::new("/dev/null"), None, 0).append(&[b"x\n"]);
    assert!(result.is_err_and(|error| error.to_string().contains("regular file")));
}

#[test]
fn a_missing_directory_is_a_failure_and_its_coming_ends_it() {
    let directory = scratch("missing").join("later");
    let mut log = Log::new(&directory.join("log"), None, 0);
    assert!(log.append(&[b"x\n"]).1.is_err());
    fs::create_dir(&directory).expect("a directory");
    appended(&mut log, &["x\n"]);
}

/// Lines of 300 bytes.
fn long_lines() -> Vec<Vec<u8>> {
    let lines = (0..10).map(|number| format!("{number:0>299}\n").into_bytes());
    lines.collect()
}

fn append_long(path: &Path, from: usize) -> (usize, bool) {
    let lines = long_lines();
    let lines: Vec<&[u8]> = lines[from..].iter().map(Vec::as_slice).collect();
    let (whole, result) = Log::new(path, None, 0).append(&lines);
    (whole, result.is_ok())
}

/// The shell's limit on a file's size is met as a full disk is: some of a write fits.
#[test]
fn of_a_line_that_does_not_fit_nothing_stays() {
    let path = scratch("full").join("log");
    let limited = "trap '' XFSZ; ulimit -f 2; exec \"$0\" --ignored --exact \"$1\"";
    let run = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().expect("this program"))
        .arg("delivery::sink::file::tests::within_the_limit")
        .env("SOCKPICK_LIMITED", &path)
        .output()
        .expect("a shell");
    assert!(run.status.success(), "{run:?}");
    let there = read(&path);
    let whole = there.len() / 300;
    assert!(
        (1..10).contains(&whole) && there.len().is_multiple_of(300),
        "{}",
        there.len()
    );
    assert_eq!(append_long(&path, whole), (10 - whole, true));
    assert_eq!(read(&path).into_bytes(), long_lines().concat());
}

#[test]
#[ignore = "of_a_line_that_does_not_fit_nothing_stays runs it where files have a limit"]
fn within_the_limit() {
    let path = std::env::var_os("SOCKPICK_LIMITED").expect("it is run by the other test");
    let path = Path::new(&path);
    let (whole, is_ok) = append_long(path, 0);
    assert!(whole > 0 && !is_ok);
    assert_eq!(read(path).len(), whole * 300);
    assert_eq!(
        append_long(path, whole),
        (0, false),
        "there is still no room"
    );
    assert_eq!(read(path).len(), whole * 300);
}
