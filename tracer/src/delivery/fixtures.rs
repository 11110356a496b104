//! What the tests of all sinks have in common: notices, and a real HTTP server that can be told
//! to misbehave.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{queue::Message, told::Teller};
use crate::{
    alerts::{
        Alert, Evidence, Found, GroupPlace, Identity, Notice, Occasion, Report, Resolution, Sample,
        Situation, State,
    },
    audit::{Kind, Severity},
    event::{Endpoint, Owner, Reason, Time, Verdict},
    pipeline::{Fed, Starvation},
    settings::{feed::HttpTarget, url::Url},
};

/// 2026-09-21T14:13:20Z
const BEGIN: i64 = 1_790_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

pub(crate) fn teller() -> Teller {
    Teller {
        host: "web-1".into(),
        host_id: Some("0123456789abcdef0123456789abcdef".into()),
    }
}

/// The alert of service A, which is number 0; others are in other namespaces.
pub(crate) fn notice(number: u32, occasion: Occasion) -> Notice {
    let over = matches!(occasion, Occasion::Ended | Occasion::OverStill);
    let at = if over {
        BEGIN + 150 * SECOND
    } else {
        BEGIN + 2 * SECOND
    };
    let state = if over {
        State::Resolved {
            at: Time(BEGIN + 150 * SECOND),
            why: Resolution::Recovered,
        }
    } else {
        State::Firing
    };
    Notice {
        occasion,
        alert: Alert {
            identity: identity(number),
            since: Time(BEGIN),
            last: Time(BEGIN + SECOND),
            count: 17,
            evidence: Evidence::Syn(sample()),
            state,
        },
        at: Time(at),
        valid_ns: 240_000_000_000,
    }
}

/// That of the alert for all past the bound, which began.
pub(crate) fn overflow() -> Notice {
    let mut notice = notice(0, Occasion::Began);
    notice.alert.identity = Identity::Overflow;
    notice
}

/// Of something that a look found, which began.
pub(crate) fn finding() -> Notice {
    let mut notice = notice(0, Occasion::Began);
    notice.alert.identity = Identity::Finding(Found {
        id: "no_acceptor-0123abcd".to_owned(),
        rule: Kind::NoAcceptor,
        severity: Severity::Warning,
        netns: "host".to_owned(),
    });
    notice.alert.evidence = Evidence::Finding(Report {
        places: "*:80".to_owned(),
        cause: "Nobody accepts.".to_owned(),
        remedy: "See why.".to_owned(),
    });
    notice
}

/// Of a group whose members starve, which began.
pub(crate) fn starved() -> Notice {
    let mut notice = notice(0, Occasion::Began);
    notice.alert.identity = Identity::Group(GroupPlace {
        netns: "host".to_owned(),
        listener: "*:80".to_owned(),
    });
    let fed = |inode, syns| Fed {
        inode,
        syns,
        fair: 500,
        owners: Arc::default(),
    };
    notice.alert.evidence = Evidence::Group(Starvation {
        members: 2,
        syns: 1_000,
        starving: 1,
        starved: vec![fed(48213, 1)],
        most: fed(48210, 999),
    });
    notice
}

/// Of the alert for that sockpick does not see, which began.
pub(crate) fn blind() -> Notice {
    let mut notice = notice(0, Occasion::Began);
    notice.alert.identity = Identity::Blind;
    notice.alert.evidence = Evidence::Check("its SYN was not seen".to_owned());
    notice
}

pub(crate) fn identity(number: u32) -> Identity {
    Identity::Syns(situation(number))
}

pub(crate) fn situation(number: u32) -> Situation {
    Situation {
        netns: if number == 0 {
            "host".to_owned()
        } else {
            number.to_string()
        },
        verdict: Verdict::Uncovered,
        reason: Some(Reason::RestartGap),
        service: Some("A".to_owned()),
        expected: Some("6.6.6.6:80".to_owned()),
        listener: Some("*:80".to_owned()),
    }
}

pub(crate) fn sample() -> Sample {
    let owner = |pid, unit: &str| Owner {
        pid,
        comm: "nginx".to_owned(),
        exe: Some("/usr/sbin/nginx".to_owned()),
        unit: Some(unit.to_owned()),
        ..Owner::default()
    };
    Sample {
        time: Time(BEGIN + SECOND),
        client: endpoint("203.0.113.7", 40312),
        destination: endpoint("6.6.6.6", 80),
        owners: [owner(342, "nginx-b.service")].into(),
        expected_owners: [owner(191, "nginx-a.service")].into(),
        expected_closed: Some(Time(BEGIN - SECOND / 2)),
        ifname: None,
    }
}

fn endpoint(address: &str, port: u16) -> Endpoint {
    Endpoint {
        address: address.parse().expect("an address"),
        port,
    }
}

pub(crate) fn message(number: u32, occasion: Occasion) -> Message {
    Message::Notice(Arc::new(notice(number, occasion)))
}

pub(crate) fn line(text: &str) -> Message {
    Message::Line(format!("{text}\n").into_bytes().into())
}

pub(crate) fn target(url: impl AsRef<str>) -> HttpTarget {
    HttpTarget {
        url: Url::parse(url.as_ref()).expect("a url"),
        ca_file: None,
        bearer_file: None,
        timeout: Duration::from_secs(20),
    }
}

/// A path of this test's own; what is there is removed.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let name = format!("sockpick-delivery-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a directory for the test");
    path
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Answers: status, further header lines, body.
    Say(u16, &'static str, Vec<u8>),
    /// Answers for so many bytes of body, and hangs up after the first.
    CutBody(usize),
    /// Hangs up without a word.
    HangUp,
    /// Never answers.
    Silence,
    /// Takes so long to say yes.
    Late(Duration),
}

pub(crate) fn ok() -> Reply {
    Reply::Say(200, "", Vec::new())
}

pub(crate) fn say(status: u16) -> Reply {
    Reply::Say(status, "", format!("this is {status}").into_bytes())
}

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let mut found = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// A server whose replies are said beforehand; the last one is repeated.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) async fn start(replies: impl Into<Vec<Reply>>) -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self::start_at(any, replies).await
    }

    pub(crate) async fn start_at(address: SocketAddr, replies: impl Into<Vec<Reply>>) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let server = Self {
            address: listener.local_addr().expect("its address"),
            requests: Arc::default(),
        };
        let requests = Arc::clone(&server.requests);
        let replies = replies.into();
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let reply = replies[number.min(replies.len() - 1)].clone();
                tokio::spawn(serve(stream, reply, Arc::clone(&requests)));
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no test panicked").clone()
    }
}

/// Reads one request, notes it, and does as it is told.
pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: Reply,
    requests: Arc<Mutex<Vec<Request>>>,
) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    requests.lock().expect("no test panicked").push(request);
    let answer = match reply {
        Reply::Say(status, headers, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{headers}\r\n");
            [head.into_bytes(), body].concat()
        }
        Reply::CutBody(length) => {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{{").into_bytes()
        }
        Reply::HangUp => return,
        Reply::Late(wait) => {
            tokio::time::sleep(wait).await;
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
        Reply::Silence => return std::future::pending().await,
    };
    let _ = stream.write_all(&answer).await;
    let _ = stream.shutdown().await;
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        let at = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(at) = at {
            break at + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut request = Request {
        head: String::from_utf8_lossy(&bytes[..end]).into_owned(),
        body: bytes.split_off(end),
    };
    let length = request.header("content-length");
    let length = length.map_or(Some(0), |length| length.parse().ok())?;
    while request.body.len() < length {
        if stream.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}
