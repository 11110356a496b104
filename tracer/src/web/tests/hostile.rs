//! Clients that are slow, greedy, confused or many.

use proptest::prelude::*;
use tokio::time::Instant;

use super::{
    super::accept::{CONNECTION_LASTS, HEADERS_WITHIN, LAST_ANSWER_WITHIN},
    *,
};

#[tokio::test(start_paused = true)]
async fn slow_headers_end_the_connection_in_time() {
    let server = start(Told::default());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /metrics HT").await.expect("sent");
    let begun = Instant::now();
    let answer = rest(&mut stream).await;
    let took = begun.elapsed();
    assert!(
        took >= HEADERS_WITHIN && took < 2 * HEADERS_WITHIN,
        "{took:?}"
    );
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(server.renders(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_header_at_a_time_is_not_waited_for() {
    let server = start(Told::default());
    let mut stream = server.connect().await;
    let begun = Instant::now();
    let start = b"GET /metrics HTTP/1.1\r\n";
    stream.write_all(start).await.expect("sent");
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if stream.write_all(b"X: y\r\n").await.is_err() {
            break;
        }
        assert!(begun.elapsed() < 3 * HEADERS_WITHIN, "still open");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_ends() {
    let server = start(Told::default());
    let mut stream = server.connect().await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let begun = Instant::now();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(begun.elapsed() < 2 * HEADERS_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_is_not_kept() {
    // More than any buffer between the two takes.
    let server = start(Told {
        bytes: 64 << 20,
        ..Told::default()
    });
    let mut stream = server.connect().await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    tokio::time::sleep(CONNECTION_LASTS + 2 * LAST_ANSWER_WITHIN).await;
    let answer = rest(&mut stream).await;
    assert!(answer.len() < 64 << 20, "the whole answer was waited for");
}

#[tokio::test]
async fn large_headers_are_refused() {
    let server = start(Told::default());
    let large = format!("X-Large: {}\r\n", "x".repeat(9000));
    let answer = server.get("/metrics", &large).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "X: y\r\n".repeat(100);
    let answer = server.get("/metrics", &many).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let path = format!("/{}", "x".repeat(20_000));
    let answer = server.get(&path, "").await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(server.renders(), 0);
}

#[tokio::test]
async fn bodies_are_not_taken() {
    let server = start(Told::default());
    for body in [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Content-Length: 1000000000000\r\n\r\n",
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{body}");
        let answer = server.send(request).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    assert_eq!(server.renders(), 0);
}

#[tokio::test]
async fn two_lengths_are_no_second_request() {
    let server = start(Told::default());
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\
         Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = server.send(smuggled).await;
    assert!(!answer.contains("200"), "{answer}");
    assert_eq!(server.renders(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_leave_room_once_they_end() {
    let server = start(Told::default());
    let mut streams = Vec::new();
    for _ in 0..1000 {
        streams.push(server.connect().await);
    }
    settle().await;
    let mut closed = 0;
    for stream in &mut streams {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut byte));
        closed += usize::from(matches!(read.await, Ok(Ok(0) | Err(_))));
    }
    assert_eq!(closed, 1000 - MOST_CONNECTIONS);
    drop(streams);
    settle().await;
    let answer = server.get("/metrics", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// What looks like requests, and what does not.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "GET",
        " ",
        "/metrics",
        "/",
        "HTTP/1.1",
        "\r\n",
        "\n",
        "Host:",
        "Content-Length: ",
        "-1",
        "99999999999999999999",
        "Transfer-Encoding: chunked",
        "\0",
        "%00",
        "PRI * HTTP/2.0",
    ]);
    let likely = prop::collection::vec(words, 0..30).prop_map(|words| words.concat().into_bytes());
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), likely]
}

#[test]
fn garbage_upsets_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let server = runtime.block_on(async { start(Told::default()) });
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let run = runner.run(&garbage(), |bytes| {
        runtime.block_on(async {
            server.send(&bytes).await;
            let answer = server.get("/healthz", "").await;
            prop_assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer);
            Ok(())
        })
    });
    run.expect("served");
}
