//! Every sink that speaks HTTP against every fault of its receiver: real sockets, virtual time.

use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::delivery::{
    fixtures::Reply,
    outbox::{Lost, Outbox},
    route::Ready,
};

/// Alerts that begin.
const NOTICES: u32 = 3;

const KINDS: usize = 3;

fn kinds(url: &str) -> [SinkKind; KINDS] {
    let webhook = SinkKind::Webhook {
        target: target(url),
        secret_file: None,
    };
    let alertmanager = SinkKind::Alertmanager(vec![target(url)]);
    [alertmanager, webhook, SinkKind::Otlp(target(url))]
}

/// A sink that alerts wait for.
fn begin(to: SinkKind) -> Arc<Outbox> {
    let outbox = Outbox::new("sink".to_owned(), 1000, Lost::default());
    let outbox = Arc::new(outbox);
    let ready = Ready::new(&settings("sink", to), &teller()).expect("a url");
    tokio::spawn(ready.run(Arc::clone(&outbox)));
    for number in 0..NOTICES {
        outbox.push(message(number, Occasion::Began));
    }
    outbox
}

/// What came of it once nothing waits, and how many requests that took.
async fn outcome(to: SinkKind, server: &Server) -> (u64, u64, u64, usize) {
    let outbox = begin(to);
    while outbox.stats().queued > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = outbox.stats();
    assert_eq!(stats.dropped.sum(), 0, "{stats:?}");
    outbox.close(tokio::time::Instant::now());
    (
        stats.accepted,
        stats.rejected,
        stats.sends.failed,
        server.requests().len(),
    )
}

/// What came of it for each kind of sink, each with a server of its own.
async fn outcomes(replies: &[Reply]) -> Vec<(u64, u64, u64, usize)> {
    let mut outcomes = Vec::new();
    for number in 0..KINDS {
        let server = Server::start(replies).await;
        let to = kinds(&server.url())[number].clone();
        outcomes.push(outcome(to, &server).await);
    }
    outcomes
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_until_all_is_taken() {
    for fault in [
        say(500),
        say(429),
        Reply::Say(429, "Retry-After: 90\r\n", Vec::new()),
        say(503),
        Reply::CutBody(1000),
        Reply::HangUp,
        Reply::Silence,
        Reply::Late(Duration::from_secs(25)),
    ] {
        let replies = [fault.clone(), fault.clone(), ok()];
        let all = outcomes(&replies).await;
        assert_eq!(all, [(3, 0, 2, 3); KINDS], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_slow_and_in_time_is_asked_once() {
    let all = outcomes(&[Reply::Late(Duration::from_secs(15))]).await;
    assert_eq!(all, [(3, 0, 0, 1); KINDS]);
}

/// Alertmanager refuses a batch for one alert, so each is sent to it alone.
#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_counted_and_not_tried_again() {
    let all = outcomes(&[say(400)]).await;
    assert_eq!(all, [(0, 3, 0, 4), (0, 3, 0, 1), (0, 3, 0, 1)]);
    let all = outcomes(&[say(400), ok()]).await;
    assert_eq!(all, [(3, 0, 0, 4), (0, 3, 0, 1), (0, 3, 0, 1)]);
}

/// Who says that it has taken what it threw away is believed: nobody can know better. It is not
/// asked again for ever.
#[tokio::test(start_paused = true)]
async fn who_lies_about_success_is_believed() {
    for lie in [
        Reply::Say(200, "", b"{\"status\":\"error\"}".to_vec()),
        Reply::Say(202, "", b"<html>".to_vec()),
        Reply::Say(200, "Content-Type: text/html\r\n", vec![0xff; 9]),
    ] {
        let all = outcomes(std::slice::from_ref(&lie)).await;
        assert_eq!(all, [(3, 0, 0, 1); KINDS], "{lie:?}");
    }
}

fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

#[tokio::test(start_paused = true)]
async fn who_is_back_after_ten_minutes_gets_all_of_it_once() {
    for number in 0..KINDS {
        let address = nobody();
        let to = kinds(&format!("http://{address}"))[number].clone();
        let outbox = begin(to.clone());
        tokio::time::sleep(Duration::from_mins(10)).await;
        let stats = outbox.stats();
        assert_eq!((stats.queued, stats.accepted), (3, 0), "{to:?}");
        assert!(stats.last_error.is_some());
        let server = Server::start_at(address, [ok()]).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        let stats = outbox.stats();
        assert_eq!((stats.queued, stats.accepted), (0, 3), "{to:?}");
        assert_eq!(server.requests().len(), 1, "{to:?}");
    }
}
