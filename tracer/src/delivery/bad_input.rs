//! Answers of servers, damaged: each is understood or a failure, at once when it is there, and
//! what is said of it is short and one line.

use http_body_util::Full;
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use proptest::{prelude::*, test_runner::TestRunner};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split},
    time::timeout,
};

use super::{
    attempt::Attempt,
    http::{Answer, attempt, send},
    sink::otlp,
};
use crate::damaged::damaged;

const REAL: [&str; 6] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n\
     bad label pair: x",
    "HTTP/1.1 429 Too Many Requests\r\nretry-after: Mon, 21 Sep 2026 14:00:30 GMT\r\n\
     content-length: 4\r\n\r\nslow",
    "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nConnection: close\r\n\r\nnot yet",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 307 Temporary Redirect\r\nlocation: /x\r\n\r\n",
];
const WORDS: [&str; 18] = [
    "\r\n",
    "\n",
    "\r\n\r\n",
    "\0",
    "\u{1b}[2J",
    "\u{ff}",
    "HTTP/1.1 ",
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "content-length: 5\r\n",
    "content-length: 18446744073709551615\r\n",
    "transfer-encoding: chunked\r\n",
    "retry-after: 18446744073709551615\r\n",
    "retry-after: Fri, 31 Dec 9999 23:59:59 -2359\r\n",
    "ffffffffffffffff\r\n",
    "0\r\n\r\n",
    "\u{7f}",
    "\u{8}\u{7f}\u{12}",
];
/// Messages that were sent together.
const SENT: usize = 64;

/// With a partial success in it.
fn partial() -> Vec<u8> {
    let body = otlp::partial_success(3, "too old, three of them").encode_to_vec();
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    [head.into_bytes(), body].concat()
}

async fn answered(bytes: &[u8]) -> Result<Answer, String> {
    let (client, server) = duplex(4096);
    let (mut requests, mut answers) = split(server);
    let request = Request::post("/x").header("host", "x");
    let request = request.body(Full::new(Bytes::from("hello")));
    let request = request.expect("a request");
    let server = async {
        // What comes before the request is an answer to nothing.
        let mut part = [0; 1024];
        let _ = requests.read(&mut part).await;
        let _ = answers.write_all(bytes).await;
        let _ = answers.shutdown().await;
    };
    tokio::join!(send(TokioIo::new(client), request), server).0
}

fn is_well_told(attempt: &Attempt) -> Result<(), TestCaseError> {
    let told = attempt.failure.as_ref().map(|failure| &failure.text);
    for text in told.into_iter().chain(&attempt.complaint) {
        prop_assert!(!text.contains(char::is_control), "{}", text);
        prop_assert!(text.chars().count() < 400, "{}", text);
    }
    if attempt.failure.is_none() {
        prop_assert_eq!(attempt.done(), SENT);
    }
    Ok(())
}

#[test]
fn a_damaged_answer_is_understood_or_a_failure() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let real = REAL.map(|text| text.as_bytes().to_vec());
    let real = real.into_iter().chain([partial()]).collect();
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&damaged(real, &WORDS), |bytes| {
        let second = std::time::Duration::from_secs(1);
        let answer = runtime.block_on(async { timeout(second, answered(&bytes)).await });
        match answer.expect("no waiting for one who has gone") {
            Ok(answer) => {
                prop_assert!(answer.body.len() <= bytes.len());
                is_well_told(&otlp::success(&answer, SENT, "records"))?;
                is_well_told(&attempt(Ok(answer), SENT))?;
            }
            Err(failure) => prop_assert!(failure.len() < 400, "{}", failure),
        }
        Ok(())
    });
    run.expect("every answer");
}

proptest! {
    #[test]
    fn a_damaged_partial_success_counts_what_was_sent(
        bytes in damaged(vec![otlp::partial_success(3, "too old").encode_to_vec()], &WORDS)
    ) {
        let answer = Answer::of(200, bytes);
        is_well_told(&otlp::success(&answer, SENT, "records"))?;
    }
}
