use std::{
    collections::HashMap, io::Read as _, os::unix::net::UnixDatagram as Receiver, sync::Arc,
    time::Duration,
};

use nix::sys::socket::{ControlMessageOwned, recvmsg};

use super::*;
use crate::{
    alerts::{Identity, Occasion, Situation},
    delivery::{
        backoff::Backoff,
        fixtures::{blind, message, notice, overflow, scratch, situation},
        outbox::{Lost, Outbox},
        worker,
    },
};

fn journal(name: &str) -> (Receiver, Journald) {
    let path = scratch(name).join("socket");
    let receiver = Receiver::bind(&path).expect("a socket");
    (receiver, Journald::new(&path))
}

fn received(receiver: &Receiver) -> HashMap<String, String> {
    let mut bytes = vec![0; 1 << 20];
    let length = receiver.recv(&mut bytes).expect("a datagram");
    parsed(&bytes[..length])
}

/// Reads an entry as journald does.
fn parsed(mut bytes: &[u8]) -> HashMap<String, String> {
    let mut fields = HashMap::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        bytes = &bytes[end + 1..];
        if let Some((key, value)) = line.split_once('=') {
            fields.insert(key.to_owned(), value.to_owned());
            continue;
        }
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let value = String::from_utf8_lossy(&bytes[8..8 + length]).into_owned();
        assert_eq!(bytes[8 + length], b'\n');
        bytes = &bytes[8 + length + 1..];
        fields.insert(line, value);
    }
    assert!(bytes.is_empty());
    fields
}

#[tokio::test]
async fn an_entry_is_as_the_page_shows_it() {
    let (receiver, mut sink) = journal("entry");
    let batch = [message(0, Occasion::Began), message(0, Occasion::Ended)];
    assert_eq!(sink.send(&batch, 0).await, Attempt::accepted(2));
    let began = received(&receiver);
    assert_eq!((&*began["MESSAGE_ID"], &*began["PRIORITY"]), (FIRING, "2"));
    assert!(!began.contains_key("SOCKPICK_RESOLUTION"));
    let ended = received(&receiver);
    assert_eq!(
        (&*ended["MESSAGE_ID"], &*ended["PRIORITY"]),
        (RESOLVED, "5")
    );
    let mut lines: Vec<String> = ended
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    lines.sort();
    let text = lines.join("\n");
    insta::assert_snapshot!(text);
    crate::delivery::tests::on_the_page("journald", &text);
}

#[test]
fn the_alert_for_all_past_the_bound_wakes_nobody_and_has_no_verdict() {
    let entry = parsed(&entry(&overflow()));
    assert_eq!((&*entry["MESSAGE_ID"], &*entry["PRIORITY"]), (FIRING, "4"));
    assert_eq!(entry["SOCKPICK_COUNT"], "17");
    for field in ["SOCKPICK_VERDICT", "SOCKPICK_NETNS", "SOCKPICK_LISTENER"] {
        assert!(!entry.contains_key(field), "{entry:?}");
    }
}

#[test]
fn that_sockpick_does_not_see_wakes_somebody_and_names_no_client() {
    let entry = parsed(&entry(&blind()));
    assert_eq!((&*entry["MESSAGE_ID"], &*entry["PRIORITY"]), (FIRING, "2"));
    assert!(entry["MESSAGE"].starts_with("BLIND"), "{entry:?}");
    assert_eq!(entry["SOCKPICK_COUNT"], "17");
    for field in [
        "SOCKPICK_VERDICT",
        "SOCKPICK_CLIENT",
        "SOCKPICK_DESTINATION",
    ] {
        assert!(!entry.contains_key(field), "{entry:?}");
    }
}

#[tokio::test]
async fn what_was_lost_is_said_before_the_rest() {
    let (receiver, mut sink) = journal("lost");
    sink.send(&[message(0, Occasion::Began)], 3).await;
    let lost = received(&receiver);
    assert_eq!((&*lost["MESSAGE_ID"], &*lost["SOCKPICK_LOST"]), (LOST, "3"));
    assert_eq!(received(&receiver)["MESSAGE_ID"], FIRING);
}

#[tokio::test]
async fn an_entry_too_large_for_a_datagram_comes_as_a_sealed_file() {
    let (receiver, mut sink) = journal("large");
    let mut large = notice(0, Occasion::Began);
    large.alert.identity = Identity::Syns(Situation {
        service: Some("x".repeat(4 << 20)),
        ..situation(0)
    });
    let batch = [Message::Notice(large.into())];
    assert_eq!(sink.send(&batch, 0).await, Attempt::accepted(1));
    let mut space = nix::cmsg_space!(RawFd);
    let fd = receiver.as_raw_fd();
    let came = recvmsg::<()>(fd, &mut [], Some(&mut space), MsgFlags::empty());
    let came = came.expect("a datagram");
    let files = came
        .cmsgs()
        .expect("control messages")
        .find_map(|message| match message {
            ControlMessageOwned::ScmRights(files) => Some(files),
            _ => None,
        });
    let fd = files.expect("a file")[0];
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .open(format!("/proc/self/fd/{fd}"));
    let mut file = file.expect("the file that came");
    assert!(file.set_len(0).is_err(), "it is sealed");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("its bytes");
    assert_eq!(parsed(&bytes)["SOCKPICK_SERVICE"].len(), 4 << 20);
}

#[tokio::test]
async fn a_journal_that_is_not_there_is_a_failure_that_names_it() {
    let mut sink = Journald::new(&scratch("no-journal").join("socket"));
    let attempt = sink.send(&[message(0, Occasion::Began)], 0).await;
    assert_eq!(attempt.done(), 0);
    let text = attempt.failure.expect("it failed").text;
    assert!(text.contains("no-journal/socket"), "{text}");
}

#[test]
fn a_value_of_several_lines_has_its_length_before_it() {
    let bytes = fields([
        ("MESSAGE", "one\ntwo".to_owned()),
        ("EMPTY", String::new()),
        ("LAST", "a=b".to_owned()),
    ]);
    let parsed = parsed(&bytes);
    assert_eq!(parsed["MESSAGE"], "one\ntwo");
    assert_eq!(parsed["LAST"], "a=b");
    assert!(!parsed.contains_key("EMPTY"));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_back_after_ten_minutes_gets_all_of_it_once() {
    let path = scratch("back").join("socket");
    let outbox = Arc::new(Outbox::new("journal".to_owned(), 9, Lost::default()));
    let sink = Journald::new(&path);
    tokio::spawn(worker::run(
        Arc::clone(&outbox),
        sink,
        Backoff::new(1),
        None,
    ));
    for number in 0..3 {
        outbox.push(message(number, Occasion::Began));
    }
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(outbox.stats().queued, 3);
    let receiver = Receiver::bind(&path).expect("a socket");
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!((outbox.stats().queued, outbox.stats().accepted), (0, 3));
    let namespaces = (0..3).map(|_| received(&receiver)["SOCKPICK_NETNS"].clone());
    assert_eq!(namespaces.collect::<Vec<_>>(), ["host", "1", "2"]);
    receiver.set_nonblocking(true).expect("a socket");
    assert!(receiver.recv(&mut [0]).is_err(), "one was told twice");
}
