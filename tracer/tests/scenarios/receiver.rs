//! An HTTP server that is told of alerts, where the daemon runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::netns::Netns;

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// That it took the alerts.
    Taken,
    /// A refusal that has all of the request in it, secrets included.
    Repeated,
}

/// A server, until the process ends.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// At this port of loopback; 0 for any.
    pub(crate) fn start(port: u16, answer: Answer) -> Result<Self> {
        let listener = Netns::host()?.inside(|| Ok(TcpListener::bind(("127.0.0.1", port))?))?;
        let receiver = Self {
            address: listener.local_addr()?,
            requests: Arc::default(),
        };
        let requests = Arc::clone(&receiver.requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Who hangs up tells nothing.
                let _ = serve(stream, answer, &requests);
            }
        });
        Ok(receiver)
    }

    /// Everything it was sent, as text.
    pub(crate) fn requests(&self) -> Vec<String> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The services whose alerts began, in order, as a webhook tells them.
    pub(crate) fn began(&self) -> Vec<String> {
        let requests = self.requests();
        let bodies = requests
            .iter()
            .filter_map(|text| text.split_once("\r\n\r\n"));
        let told = bodies.filter_map(|(_, body)| serde_json::from_str::<Value>(body).ok());
        let notices = told.flat_map(|told| told["notices"].as_array().cloned().unwrap_or_default());
        let began = notices.filter(|notice| notice["alert"] == "began");
        began
            .filter_map(|notice| notice["service"].as_str().map(ToOwned::to_owned))
            .collect()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, requests: &Mutex<Vec<String>>) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = read(&mut stream)?;
    let (status, body) = match answer {
        Answer::Taken => ("200 OK", ""),
        Answer::Repeated => ("401 Unauthorized", &*request),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let mut requests = requests.lock().unwrap_or_else(PoisonError::into_inner);
    requests.push(request);
    Ok(())
}

/// One request to its end.
fn read(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if is_whole(&text) {
            return Ok(text.into_owned());
        }
        let length = stream.read(&mut part)?;
        anyhow::ensure!(length > 0, "it hung up");
        bytes.extend_from_slice(&part[..length]);
    }
}

fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let mut headers = head.lines().filter_map(|line| line.split_once(": "));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.parse().ok());
    body.len() >= length.unwrap_or(0)
}
