//! The web server's thread as the daemon has it, with a thread that answers its questions, and a
//! collector.

use std::time::Instant;

use tokio::{sync::mpsc, time::sleep};

use crate::{
    daemon::exposition::{Exposition, Question},
    delivery::fixtures::{Reply, Server, ok, target},
    metrics::{
        Families,
        render::tests::{series, view},
    },
    settings::{MetricsSettings, PushSettings, Settings, change::changes, feed::Listen},
};
use prost::Message as _;

use super::*;

fn families() -> Families {
    Families::of(&series(), &view())
}

/// One whose questions are answered.
fn exposition() -> Exposition {
    let (asks, mut questions) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Some(question) = questions.recv().await {
            match question {
                Question::Metrics(to) => drop(to.send(families())),
                Question::Ready(to) => drop(to.send(Ok(()))),
            }
        }
    });
    Exposition::start(None, None, asks).expect("a thread")
}

fn settings(url: String) -> PushSettings {
    PushSettings {
        target: target(url),
        interval: Duration::from_millis(50),
    }
}

fn pushed_to(url: String) -> Settings {
    let mut all = Settings::default();
    all.metrics.otlp = Some(settings(url));
    all
}

fn reload(exposition: &mut Exposition, old: &Settings, new: &Settings) {
    let prepared = exposition.prepare(&changes(old, new), &new.metrics);
    exposition.put_in_force(prepared.expect("good settings"));
}

/// Waits until the server has had so many more pushes.
async fn more(server: &Server, number: usize) {
    let before = server.requests().len();
    for _ in 0..3000 {
        if server.requests().len() >= before + number {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no {number} pushes within half a minute");
}

#[tokio::test]
async fn without_settings_nothing_is_pushed_and_nothing_shown() {
    let mut exposition = exposition();
    let none = MetricsSettings::default();
    exposition.push(&none);
    assert_eq!(exposition.pushes(), None);
    exposition
        .stop(Some(families()), Duration::from_secs(5))
        .await;
    exposition.pushed().await;
}

#[tokio::test]
async fn a_reload_adds_removes_and_moves_it() {
    let (one, other) = (Server::start([ok()]).await, Server::start([ok()]).await);
    let (none, to_one, to_other) = (
        Settings::default(),
        pushed_to(one.url()),
        pushed_to(other.url()),
    );
    let mut exposition = exposition();
    exposition.push(&none.metrics);
    reload(&mut exposition, &none, &to_one);
    more(&one, 2).await;
    let sends = exposition.pushes().expect("pushes are made");
    assert!(sends.ok >= 1, "{sends:?}");

    // Something else changes: it goes on.
    let mut listens = to_one.clone();
    listens.metrics.max_series = 100;
    reload(&mut exposition, &to_one, &listens);
    more(&one, 2).await;

    reload(&mut exposition, &listens, &to_other);
    more(&other, 2).await;
    let before = one.requests().len();
    more(&other, 2).await;
    assert_eq!(one.requests().len(), before, "nobody pushes there any more");
    let later = exposition.pushes().expect("pushes are made");
    assert!(later.ok > sends.ok, "one account for all");

    reload(&mut exposition, &to_other, &none);
    assert_eq!(exposition.pushes(), None);
    sleep(Duration::from_millis(50)).await;
    let before = other.requests().len();
    sleep(Duration::from_millis(200)).await;
    assert_eq!(other.requests().len(), before);
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let server = Server::start([ok()]).await;
    let other = Server::start([ok()]).await;
    let good = pushed_to(server.url());
    let mut exposition = exposition();
    exposition.push(&good.metrics);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut bad = pushed_to(other.url());
    bad.metrics.listen = Some(Listen::Tcp(taken.local_addr().expect("its address")));
    let prepared = exposition.prepare(&changes(&good, &bad), &bad.metrics);
    assert!(prepared.is_err(), "somebody listens there");
    more(&server, 2).await;
    assert_eq!(other.requests().len(), 0);
}

#[tokio::test]
async fn the_last_push_is_made_at_the_end_and_none_after_it() {
    let server = Server::start([ok()]).await;
    let mut hourly = settings(server.url());
    hourly.interval = Duration::from_hours(1);
    let all = MetricsSettings {
        otlp: Some(hourly),
        ..MetricsSettings::default()
    };
    let mut exposition = exposition();
    exposition.push(&all);
    more(&server, 1).await;
    let mut view = view();
    view.alerts_active = 77;
    let last = Families::of(&series(), &view);
    exposition.stop(Some(last), Duration::from_secs(5)).await;
    exposition.pushed().await;
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let message = ExportMetricsServiceRequest::decode(requests[1].body.as_slice());
    let message = message.expect("the message that was sent");
    let metrics = &message.resource_metrics[0].scope_metrics[0].metrics;
    let active = metrics
        .iter()
        .find(|one| one.name == "sockpick_alerts_active");
    let data = active.and_then(|one| one.data.as_ref()).expect("the gauge");
    let value = data.points()[0].value;
    assert_eq!(value, Some(crate::otlp::metrics::Number::Whole(77)));
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_the_end_no_longer_than_there_is_time() {
    let server = Server::start([Reply::Silence]).await;
    let mut exposition = exposition();
    let all = pushed_to(server.url()).metrics;
    exposition.push(&all);
    more(&server, 1).await;
    let begin = Instant::now();
    exposition
        .stop(Some(families()), Duration::from_secs(1))
        .await;
    assert!(
        begin.elapsed() < Duration::from_millis(900),
        "it does not wait"
    );
    exposition.pushed().await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}
