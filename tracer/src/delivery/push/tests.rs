mod collector;

use std::sync::atomic::{AtomicU64, Ordering};

use prost::Message as _;
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    delivery::{
        fixtures::{Reply, Server, ok, say, target, teller},
        sink::otlp::partial_success,
    },
    event::Time,
    metrics::{
        Families,
        otlp::Origin,
        render::tests::{series, view},
    },
};

/// What a test has to tell, and how often it was asked.
#[derive(Clone, Default)]
struct Told {
    asked: Arc<AtomicU64>,
    /// It never answers.
    hangs: bool,
    /// It has nothing to tell.
    gone: bool,
}

impl Source for Told {
    async fn message(&self) -> Result<ExportMetricsServiceRequest, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if self.gone {
            return Err("sockpick ends".to_owned());
        }
        Ok(message())
    }
}

fn message() -> ExportMetricsServiceRequest {
    let origin = Origin {
        resource: teller().resource(),
        start: Time(1_700_000_000_000_000_000),
    };
    Families::of(&series(), &view()).message(&origin, Time(1_700_000_060_000_000_000))
}

/// Every 50 ms, for tests.
fn settings(url: String) -> PushSettings {
    PushSettings {
        target: target(url),
        interval: Duration::from_millis(50),
    }
}

fn begin(settings: &PushSettings, told: &Told) -> (Pushes, JoinHandle<()>) {
    let pushes = Pushes::default();
    let made = Pusher::new(settings, pushes.clone());
    let told = told.clone();
    let task = tokio::spawn(async move { made.run(&told).await });
    (pushes, task)
}

