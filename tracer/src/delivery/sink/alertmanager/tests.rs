use super::*;
use crate::{
    alerts::{Evidence, Identity, Occasion, Situation, State},
    delivery::fixtures::{
        Server, blind, finding, message, notice, ok, overflow, sample, say, situation, starved,
        target, teller,
    },
};

async fn sent(server: &Server, batch: &[Message]) -> Attempt {
    let mut sink = Alertmanager::new(&target(server.url()), teller());
    sink.send(batch, 0).await
}

fn began(number: u32) -> Vec<Message> {
    (0..number)
        .map(|number| message(number, Occasion::Began))
        .collect()
}

#[tokio::test]
async fn a_request_is_as_the_page_shows_it() {
    let server = Server::start([ok()]).await;
    let batch = [message(0, Occasion::Began), message(0, Occasion::Ended)];
    assert_eq!(sent(&server, &batch).await, Attempt::accepted(2));
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /api/v2/alerts HTTP/1.1");
    let text = serde_json::to_string_pretty(&requests[0].json()).expect("JSON");
    insta::assert_snapshot!(text);
    crate::delivery::tests::on_the_page("alertmanager", &text);
}

#[test]
fn times_never_move_what_began_and_always_have_an_end() {
    let teller = teller();
    let mut lasts = notice(0, Occasion::Lasts);
    let posted_first = posted(&teller, &lasts);
    assert_eq!(posted_first.starts_at, lasts.alert.since);
    assert_eq!(posted_first.ends_at.0, lasts.at.0 + 240_000_000_000);
    lasts.at.0 += 60_000_000_000;
    assert_eq!(posted(&teller, &lasts).starts_at, lasts.alert.since);
    let ended = notice(0, Occasion::Ended);
    let State::Resolved { at, .. } = ended.alert.state else {
        panic!("it is over");
    };
    assert_eq!(posted(&teller, &ended).ends_at, at);
    let mut still = notice(0, Occasion::OverStill);
    still.at.0 += 600_000_000_000;
    assert_eq!(
        posted(&teller, &still).ends_at,
        at,
        "told later, over since then"
    );
}

#[test]
fn a_clock_that_was_set_back_keeps_no_alert_alive() {
    let teller = teller();
    let mut ended = notice(0, Occasion::Ended);
    let end = posted(&teller, &ended).ends_at;
    ended.alert.since.0 += 3_600_000_000_000;
    let told = posted(&teller, &ended);
    assert_eq!((told.starts_at, told.ends_at), (end, end));

    let mut lasts = notice(0, Occasion::Lasts);
    lasts.alert.since.0 += 3_600_000_000_000;
    let told = posted(&teller, &lasts);
    assert_eq!(told.starts_at, lasts.at);
    assert!(told.ends_at > lasts.at && told.ends_at < lasts.alert.since);
}

#[test]
fn what_changes_while_it_lasts_is_no_label() {
    let teller = teller();
    let first = notice(0, Occasion::Began);
    let mut later = notice(0, Occasion::Lasts);
    later.alert.count = 9999;
    let mut other = sample();
    other.client.port = 1;
    other.owners = [].into();
    later.alert.evidence = Evidence::Syn(other);
    assert_eq!(labels(&teller, &first.alert), labels(&teller, &later.alert));
    later.alert.identity = Identity::Syns(Situation {
        service: None,
        listener: None,
        ..situation(0)
    });
    let labels = labels(&teller, &later.alert);
    assert!(!labels.contains_key("service") && !labels.contains_key("listener"));
}

#[test]
fn the_alert_for_all_past_the_bound_has_a_name_of_its_own_and_no_verdict() {
    let (teller, overflow) = (teller(), overflow());
    let labels = labels(&teller, &overflow.alert);
    let expected = [
        ("alertname", "SockpickTooManyAlerts"),
        ("host", "web-1"),
        ("severity", "warning"),
    ];
    assert_eq!(labels, BTreeMap::from(expected));
}

