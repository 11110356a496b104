//! What a server said.
#![forbid(unsafe_code)]

use std::{fmt, time::Duration};

use http_body_util::BodyExt as _;
use hyper::{
    Response, StatusCode,
    body::Incoming,
    header::{HeaderMap, RETRY_AFTER},
};
use jiff::{Timestamp, fmt::rfc2822};

use crate::{
    delivery::attempt::{Attempt, Failure},
    words::printable,
};

/// Most bytes of an answer's body that are read; the rest is left.
const LARGEST_BODY: usize = 64 * 1024;

/// Most characters of a body that an error repeats.
const LONGEST_QUOTE: usize = 200;

/// A server's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    /// At most its first 64 KiB.
    pub(crate) body: Vec<u8>,
    hidden: Hidden,
}

/// What is not quoted of a server, though it may say it.
#[derive(Default)]
struct Hidden(Vec<String>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// What an answer means for what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Taken.
    Accepted,
    /// Not now.
    Later,
    /// Not ever.
    Rejected,
}

impl Answer {
    /// Reads all that is of interest.
    ///
    /// # Errors
    /// If the body breaks off.
    pub(super) async fn read(response: Response<Incoming>) -> Result<Self, String> {
        let (head, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
            if let Some(data) = frame.data_ref() {
                let room = LARGEST_BODY - body.len();
                body.extend_from_slice(&data[..data.len().min(room)]);
            }
            if body.len() == LARGEST_BODY {
                break;
            }
        }
        Ok(Self {
            status: head.status,
            retry_after: retry_after(&head.headers, Timestamp::now()),
            body,
            hidden: Hidden::default(),
        })
    }

    /// One made up.
    #[cfg(test)]
    pub(crate) fn of(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status"),
            retry_after: None,
            body: body.into(),
            hidden: Hidden::default(),
        }
    }

    /// 2xx, 429 and 5xx, all others.
    pub(crate) fn class(&self) -> Class {
        match self.status.as_u16() {
            200..=299 => Class::Accepted,
            429 | 500..=599 => Class::Later,
            _ => Class::Rejected,
        }
    }

    /// Status and the body's beginning, on one line.
    pub(crate) fn text(&self) -> String {
        let body = self.quoted(&String::from_utf8_lossy(&self.body));
        let hint = match self.status.as_u16() {
            300..=399 => ", and redirects are not followed: configure the url it is to go to",
            401 | 403 => ", see bearer_file",
            _ => "",
        };
        let separator = if body.is_empty() { "" } else { ": " };
        format!("answered {}{hint}{separator}{body}", self.status)
    }

    /// What the server said, as it may be repeated: on one line, cut, and without secrets.
    pub(crate) fn quoted(&self, text: &str) -> String {
        let mut text = text.trim().to_owned();
        for secret in &self.hidden.0 {
            text = text.replace(secret, "…");
        }
        printable(&text).chars().take(LONGEST_QUOTE).collect()
    }

    /// Keeps a secret from being quoted, should the server repeat it.
    pub(super) fn redact(&mut self, secret: &str) {
        let Hidden(hidden) = &mut self.hidden;
        hidden.push(secret.to_owned());
        // One may be a part of another.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }
}

/// What an answer says of so many messages that were sent together.
pub(crate) fn attempt(answer: Result<Answer, Failure>, messages: usize) -> Attempt {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Attempt::failed(failure),
    };
    match answer.class() {
        Class::Accepted => Attempt::accepted(messages),
        Class::Rejected => Attempt::rejected(messages, answer.text()),
        Class::Later => Attempt::failed(Failure {
            text: answer.text(),
            retry_after: answer.retry_after,
            is_final: false,
        }),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    let wait = date.as_second().saturating_sub(now.as_second());
    u64::try_from(wait).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::of(status, body)
    }

    #[test]
    fn only_429_and_5xx_are_worth_another_try() {
        for (status, class) in [
            (200, Class::Accepted),
            (204, Class::Accepted),
            (301, Class::Rejected),
            (400, Class::Rejected),
            (408, Class::Rejected),
            (429, Class::Later),
            (500, Class::Later),
            (503, Class::Later),
        ] {
            assert_eq!(answer(status, "").class(), class, "{status}");
        }
    }

    #[test]
    fn a_body_is_quoted_on_one_line_and_cut() {
        let text = answer(400, &format!("bad\n\u{1b}[2Jlabel {}", "x".repeat(1000))).text();
        assert!(text.starts_with("answered 400 Bad Request: bad"), "{text}");
        assert!(!text.contains(char::is_control));
        assert!(text.chars().count() < 250);
    }

    #[test]
    fn a_secret_that_comes_back_is_not_kept() {
        let mut answer = answer(401, "no such token: s3cret");
        answer.redact("s3cret");
        assert!(!answer.text().contains("s3cret"));
        answer.redact("s3cret-and-more");
        answer.body = b"no such tokens: s3cret, s3cret-and-more".to_vec();
        assert!(answer.text().ends_with("no such tokens: …, …"));
        assert!(!format!("{:?}", answer.hidden).contains("s3cret"));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-09-21T14:00:00Z".parse().expect("a time");
        for (text, seconds) in [
            ("120", Some(120)),
            ("Mon, 21 Sep 2026 14:00:30 GMT", Some(30)),
            ("Mon, 21 Sep 2026 13:00:00 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().expect("a header"));
            let found = retry_after(&headers, now);
            assert_eq!(found, seconds.map(Duration::from_secs), "{text}");
        }
    }
}
