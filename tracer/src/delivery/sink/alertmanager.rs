//! Prometheus' Alertmanager, API v2.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    alerts::{Alert, Notice},
    delivery::{
        attempt::{Attempt, Failure, Sends},
        http::{Answer, Client, Headers, attempt},
        queue::{Message, notices},
        told::{Kind, Teller, kind, over, words},
        worker::Send,
    },
    event::Time,
    settings::feed::HttpTarget,
    words::located,
};

const PATH: &str = "/api/v2/alerts";

/// Most alerts of a request.
const BATCH: usize = 64;

/// One Alertmanager.
pub(in crate::delivery) struct Alertmanager {
    client: Client,
    teller: Teller,
}

impl Alertmanager {
    pub(super) fn new(target: &HttpTarget, teller: Teller) -> Self {
        Self {
            client: Client::new(target, Some(PATH)),
            teller,
        }
    }

    async fn post(&mut self, notices: &[&Notice]) -> Result<Answer, Failure> {
        let alerts = notices.iter().map(|notice| posted(&self.teller, notice));
        let body = serde_json::to_vec(&alerts.collect::<Vec<_>>());
        let body = body.map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        let answer = self
            .client
            .post("application/json", Headers::new(), body.into());
        answer.await
    }

    /// A 400 may be for one bad alert among others, which were taken: each is sent again alone.
    async fn singly(&mut self, notices: &[&Notice]) -> Attempt {
        let mut all = Attempt {
            sends: Sends {
                partial: 1,
                ..Sends::default()
            },
            ..Attempt::default()
        };
        for notice in notices {
            let answer = self.post(&[notice]).await;
            all.then(attempt(answer, 1));
            if all.failure.is_some() {
                break;
            }
        }
        all
    }
}

impl Send for Alertmanager {
    const BATCH: usize = BATCH;

    async fn send(&mut self, batch: &[Message], _: u64) -> Attempt {
        let notices = notices(batch);
        match self.post(&notices).await {
            Ok(answer) if answer.status.as_u16() == 400 && notices.len() > 1 => {
                self.singly(&notices).await
            }
            answer => attempt(answer, batch.len()),
        }
    }
}

/// As the API has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: BTreeMap<&'static str, &'a str>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Time,
    ends_at: Time,
}

fn posted<'a>(teller: &'a Teller, notice: &'a Notice) -> Posted<'a> {
    let Notice {
        alert,
        at,
        valid_ns,
        ..
    } = notice;
    let valid = i64::try_from(*valid_ns).unwrap_or(i64::MAX);
    let end = over(alert).map_or(Time(at.0.saturating_add(valid)), |(at, _)| at);
    Posted {
        labels: labels(teller, alert),
        annotations: annotations(alert),
        // A clock that was set back has the beginning in the future. An end before that would be
        // refused, and one as late would have the alert go on until then.
        starts_at: alert.since.min(*at).min(end),
        ends_at: end,
    }
}

/// What makes it the alert that it is; empty ones are none to Alertmanager either.
fn labels<'a>(teller: &'a Teller, alert: &'a Alert) -> BTreeMap<&'static str, &'a str> {
    let Kind {
        name,
        is_critical,
        about,
    } = kind(alert);
    let severity = if is_critical { "critical" } else { "warning" };
    let labels = [
        ("alertname", name),
        ("severity", severity),
        ("host", &teller.host),
    ];
    let labels = labels.into_iter().chain(about.pairs());
    labels.filter(|(_, value)| !value.is_empty()).collect()
}

fn annotations(alert: &Alert) -> BTreeMap<&'static str, String> {
    let words = words(alert);
    let annotations = [
        ("summary", words.title),
        ("description", words.text),
        ("count", alert.count.to_string()),
    ];
    let of_syn = alert.sample().map(|sample| {
        [
            ("client", sample.client.to_string()),
            ("destination", sample.destination.to_string()),
            ("owners", located(&sample.owners)),
        ]
    });
    let annotations = annotations.into_iter().chain(of_syn.into_iter().flatten());
    annotations.filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests;
