//! Any HTTP server: notices as JSON, signed if a secret is given.
#![forbid(unsafe_code)]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use hyper::{
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use ring::hmac;
use serde::Serialize;

use crate::{
    alerts::Notice,
    delivery::{
        attempt::{Attempt, Failure},
        http::{Answer, Client, Headers, attempt, secret},
        json::{Told, told},
        queue::{Message, notices},
        told::Teller,
        worker::Send,
    },
    settings::feed::HttpTarget,
};

/// The header with the signature of the body.
const SIGNATURE: HeaderName = HeaderName::from_static("x-sockpick-signature");

/// Version of the body's shape.
const VERSION: u32 = 1;

/// One server.
pub(in crate::delivery) struct Webhook {
    client: Client,
    secret_file: Option<PathBuf>,
    teller: Teller,
}

#[derive(Debug, Serialize)]
struct Body<'a> {
    version: u32,
    host: &'a str,
    notices: Vec<Told<'a>>,
}

impl Webhook {
    pub(super) fn new(target: &HttpTarget, secret_file: Option<PathBuf>, teller: Teller) -> Self {
        Self {
            client: Client::new(target, None),
            secret_file,
            teller,
        }
    }

    async fn post(&mut self, notices: &[&Notice]) -> Result<Answer, Failure> {
        let body = Body {
            version: VERSION,
            host: &self.teller.host,
            notices: notices
                .iter()
                .map(|notice| told(&self.teller, notice))
                .collect(),
        };
        let body = serde_json::to_vec(&body);
        let body = body.map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        let body = Bytes::from(body);
        let headers = signed(self.secret_file.as_deref(), body.clone());
        let answer = self.client.post_with("application/json", headers, body);
        answer.await
    }
}

impl Send for Webhook {
    const BATCH: usize = 64;

    async fn send(&mut self, batch: &[Message], _: u64) -> Attempt {
        attempt(self.post(&notices(batch)).await, batch.len())
    }
}

/// The signature's header, if a secret is given.
async fn signed(secret_file: Option<&Path>, body: Bytes) -> Result<Headers, String> {
    let Some(file) = secret_file else {
        return Ok(Headers::new());
    };
    Ok(vec![(SIGNATURE, signature(&secret(file).await?, &body))])
}

/// `sha256=` and HMAC-SHA256 of the body in hexadecimal digits.
fn signature(secret: &str, body: &[u8]) -> HeaderValue {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(&key, body).as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
