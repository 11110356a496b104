//! The whole of it, on its own thread and real clock, against real servers.

use std::{net::TcpListener, sync::Mutex, time::Instant};

use super::{
    fixtures::{Server, line, message, ok, say, scratch, target, teller},
    *,
};
use crate::{alerts::Occasion, settings::sink::SinkKind};

/// The page shows what is really sent. With `SOCKPICK_EXAMPLES=write` it is written there.
pub(super) fn on_the_page(example: &str, text: &str) {
    static PAGE: Mutex<()> = Mutex::new(());
    let _alone = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/alerts.md");
    let page = std::fs::read_to_string(path).expect("the page");
    let mark = format!("<!-- example: {example} -->\n```");
    let (before, rest) = page.split_once(&mark).expect("a place for the example");
    let (language, rest) = rest.split_once('\n').expect("a language");
    let (shown, after) = rest.split_once("\n```\n").expect("the end of the example");
    if std::env::var_os("SOCKPICK_EXAMPLES").is_some_and(|what| what == "write") {
        let page = format!("{before}{mark}{language}\n{text}\n```\n{after}");
        std::fs::write(path, page).expect("the page");
    } else {
        assert_eq!(shown, text, "docs/alerts.md shows another {example}");
    }
}

mod faults;
mod spooled;

fn settings(name: &str, to: SinkKind) -> SinkSettings {
    SinkSettings {
        name: name.to_owned(),
        queue: 1000,
        spool: None,
        to,
    }
}

fn webhook(name: &str, url: String) -> SinkSettings {
    let to = SinkKind::Webhook {
        target: target(url),
        secret_file: None,
    };
    settings(name, to)
}

fn file(directory: &std::path::Path) -> SinkSettings {
    let to = SinkKind::File {
        path: directory.join("alerts.json"),
        rotate_bytes: None,
        keep: 0,
    };
    settings("file", to)
}

fn start(sinks: &[SinkSettings]) -> Delivery {
    Delivery::start_as(teller(), sinks).expect("it starts")
}

fn stats(delivery: &Delivery, name: &str) -> SinkStats {
    let mut stats = delivery.stats().into_iter();
    stats.find(|stats| stats.name == name).expect("the sink")
}

/// Waits until it is so; only a test that fails waits to the end.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..3000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about within half a minute");
}

#[test]
fn threads_share_it_and_it_shows_no_url() {
    fn shared<T: Send + Sync>(_: &T) {}
    let delivery = start(&[webhook("hook", "http://127.0.0.1:9/s3cret".to_owned())]);
    shared(&delivery);
    assert!(!format!("{delivery:?}").contains("s3cret"));
    assert!(delivery.stop(Duration::from_secs(1)).is_empty());
    assert!(
        delivery.stop(Duration::from_secs(1)).is_empty(),
        "twice is no harm"
    );
}

#[tokio::test]
async fn a_server_that_is_down_and_comes_back_gets_everything_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let delivery = start(&[webhook("hook", format!("http://{address}"))]);
    for number in 0..5 {
        delivery.send(message(number, Occasion::Began));
        delivery.send(message(number, Occasion::Lasts));
    }
    until(|| stats(&delivery, "hook").sends.failed > 0).await;
    assert_eq!(stats(&delivery, "hook").queued, 5, "repeats are not for it");
    let server = Server::start_at(address, [ok()]).await;
    until(|| stats(&delivery, "hook").accepted == 5).await;
    let notices = server
        .requests()
        .into_iter()
        .map(|request| request.json()["notices"].as_array().map_or(0, Vec::len));
    assert_eq!(notices.sum::<usize>(), 5);
    assert!(delivery.stop(Duration::from_secs(5)).is_empty());
}

#[tokio::test]
async fn a_sink_that_hangs_delays_no_other() {
    let silent = Server::start([fixtures::Reply::Silence]).await;
    let server = Server::start([say(500), ok()]).await;
    let directory = scratch("others");
    let sinks = [
        webhook("dead", silent.url()),
        webhook("hook", server.url()),
        file(&directory),
    ];
    let delivery = start(&sinks);
    delivery.send(message(0, Occasion::Began));
    until(|| stats(&delivery, "hook").accepted == 1).await;
    until(|| stats(&delivery, "file").accepted == 1).await;
    assert_eq!(stats(&delivery, "hook").sends.failed, 1);
    assert_eq!(stats(&delivery, "dead").queued, 1);
    let begin = Instant::now();
    let left = delivery.stop(Duration::from_millis(200));
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(
        (left.len(), &*left[0].name, left[0].messages),
        (1, "dead", 1)
    );
}

