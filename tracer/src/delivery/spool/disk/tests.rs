use std::os::unix::fs::symlink;

use super::*;
use crate::delivery::{
    fixtures::scratch,
    spool::{
        book::Book,
        fixtures::{notice, text},
        format::HEAD,
    },
};

fn open_at(path: &Path) -> Book {
    let disk = Disk::open(path).expect("nobody else has it");
    let (book, found) = Book::open(Box::new(disk), 1 << 20, 100).expect("a spool");
    assert!(found.notices.is_empty());
    book
}

fn refused(path: &Path) -> String {
    Disk::open(path)
        .expect_err("it may not be opened")
        .to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file").mode() & 0o7777
}

#[test]
fn the_file_is_for_its_owner_alone() {
    let path = scratch("spool-mode").join("spool");
    open_at(&path);
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("our own");
    open_at(&path);
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn one_at_a_time_has_it_also_after_it_was_written_anew() {
    let path = scratch("spool-lock").join("spool");
    let mut one = Disk::open(&path).expect("nobody has it");
    assert!(refused(&path).contains("another sockpick has it"));
    one.replace(&mut [HEAD.to_vec()].into_iter())
        .expect("there is room");
    assert!(refused(&path).contains("another sockpick has it"));
    assert!(!one.is_gone());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        fs::read_dir(path.parent().expect("its directory"))
            .expect("it")
            .count(),
        1
    );
    drop(one);
    open_at(&path);
}

#[test]
fn no_link_is_followed_and_no_file_of_something_else_is_touched() {
    let directory = scratch("spool-link");
    let (link, other) = (directory.join("link"), directory.join("other"));
    fs::write(&other, "something else").expect("a file");
    symlink(&other, &link).expect("a link");
    assert!(refused(&link).contains("a symbolic link"));
    symlink(directory.join("nowhere"), directory.join("dangling")).expect("a link");
    refused(&directory.join("dangling"));
    assert!(!directory.join("nowhere").exists());
    refused(&directory);
    refused(&directory.join("no/directory"));
    nix::unistd::mkfifo(&directory.join("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    assert!(refused(&directory.join("pipe")).contains("no regular file"));
    let disk = Disk::open(&other).expect("a file");
    assert!(Book::open(Box::new(disk), 1 << 20, 100).is_err());
    assert_eq!(fs::read(&other).expect("the file"), b"something else");
}

#[test]
fn one_in_whose_place_a_link_is_put_is_gone_and_the_link_is_not_followed() {
    let directory = scratch("spool-gone");
    let (path, other) = (directory.join("spool"), directory.join("other"));
    let disk = Disk::open(&path).expect("nobody has it");
    fs::remove_file(&path).expect("it is there");
    assert!(disk.is_gone());
    fs::write(&other, "something else").expect("a file");
    symlink(&other, &path).expect("a link");
    assert!(disk.is_gone());
    assert!(refused(&path).contains("a symbolic link"));
    symlink(&other, directory.join("spool.new")).expect("a link");
    let mut disk = disk;
    disk.replace(&mut [HEAD.to_vec()].into_iter())
        .expect("the links are removed");
    assert_eq!(fs::read(&other).expect("the file"), b"something else");
}

#[test]
fn it_is_written_as_the_book_says() {
    let path = scratch("spool-text").join("spool");
    let mut book = open_at(&path);
    let waiting: Vec<_> = (0..3).map(|one| (u64::from(one), notice(one, 0))).collect();
    book.keep(&waiting, &mut Vec::new()).expect("there is room");
    let whole: Vec<u8> = [HEAD.to_vec(), text(0), text(1), text(2)].concat();
    assert_eq!(fs::read(&path).expect("the file"), whole);
    book.keep(&waiting[1..], &mut Vec::new())
        .expect("there is room");
    let marked = String::from_utf8(fs::read(&path).expect("the file")).expect("text");
    let marks: Vec<&str> = marked.lines().skip(1).map(|line| &line[..5]).collect();
    assert_eq!(marks, ["done ", "wait ", "wait "]);
    book.keep(&[], &mut Vec::new()).expect("there is room");
    assert_eq!(fs::read(&path).expect("the file"), HEAD);
}

#[test]
fn what_a_failure_has_left_behind_the_end_is_cut_off() {
    let path = scratch("spool-torn").join("spool");
    let mut disk = Disk::open(&path).expect("nobody has it");
    disk.append(0, b"whole and torn").expect("there is room");
    disk.is_torn = true;
    disk.append(5, b"!").expect("there is room");
    assert_eq!(fs::read(&path).expect("the file"), b"whole!");
}

fn keep(path: &Path) -> io::Result<()> {
    let disk = Disk::open(path).expect("nobody else has it");
    let (mut book, found) = Book::open(Box::new(disk), 1 << 20, 100).expect("a spool");
    assert_eq!(found.damaged, 0, "none was written in part");
    let waiting: Vec<_> = (0..9).map(|one| (u64::from(one), notice(one, 0))).collect();
    let numbers: Vec<u64> = (0..).take(found.notices.len()).collect();
    book.numbered(&found, &numbers);
    book.keep(&waiting, &mut Vec::new())
}

/// The shell's limit on a file's size is met as a full disk is: some of a write fits.
#[test]
fn of_a_record_that_does_not_fit_nothing_stays() {
    let path = scratch("spool-full").join("spool");
    let limited = "trap '' XFSZ; ulimit -f 5; exec \"$0\" --ignored --exact \"$1\"";
    let run = std::process::Command::new("sh")
        .args(["-c", limited])
        .arg(std::env::current_exe().expect("this program"))
        .arg("delivery::spool::disk::tests::within_the_limit")
        .env("SOCKPICK_LIMITED", &path)
        .output()
        .expect("a shell");
    assert!(run.status.success(), "{run:?}");
    let there = fs::read(&path).expect("the file");
    let whole: Vec<u8> = [HEAD.to_vec(), (0..9).flat_map(text).collect()].concat();
    assert!(HEAD.len() < there.len() && there.len() < whole.len());
    assert!(whole.starts_with(&there) && there.ends_with(b"\n"));
    keep(&path).expect("there is room");
    assert_eq!(fs::read(&path).expect("the file"), whole);
}

#[test]
#[ignore = "of_a_record_that_does_not_fit_nothing_stays runs it where files have a limit"]
fn within_the_limit() {
    let path = std::env::var_os("SOCKPICK_LIMITED").expect("it is run by the other test");
    for _ in 0..2 {
        keep(Path::new(&path)).expect_err("there is no room");
    }
}
