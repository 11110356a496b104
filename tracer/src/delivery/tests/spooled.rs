//! Sinks with a spool, with real files, over restarts and reloads.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use super::*;
use crate::{clock::realtime_ns, delivery::fixtures::notice, event::Time, settings::SpoolSettings};

/// What a spool without a record has.
const NOTHING: &str = "sockpick-spool 1\n";

/// An address at which nobody answers yet.
fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

fn spooled(address: SocketAddr, spool: &Path) -> SinkSettings {
    SinkSettings {
        spool: Some(SpoolSettings {
            path: spool.to_owned(),
            bytes: SpoolSettings::USUAL_BYTES,
            age: SpoolSettings::USUAL_AGE,
        }),
        ..webhook("hook", format!("http://{address}"))
    }
}

fn spool(name: &str) -> PathBuf {
    scratch(name).join("hook.spool")
}

/// As of now, so that it is not too old.
fn send(delivery: &Delivery, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        let mut notice = notice(number, Occasion::Began);
        notice.at = Time(realtime_ns());
        notice.alert.count = number.into();
        delivery.send(Message::Notice(Arc::new(notice)));
    }
}

/// Records in it that wait.
fn waiting(spool: &Path) -> usize {
    let text = std::fs::read_to_string(spool).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("wait "))
        .count()
}

fn got(server: &Server) -> Vec<u64> {
    let requests = server.requests();
    let notices = requests.iter().flat_map(|request| {
        let notices = request.json()["notices"].as_array().cloned();
        notices.unwrap_or_default()
    });
    notices
        .map(|notice| notice["count"].as_u64().expect("a number"))
        .collect()
}

fn is_empty(spool: &Path) -> bool {
    std::fs::read_to_string(spool).is_ok_and(|text| text == NOTHING)
}

fn stop(delivery: &Delivery) -> Vec<(u64, u64)> {
    let left = delivery.stop(Duration::from_millis(200));
    left.iter().map(|left| (left.messages, left.kept)).collect()
}

#[tokio::test]
async fn what_a_receiver_missed_it_gets_after_a_restart_in_order_and_once() {
    let (address, spool) = (nobody(), spool("restart"));
    let delivery = start(&[spooled(address, &spool)]);
    send(&delivery, 0..3);
    until(|| waiting(&spool) == 3).await;
    assert_eq!(stop(&delivery), [(0, 3)]);
    assert_eq!(delivery.lost(), 0);
    drop(delivery);
    let server = Server::start_at(address, [ok()]).await;
    let delivery = start(&[spooled(address, &spool)]);
    until(|| stats(&delivery, "hook").accepted == 3 && is_empty(&spool)).await;
    send(&delivery, 3..5);
    until(|| stats(&delivery, "hook").accepted == 5).await;
    assert_eq!(stop(&delivery), []);
    assert_eq!(got(&server), [0, 1, 2, 3, 4]);
    assert!(is_empty(&spool));
}

#[tokio::test]
async fn a_reload_with_the_same_sink_goes_on_and_one_with_another_takes_over() {
    let (address, spool) = (nobody(), spool("taken-over"));
    let same = [spooled(address, &spool)];
    let delivery = start(&same);
    send(&delivery, 0..3);
    until(|| waiting(&spool) == 3).await;
    delivery.replace(&same);
    send(&delivery, 3..4);
    until(|| waiting(&spool) == 4).await;
    let server = Server::start([ok()]).await;
    let other = spooled(server.address, &spool);
    delivery.replace(&[other]);
    send(&delivery, 4..5);
    until(|| stats(&delivery, "hook").accepted == 5).await;
    assert_eq!(got(&server), [0, 1, 2, 3, 4]);
    assert_eq!(delivery.lost(), 0);
    assert_eq!(stop(&delivery), []);
}

#[tokio::test]
async fn the_spool_of_a_sink_that_is_removed_is_left_alone_until_it_is_named_again() {
    let (address, spool) = (nobody(), spool("removed"));
    let delivery = start(&[spooled(address, &spool)]);
    send(&delivery, 0..2);
    until(|| waiting(&spool) == 2).await;
    delivery.replace(&[]);
    let is_free = || std::fs::File::open(&spool).is_ok_and(|file| file.try_lock().is_ok());
    until(is_free).await;
    assert_eq!(waiting(&spool), 2);
    let server = Server::start_at(address, [ok()]).await;
    delivery.replace(&[spooled(address, &spool)]);
    until(|| is_empty(&spool)).await;
    assert_eq!((got(&server), delivery.lost()), (vec![0, 1], 0));
    assert_eq!(stop(&delivery), []);
}

#[tokio::test]
async fn two_never_share_a_spool_and_both_send() {
    let (address, spool) = (nobody(), spool("shared"));
    let one = start(&[spooled(address, &spool)]);
    send(&one, 0..2);
    until(|| waiting(&spool) == 2).await;
    let server = Server::start([ok()]).await;
    let other = start(&[spooled(server.address, &spool)]);
    send(&other, 7..8);
    until(|| stats(&other, "hook").accepted == 1).await;
    assert_eq!(got(&server), [7]);
    assert_eq!((stop(&other), waiting(&spool)), (vec![], 2));
    assert_eq!(stop(&one), [(0, 2)]);
}

#[tokio::test]
async fn a_spool_that_cannot_be_stops_no_sink() {
    let server = Server::start([ok()]).await;
    let nowhere = scratch("nowhere").join("no/hook.spool");
    let delivery = start(&[spooled(server.address, &nowhere)]);
    send(&delivery, 0..3);
    until(|| stats(&delivery, "hook").accepted == 3).await;
    assert_eq!(stop(&delivery), []);
}

const CHILD: &str = "delivery::tests::spooled::is_killed";

#[tokio::test]
async fn what_waits_outlives_a_kill() {
    let (address, spool) = (nobody(), spool("killed"));
    let test = std::env::current_exe().expect("this test");
    let mut child = Command::new(test)
        .args([CHILD, "--exact", "--ignored"])
        .env("SOCKPICK_SPOOL", &spool)
        .env("SOCKPICK_RECEIVER", address.to_string())
        // It ends with this test, should this one fail.
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    until(|| waiting(&spool) == 3).await;
    child.kill().expect("it runs still");
    child.wait().expect("it has ended");
    let server = Server::start_at(address, [ok()]).await;
    let delivery = start(&[spooled(address, &spool)]);
    until(|| stats(&delivery, "hook").accepted == 3 && is_empty(&spool)).await;
    assert_eq!(got(&server), [0, 1, 2]);
    assert_eq!(stop(&delivery), []);
}

#[test]
#[ignore = "runs until it is killed by the test above"]
fn is_killed() {
    let Some(spool) = std::env::var_os("SOCKPICK_SPOOL") else {
        return;
    };
    let address = std::env::var("SOCKPICK_RECEIVER").expect("an address");
    let address = address.parse().expect("an address");
    let delivery = start(&[spooled(address, Path::new(&spool))]);
    send(&delivery, 0..3);
    let _ = io::stdin().read_line(&mut String::new());
}
