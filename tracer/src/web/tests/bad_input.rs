//! Requests that were damaged, in whatever pieces they come: each conversation ends by itself,
//! with answers of the protocol and no more of them than there may be requests.

use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use tokio::{
    io::{duplex, split},
    time::Instant,
};

use super::{
    super::{
        accept::{self, CONNECTION_LASTS, LAST_ANSWER_WITHIN},
        routes::Routes,
        scrape::Scrapes,
    },
    *,
};
use crate::damaged::damaged;

const REAL: [&str; 5] = [
    "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0,\
     text/plain;q=0.5,*/*;q=0.1\r\nConnection: close\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nHEAD /readyz HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "GET http://x:9464/readyz?x=y HTTP/1.0\r\n\r\n",
];
const WORDS: [&str; 22] = [
    "\r\n",
    "\n",
    "\r\n\r\n",
    " ",
    ":",
    "\0",
    "\u{ff}",
    "%00",
    "GET",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "CONNECT x:1 HTTP/1.1\r\n\r\n",
    "HTTP/1.1",
    "Content-Length: 0\r\n",
    "Content-Length: 18446744073709551616\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: h2c\r\n",
    "Connection: keep-alive\r\n",
    "Accept: ",
    "ffffffffffffffff\r\n",
    ";q=0.",
];

/// Most bytes of an answer: none is longer than two hundred and its headers.
const LONGEST: usize = 1024;
/// Fewest bytes of a request: `GET / HTTP/1.1`, and two ends of lines.
const SHORTEST: usize = 16;

/// What is answered to these pieces, and how long it took by the clock of the test.
async fn talk(routes: &Routes<Told>, bytes: &[u8], pieces: &[usize]) -> (String, Duration) {
    let (client, server) = duplex(4096);
    let (mut answers, mut requests) = split(client);
    let begun = Instant::now();
    let ask = async {
        let mut rest = bytes;
        for &length in pieces.iter().cycle() {
            let (piece, after) = rest.split_at(length.min(rest.len()));
            // Whoever has answered with an error reads no more.
            if piece.is_empty() || requests.write_all(piece).await.is_err() {
                break;
            }
            rest = after;
        }
        let _ = requests.shutdown().await;
    };
    let mut answer = Vec::new();
    let ((), (), read) = tokio::join!(
        accept::serve(server, routes),
        ask,
        answers.read_to_end(&mut answer)
    );
    read.expect("memory does not fail");
    let answer = String::from_utf8(answer).expect("text");
    (answer, begun.elapsed())
}

/// The statuses of the answers.
fn statuses(answers: &str) -> Vec<&str> {
    let lines = answers.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)).collect()
}

#[test]
fn a_damaged_conversation_ends_with_answers() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let source = Arc::new(Told::default());
    let scrapes = Arc::new(Scrapes::new(source.clone()));
    let routes = Routes { source, scrapes };
    let real = REAL.map(|text| text.as_bytes().to_vec()).into();
    let input = (damaged(real, &WORDS), vec(1..400usize, 1..4));
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&input, |(bytes, pieces)| {
        let (answers, took) = runtime.block_on(talk(&routes, &bytes, &pieces));
        prop_assert!(took <= CONNECTION_LASTS + LAST_ANSWER_WITHIN, "{:?}", took);
        let statuses = statuses(&answers);
        let most = bytes.len() / SHORTEST + 1;
        prop_assert!(statuses.len() <= most, "{} requests: {}", most, answers);
        prop_assert!(answers.len() <= most * LONGEST, "{}", answers);
        prop_assert!(
            answers.is_empty() || answers.starts_with("HTTP/1."),
            "{}",
            answers
        );
        for status in statuses {
            let known = ["200", "400", "404", "405", "413", "414", "431"];
            prop_assert!(known.contains(&status), "{}", answers);
        }
        Ok(())
    });
    run.expect("every conversation ended");
}
