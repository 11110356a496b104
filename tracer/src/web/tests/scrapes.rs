//! One scrape at a time, and each within its deadline.

use tokio::time::Instant;

use super::{super::scrape::DEADLINE, *};

#[tokio::test(start_paused = true)]
async fn who_comes_while_it_is_written_gets_the_same_bytes() {
    let server = Arc::new(start(Told {
        held: true,
        ..Told::default()
    }));
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { server.get("/metrics", "").await })
        })
        .collect();
    settle().await;
    assert_eq!(server.renders(), 1);
    server.source.go.notify_one();
    for client in clients {
        let answer = client.await.expect("an answer");
        assert!(answer.ends_with("\r\n\r\nPrometheus 1"), "{answer}");
    }
    server.source.go.notify_one();
    let next = server.get("/metrics", "").await;
    assert!(
        next.ends_with("\r\n\r\nPrometheus 2"),
        "kept too long: {next}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_other_format_waits_for_its_turn() {
    let server = Arc::new(start(Told {
        held: true,
        ..Told::default()
    }));
    let ask = |headers: &'static str| {
        let server = server.clone();
        tokio::spawn(async move { server.get("/metrics", headers).await })
    };
    let plain = ask("");
    settle().await;
    let open = ask("Accept: application/openmetrics-text\r\n");
    settle().await;
    assert_eq!(server.renders(), 1, "both at once");
    server.source.go.notify_one();
    assert!(plain.await.expect("an answer").ends_with("Prometheus 1"));
    server.source.go.notify_one();
    assert!(open.await.expect("an answer").ends_with("OpenMetrics 2"));
}

#[tokio::test(start_paused = true)]
async fn others_wait_on_though_the_first_hangs_up() {
    let server = Arc::new(start(Told {
        held: true,
        ..Told::default()
    }));
    let mut first = server.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    first.write_all(request).await.expect("sent");
    settle().await;
    let second = {
        let server = server.clone();
        tokio::spawn(async move { server.get("/metrics", "").await })
    };
    settle().await;
    drop(first);
    settle().await;
    server.source.go.notify_one();
    let answer = second.await.expect("an answer");
    assert!(answer.ends_with("Prometheus 1"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_source_is_given_up_in_time_and_asked_again() {
    let server = start(Told {
        held: true,
        ..Told::default()
    });
    let begun = Instant::now();
    let answer = server.get("/metrics", "").await;
    let took = begun.elapsed();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(took >= DEADLINE && took < DEADLINE * 3 / 2, "{took:?}");
    server.source.go.notify_one();
    let answer = server.get("/metrics", "").await;
    assert!(answer.ends_with("\r\n\r\nPrometheus 2"), "{answer}");
}

struct Panics;

impl Source for Panics {
    async fn metrics(&self, _: Format) -> Result<Bytes, String> {
        panic!("on purpose");
    }

    async fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_source_that_panicked() {
    let scrapes = scrape::Scrapes::new(Arc::new(Panics));
    for _ in 0..2 {
        assert!(scrapes.get(Format::Prometheus).await.is_err());
    }
}