/// Waits until so many pushes are done; only a test that fails waits to the end.
async fn after(pushes: &Pushes, number: u64) -> Sends {
    for _ in 0..3000 {
        let sends = pushes.until_now();
        if sends.ok + sends.rejected + sends.failed + sends.partial >= number {
            return sends;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no {number} pushes within half a minute");
}

/// What comes of the first push.
async fn first(reply: Reply) -> Sends {
    let server = Server::start([reply]).await;
    let mut settings = settings(server.url());
    settings.interval = Duration::from_hours(1);
    let (pushes, task) = begin(&settings, &Told::default());
    let sends = after(&pushes, 1).await;
    task.abort();
    sends
}

fn resource(request: &ExportMetricsServiceRequest) -> Vec<String> {
    let resource = request.resource_metrics[0].resource.as_ref();
    let attributes = &resource.expect("a resource").attributes;
    attributes.iter().map(|pair| pair.key.clone()).collect()
}

#[tokio::test]
async fn a_push_is_a_request_with_all_metrics_in_it() {
    let server = Server::start([ok()]).await;
    let mut settings = settings(server.url());
    let token = crate::delivery::fixtures::scratch("push").join("token");
    std::fs::write(&token, "s3cret\n").expect("a file");
    settings.target.bearer_file = Some(token);
    let (pushes, task) = begin(&settings, &Told::default());
    assert!(after(&pushes, 1).await.ok >= 1);
    task.abort();
    let requests = server.requests();
    let request = &requests[0];
    assert_eq!(request.line(), "POST /v1/metrics HTTP/1.1");
    assert_eq!(
        request.header("content-type"),
        Some("application/x-protobuf")
    );
    assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
    let received = ExportMetricsServiceRequest::decode(request.body.as_slice());
    let received = received.expect("the message that was sent");
    assert_eq!(received, message());
    assert_eq!(
        resource(&received),
        [
            "service.name",
            "service.version",
            "service.instance.id",
            "host.name",
            "host.id"
        ]
    );
}

#[tokio::test]
async fn the_path_may_be_written_or_left_out() {
    for (path, asked) in [
        ("", "/v1/metrics"),
        ("/", "/v1/metrics"),
        ("/v1/metrics", "/v1/metrics"),
        ("/api/v1/otlp", "/api/v1/otlp/v1/metrics"),
        ("/api/v1/otlp/v1/metrics", "/api/v1/otlp/v1/metrics"),
    ] {
        let server = Server::start([ok()]).await;
        let url = format!("{}{path}", server.url());
        let (pushes, task) = begin(&settings(url), &Told::default());
        after(&pushes, 1).await;
        task.abort();
        let line = format!("POST {asked} HTTP/1.1");
        assert_eq!(server.requests()[0].line(), line, "{path}");
    }
}

#[tokio::test]
async fn every_answer_is_counted_as_what_it_is() {
    assert_eq!(first(ok()).await.ok, 1);
    assert_eq!(first(say(400)).await.rejected, 1);
    assert_eq!(first(say(429)).await.failed, 1);
    assert_eq!(first(say(500)).await.failed, 1);
    assert_eq!(first(Reply::CutBody(100)).await.failed, 1);
    assert_eq!(first(Reply::HangUp).await.failed, 1);
    let some = partial_success(3, "too old").encode_to_vec();
    assert_eq!(first(Reply::Say(200, "", some)).await.partial, 1);
    // A warning: everything was taken.
    let none = partial_success(0, "soon too many").encode_to_vec();
    assert_eq!(first(Reply::Say(200, "", none)).await.ok, 1);
}

#[tokio::test]
async fn what_a_partial_success_says_is_told() {
    let some = partial_success(3, "too old").encode_to_vec();
    let server = Server::start([Reply::Say(200, "", some)]).await;
    let mut pusher = Pusher::new(&settings(server.url()), Pushes::default());
    let points = message().points();
    let attempt = pusher.send(&message()).await;
    assert_eq!((attempt.accepted, attempt.rejected), (points - 3, 3));
    let said = format!("3 of {points} data points were not taken: too old");
    assert_eq!(attempt.complaint, Some(said));
}

#[tokio::test]
async fn one_that_hangs_is_given_up_and_the_next_is_made() {
    let server = Server::start([Reply::Silence, ok()]).await;
    let mut settings = settings(server.url());
    settings.target.timeout = Duration::from_millis(500);
    let told = Told::default();
    let (pushes, task) = begin(&settings, &told);
    let sends = after(&pushes, 2).await;
    assert!(sends.failed == 1 && sends.ok >= 1, "{sends:?}");
    let asked = told.asked.load(Ordering::Relaxed);
    assert!(asked >= 2, "newer numbers each time");
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_not_tried_again_before_the_next_interval() {
    let told = Told {
        gone: true,
        ..Told::default()
    };
    let mut settings = settings("http://127.0.0.1:9".to_owned());
    settings.interval = Duration::from_mins(1);
    let (pushes, task) = begin(&settings, &told);
    for number in 1..5 {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(told.asked.load(Ordering::Relaxed), number);
        sleep(Duration::from_secs(58)).await;
        assert_eq!(told.asked.load(Ordering::Relaxed), number);
        assert_eq!(pushes.until_now().failed, number);
        sleep(Duration::from_secs(1)).await;
    }
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_stands_still_is_a_failure() {
    let told = Told {
        hangs: true,
        ..Told::default()
    };
    let mut settings = settings("http://127.0.0.1:9".to_owned());
    settings.interval = Duration::from_mins(1);
    let (pushes, task) = begin(&settings, &told);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(pushes.until_now().failed, 1);
    task.abort();
}

#[tokio::test]
async fn the_last_push_is_one_and_counted_when_it_is_given_up() {
    let server = Server::start([ok(), Reply::Silence]).await;
    let mut settings = settings(server.url());
    settings.target.timeout = Duration::from_millis(500);
    let pushes = Pushes::default();
    for _ in 0..2 {
        let last = Pusher::new(&settings, pushes.clone());
        last.last(&message()).await;
    }
    let sends = pushes.until_now();
    assert_eq!((sends.ok, sends.failed), (1, 1));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn that_it_fails_and_works_again_is_noted_when_it_begins() {
    let server = Server::start([say(500), say(400), ok(), ok()]).await;
    let mut pusher = Pusher::new(&settings(server.url()), Pushes::default());
    let mut noted = Vec::new();
    for _ in 0..4 {
        let attempt = pusher.send(&message()).await;
        noted.push(pusher.settle(&attempt));
    }
    let begins = "metrics cannot be pushed: ";
    let is_warning = |(level, said): &(Level, String)| {
        *level == Level::Warn && said.starts_with(begins) && said.contains("this is 500")
    };
    assert!(noted[0].as_ref().is_some_and(is_warning), "{noted:?}");
    let again = Some((Level::Info, "metrics are pushed again".to_owned()));
    assert_eq!(noted[1..], [None, again, None]);
}

#[tokio::test]
async fn a_last_push_that_fails_like_those_before_is_not_noted_and_one_elsewhere_is() {
    let server = Server::start([say(500)]).await;
    let settings = settings(server.url());
    let pushes = Pushes::default();
    let another = || Pusher::new(&settings, pushes.clone());
    let mut last = another();
    let attempt = last.send(&message()).await;
    assert!(another().settle(&attempt).is_some());
    assert_eq!(last.settle(&attempt), None);
    let told = Told {
        hangs: true,
        ..Told::default()
    };
    let begun = another();
    let task = tokio::spawn(async move { begun.run(&told).await });
    tokio::task::yield_now().await;
    task.abort();
    assert!(last.settle(&attempt).is_some(), "another collector");
}

#[tokio::test]
async fn what_is_told_has_neither_path_nor_token() {
    let server = Server::start([say(500), Reply::HangUp]).await;
    let url = format!("{}/s3cret", server.url());
    let mut pusher = Pusher::new(&settings(url), Pushes::default());
    for _ in 0..2 {
        pusher.pushes.account().fails = false;
        let attempt = pusher.send(&message()).await;
        let (_, said) = pusher.settle(&attempt).expect("it began to fail");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
