//! OpenTelemetry: alerts as log records, by HTTP with protobuf. Events are not sent.
#![forbid(unsafe_code)]

mod record;

use prost::Message as _;

use crate::{
    delivery::{
        attempt::{Attempt, Sends},
        http::{Answer, Class, Client, Headers, attempt},
        queue::{Message, notices},
        told::Teller,
        worker::Send,
    },
    otlp::{PartialSuccess, Response},
    settings::feed::HttpTarget,
};

const PATH: &str = "/v1/logs";

/// One collector.
pub(in crate::delivery) struct Otlp {
    client: Client,
    teller: Teller,
}

impl Otlp {
    pub(super) fn new(target: &HttpTarget, teller: Teller) -> Self {
        Self {
            client: Client::new(target, Some(PATH)),
            teller,
        }
    }
}

impl Send for Otlp {
    const BATCH: usize = 64;

    async fn send(&mut self, batch: &[Message], _: u64) -> Attempt {
        let request = record::request(&self.teller, &notices(batch));
        post(&mut self.client, &request, batch.len(), "records").await
    }
}

/// Posts a message with so many of `what` in it.
pub(in crate::delivery) async fn post(
    client: &mut Client,
    message: &impl prost::Message,
    number: usize,
    what: &str,
) -> Attempt {
    let body = message.encode_to_vec().into();
    let answer = client.post("application/x-protobuf", Headers::new(), body);
    match answer.await {
        Ok(answer) if answer.class() == Class::Accepted => success(&answer, number, what),
        answer => attempt(answer, number),
    }
}

/// A 200 may say that some of what was sent was not taken, which is not to be tried again.
/// `what`: what that is.
pub(in crate::delivery) fn success(answer: &Answer, messages: usize, what: &str) -> Attempt {
    let response = Response::decode(answer.body.as_slice());
    let Some(PartialSuccess {
        rejected,
        error_message,
    }) = response.unwrap_or_default().partial_success
    else {
        return Attempt::accepted(messages);
    };
    let rejected = usize::try_from(rejected).unwrap_or(0).min(messages);
    if rejected == 0 {
        return Attempt::accepted(messages);
    }
    let why = answer.quoted(&error_message);
    Attempt {
        accepted: messages - rejected,
        rejected,
        sends: Sends {
            partial: 1,
            ..Sends::default()
        },
        complaint: Some(format!(
            "{rejected} of {messages} {what} were not taken: {why}"
        )),
        ..Attempt::default()
    }
}

/// As a collector says it.
#[cfg(test)]
pub(in crate::delivery) fn partial_success(rejected: i64, why: &str) -> impl prost::Message {
    Response {
        partial_success: Some(PartialSuccess {
            rejected,
            error_message: why.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