#[test]
fn that_sockpick_does_not_see_has_a_name_of_its_own_and_no_client() {
    let (teller, blind) = (teller(), blind());
    let labels = labels(&teller, &blind.alert);
    let expected = [
        ("alertname", "SockpickBlind"),
        ("host", "web-1"),
        ("severity", "critical"),
    ];
    assert_eq!(labels, BTreeMap::from(expected));
    let annotations = annotations(&blind.alert);
    let keys: Vec<&str> = annotations.keys().copied().collect();
    assert_eq!(keys, ["count", "description", "summary"]);
}

#[test]
fn a_group_has_its_place_and_wakes_nobody() {
    let teller = teller();
    let starved = starved();
    let labels = labels(&teller, &starved.alert);
    let expected = [
        ("alertname", "SockpickStarved"),
        ("host", "web-1"),
        ("listener", "*:80"),
        ("netns", "host"),
        ("severity", "warning"),
    ];
    assert_eq!(labels, BTreeMap::from(expected));
    let annotations = annotations(&starved.alert);
    assert!(!annotations.contains_key("client"), "{annotations:?}");
}

#[test]
fn a_finding_has_its_rule_and_its_severity() {
    let teller = teller();
    let mut finding = finding();
    let labels_of = |alert: &Alert| -> BTreeMap<&str, String> {
        let labels = labels(&teller, alert).into_iter();
        labels.map(|(key, value)| (key, value.to_owned())).collect()
    };
    let labels = labels_of(&finding.alert);
    let expected = [
        ("alertname", "SockpickFinding"),
        ("finding", "no_acceptor-0123abcd"),
        ("host", "web-1"),
        ("netns", "host"),
        ("rule", "no_acceptor"),
        ("severity", "warning"),
    ];
    let expected = expected.map(|(key, value)| (key, value.to_owned()));
    assert_eq!(labels, BTreeMap::from(expected));
    if let Identity::Finding(found) = &mut finding.alert.identity {
        found.severity = crate::audit::Severity::Critical;
    }
    assert_eq!(labels_of(&finding.alert)["severity"], "critical");
    finding.alert.identity = Identity::Untraced;
    let labels = labels_of(&finding.alert);
    assert_eq!(labels["alertname"], "SockpickNotTracing");
    assert_eq!(labels["severity"], "warning");
}

#[tokio::test]
async fn of_a_batch_with_a_bad_alert_the_others_are_taken() {
    let server = Server::start([say(400), ok(), say(400), ok()]).await;
    let attempt = sent(&server, &began(3)).await;
    assert_eq!((attempt.accepted, attempt.rejected), (2, 1));
    assert_eq!(attempt.failure, None);
    assert!(
        attempt
            .complaint
            .is_some_and(|text| text.contains("this is 400"))
    );
    let requests = server.requests();
    let sizes = requests
        .iter()
        .map(|request| request.json().as_array().map_or(0, Vec::len));
    assert_eq!(sizes.collect::<Vec<_>>(), [3, 1, 1, 1]);
    let Sends {
        ok,
        rejected,
        partial,
        failed,
    } = attempt.sends;
    assert_eq!((ok, rejected, partial, failed), (2, 1, 1, 0));
}

#[tokio::test]
async fn singly_too_a_server_that_fails_is_asked_again_for_the_rest() {
    let server = Server::start([say(400), ok(), say(503)]).await;
    let attempt = sent(&server, &began(4)).await;
    assert_eq!((attempt.accepted, attempt.rejected), (1, 0));
    assert!(attempt.failure.is_some());
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn one_bad_alert_alone_is_not_sent_twice() {
    let server = Server::start([say(400)]).await;
    let attempt = sent(&server, &began(1)).await;
    assert_eq!((attempt.accepted, attempt.rejected), (0, 1));
    assert_eq!(server.requests().len(), 1);
}
