//! The least of HTTP that a test needs: questions to servers, and one that keeps what it is sent.

use std::{
    fmt::{Debug, Write as _},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// A server may take so long to come to what is waited for; it takes a second or two.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again and again until there is an answer. Fails with what there was instead.
pub(crate) fn until<T, E: Debug>(what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(instead) => assert!(
                began.elapsed() < PATIENCE,
                "waited in vain for {what}: {instead:?}"
            ),
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// The body of the answer to a GET, and its status.
pub(crate) fn get(at: SocketAddr, path: &str) -> io::Result<(String, String)> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // By HTTP/1.0 the body has no chunks.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {at}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.lines().next().unwrap_or_default();
    Ok((status.to_owned(), body.to_owned()))
}

/// The answer in JSON, whatever its status.
pub(crate) fn json(at: SocketAddr, path: &str) -> Result<Value, String> {
    let (status, body) = get(at, path).map_err(|error| error.to_string())?;
    serde_json::from_str(&body).map_err(|error| format!("{status}: {error}: {body}"))
}

/// A text as it may be in a query.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(byte.into());
        } else {
            // A string takes everything.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A receiver of webhooks.
pub(crate) struct Receiver {
    pub(crate) at: SocketAddr,
    bodies: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("its address");
        let bodies = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&bodies);
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A sender that breaks off sends again.
                if let Ok(one) = stream.and_then(receive) {
                    kept.lock().expect("nobody panicked").push(one);
                }
            }
        });
        Self { at, bodies }
    }

    /// What came to a path until now.
    pub(crate) fn received(&self, path: &str) -> Vec<Value> {
        let bodies = self.bodies.lock().expect("nobody panicked");
        let of_path = bodies.iter().filter(|(to, _)| to == path);
        of_path.map(|(_, body)| body.clone()).collect()
    }
}

/// Path and body of a request, which is answered by 200.
fn receive(mut stream: TcpStream) -> io::Result<(String, Value)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..length]);
        if let Some(request) = whole(&bytes) {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")?;
            return Ok(request);
        }
    }
}

/// The request, if all of it is there.
fn whole(bytes: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let path = head.split(' ').nth(1)?;
    // A JSON text is an object or an array: a part of it is none.
    let body = serde_json::from_str(body).ok()?;
    Some((path.to_owned(), body))
}