#[tokio::test]
async fn a_reload_keeps_the_queue_of_what_stays_and_lets_go_of_the_rest() {
    let silent = Server::start([fixtures::Reply::Silence]).await;
    let server = Server::start([ok()]).await;
    let directory = scratch("reload");
    let dead = webhook("dead", silent.url());
    let delivery = start(&[dead.clone(), file(&directory)]);
    delivery.send(message(0, Occasion::Began));
    until(|| stats(&delivery, "file").accepted == 1).await;
    let other = [file(&directory), webhook("hook", server.url())];
    delivery.replace(&other);
    delivery.send(message(0, Occasion::Ended));
    until(|| stats(&delivery, "hook").accepted == 1).await;
    until(|| stats(&delivery, "file").accepted == 2).await;
    assert_eq!(delivery.lost(), 1, "what the sink that is gone had");
    assert_eq!(delivery.stats().len(), 2);
    assert!(delivery.stop(Duration::from_secs(5)).is_empty());
}

#[tokio::test]
async fn a_sink_removed_just_before_the_end_is_accounted_for() {
    let silent = Server::start([fixtures::Reply::Silence]).await;
    let delivery = start(&[webhook("dead", silent.url())]);
    delivery.send(message(0, Occasion::Began));
    delivery.send(message(1, Occasion::Began));
    delivery.replace(&[]);
    let left = delivery.stop(Duration::from_millis(200));
    let told: Vec<_> = left
        .iter()
        .map(|left| (&*left.name, left.messages))
        .collect();
    assert_eq!(told, [("dead", 2)]);
    assert_eq!(delivery.lost(), 2);
}

#[tokio::test]
async fn what_is_lost_is_one_number_that_only_rises() {
    let server = Server::start([say(400), ok()]).await;
    let silent = Server::start([fixtures::Reply::Silence]).await;
    let mut dead = webhook("dead", silent.url());
    dead.queue = 1;
    let delivery = start(&[webhook("hook", server.url()), dead]);
    delivery.send(message(0, Occasion::Began));
    until(|| stats(&delivery, "hook").rejected == 1).await;
    assert_eq!(delivery.lost(), 1, "what was refused for good");
    until(|| silent.requests().len() == 1).await;
    delivery.send(message(1, Occasion::Began));
    until(|| stats(&delivery, "hook").accepted == 1).await;
    assert_eq!(delivery.lost(), 2, "what the full queue had no room for");
    delivery.replace(&[]);
    assert!(
        delivery.lost() >= 2,
        "sinks that are gone took nothing with them"
    );
    let left = delivery.stop(Duration::from_millis(200));
    assert_eq!(left.iter().map(|left| left.messages).sum::<u64>(), 1);
    assert_eq!(delivery.lost(), 3);
}

#[tokio::test]
async fn a_file_whose_settings_change_loses_nothing() {
    let directory = scratch("change");
    let delivery = start(&[file(&directory)]);
    for round in 0..20u64 {
        for number in 0..50 {
            delivery.send(line(&(round * 50 + number).to_string()));
        }
        let mut changed = file(&directory);
        changed.queue = 1000 + usize::try_from(round).expect("a few");
        delivery.replace(&[changed]);
    }
    assert!(delivery.stop(Duration::from_secs(10)).is_empty());
    let text = std::fs::read_to_string(directory.join("alerts.json")).expect("the file");
    let numbers: Vec<u64> = text
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flood_waits_for_nobody_and_is_accounted_for() {
    let directory = scratch("flood");
    let mut sink = file(&directory);
    sink.queue = 500;
    let delivery = start(&[sink]);
    let sent = 20_000;
    for number in 0..sent {
        delivery.send(line(&number.to_string()));
    }
    until(|| stats(&delivery, "file").queued == 0).await;
    let stats = stats(&delivery, "file");
    assert_eq!(stats.accepted + stats.dropped.lines, sent);
    assert!(delivery.stop(Duration::from_secs(5)).is_empty());
    let text = std::fs::read_to_string(directory.join("alerts.json")).expect("the file");
    let told: u64 = text
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value["lost"].as_u64().unwrap_or(0)
        })
        .sum();
    assert_eq!(
        told, stats.dropped.lines,
        "the file says what is missing in it"
    );
}
