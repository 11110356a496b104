//! The endpoints as clients meet them: over real sockets, by the rules and against them.

mod bad_input;
mod hostile;
mod peers;
mod scrapes;
mod sockets;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use hyper::body::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::{metrics::Format, settings::feed::Listen};

/// A source that does as it is told.
struct Told {
    renders: AtomicU32,
    /// Whether a render waits until it is let go.
    held: bool,
    go: Notify,
    health: Result<(), String>,
    ready: Result<(), String>,
    bytes: usize,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            renders: AtomicU32::new(0),
            held: false,
            go: Notify::new(),
            health: Ok(()),
            ready: Ok(()),
            bytes: 0,
        }
    }
}

impl Source for Told {
    async fn metrics(&self, format: Format) -> Result<Bytes, String> {
        let number = self.renders.fetch_add(1, Ordering::Relaxed) + 1;
        if self.held {
            self.go.notified().await;
        }
        let padding = "#".repeat(self.bytes);
        Ok(format!("{format:?} {number}{padding}").into())
    }

    async fn health(&self) -> Result<(), String> {
        self.health.clone()
    }

    async fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }
}

/// A server on a port of its own, ended with this.
struct Server {
    at: SocketAddr,
    source: Arc<Told>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start(source: Told) -> Server {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listening = Listening::bind(&Listen::Tcp(loopback)).expect("a socket");
    let at = listening.address().expect("an address");
    let source = Arc::new(source);
    let task = tokio::spawn(serve(vec![Arc::new(listening)], source.clone()));
    Server { at, source, task }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.expect("a connection")
    }

    /// Everything that is answered to these bytes until the connection ends.
    async fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.expect("sent");
        rest(&mut stream).await
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        self.send(request).await
    }

    fn renders(&self) -> u32 {
        self.source.renders.load(Ordering::Relaxed)
    }
}

/// What comes until the connection ends, be it by a reset.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut part).await {
        answer.extend_from_slice(&part[..length]);
    }
    String::from_utf8(answer).expect("text")
}

/// Lets everybody get on until nobody can: with the clock paused, no rest ends before.
async fn settle() {
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn both_formats_are_served_as_asked_for() {
    let server = start(Told::default());
    let plain = server.get("/metrics", "").await;
    assert!(plain.starts_with("HTTP/1.1 200 OK\r\n"), "{plain}");
    assert!(plain.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(plain.ends_with("\r\n\r\nPrometheus 1"), "{plain}");
    let accept = "Accept: text/plain;q=0.2\r\nAccept: application/openmetrics-text\r\n";
    let open = server.get("/metrics", accept).await;
    let media = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(open.contains(media), "{open}");
    assert!(open.ends_with("\r\n\r\nOpenMetrics 2"), "{open}");
    assert!(!open.to_ascii_lowercase().contains("\r\nserver:"));
}

#[tokio::test]
async fn a_failure_is_told_with_its_reason() {
    let server = start(Told {
        ready: Err("no self-check was seen for 3 m".into()),
        ..Told::default()
    });
    let health = server.get("/healthz", "").await;
    assert!(health.starts_with("HTTP/1.1 200 OK\r\n"), "{health}");
    assert!(health.ends_with("\r\n\r\nok\n"), "{health}");
    let ready = server.get("/readyz", "").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.ends_with("\r\n\r\nno self-check was seen for 3 m\n"));
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = start(Told::default());
    let head = "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = server.send(head).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-length: 12\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn nothing_else_is_served() {
    let server = start(Told::default());
    for path in ["/", "/metrics/", "/metricsx", "/debug/pprof", "/../metrics"] {
        let answer = server.get(path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let request = format!("{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = server.send(request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(
            answer.contains("allow: GET, HEAD\r\n"),
            "{method}: {answer}"
        );
    }
    assert_eq!(server.renders(), 0);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = start(Told::default());
    let one = |path: &str, end: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n");
    let three =
        one("/healthz", "") + &one("/nothing", "") + &one("/metrics", "Connection: close\r\n");
    let answer = server.send(three).await;
    let lines = answer.lines().filter(|line| line.contains("HTTP/1.1"));
    // A body without a newline is followed by the next answer at once.
    let codes: Vec<&str> = lines.filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(codes, ["200", "404", "200"], "{answer}");
    assert!(answer.ends_with("Prometheus 1"));
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request() {
    let server = start(Told::default());
    let mut stream = server.connect().await;
    for number in 1..=3 {
        let request = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        while !answer.ends_with(&format!("Prometheus {number}")) {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).await.expect("an answer");
            assert!(length > 0, "{answer}");
            answer += &String::from_utf8_lossy(&part[..length]);
        }
    }
}
