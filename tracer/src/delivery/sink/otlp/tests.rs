use super::*;
use crate::{
    alerts::{Evidence, Occasion, Sample},
    delivery::fixtures::{
        Reply, Server, blind, message, notice, ok, overflow, sample, say, target, teller,
    },
    event::{Owner, Pod},
    otlp::{KeyValue, Value, logs::ExportLogsServiceRequest},
};

async fn sent(server: &Server) -> Attempt {
    let mut sink = Otlp::new(&target(server.url()), teller());
    let batch = [message(0, Occasion::Began), message(0, Occasion::Ended)];
    sink.send(&batch, 0).await
}

fn texts(attributes: &[KeyValue]) -> Vec<String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|any| any.value.clone()) {
        Some(Value::Text(text)) => format!("{}={text:?}", pair.key),
        Some(Value::Number(number)) => format!("{}={number}", pair.key),
        None => pair.key.clone(),
    };
    attributes.iter().map(text).collect()
}

#[tokio::test]
async fn records_are_as_the_page_shows_them() {
    let server = Server::start([ok()]).await;
    assert_eq!(sent(&server).await, Attempt::accepted(2));
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /v1/logs HTTP/1.1");
    assert_eq!(
        requests[0].header("content-type"),
        Some("application/x-protobuf")
    );
    let request = ExportLogsServiceRequest::decode(requests[0].body.as_slice());
    let request = request.expect("the message that was sent");
    let logs = &request.resource_logs[0];
    let resource = logs.resource.as_ref().expect("a resource");
    let records = &logs.scope_logs[0].log_records;
    assert_eq!(records.len(), 2);
    let severities = records.iter().map(|record| &*record.severity_text);
    assert_eq!(severities.collect::<Vec<_>>(), ["ERROR", "INFO"]);
    assert!(
        records
            .iter()
            .all(|record| record.event_name == "sockpick.alert")
    );
    let mut text = texts(&resource.attributes);
    text.retain(|line| !line.starts_with("service.version"));
    text.extend(texts(&records[1].attributes));
    let text = text.join("\n");
    insta::assert_snapshot!(text);
    crate::delivery::tests::on_the_page("otlp", &text);
}

#[test]
fn the_alert_for_all_past_the_bound_is_a_warning_without_a_verdict() {
    let request = record::request(&teller(), &[&overflow()]);
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_text, "WARN");
    let texts = texts(&record.attributes);
    assert!(texts.contains(&"sockpick.count=17".to_owned()), "{texts:?}");
    let of_one = ["sockpick.verdict", "sockpick.netns", "sockpick.listener"];
    let told = |text: &String| of_one.iter().any(|key| text.starts_with(key));
    assert!(!texts.iter().any(told), "{texts:?}");
}

#[test]
fn containers_and_pods_have_the_names_of_the_conventions() {
    let told = |owner: Owner| {
        let mut notice = notice(0, Occasion::Began);
        notice.alert.evidence = Evidence::Syn(Sample {
            owners: [owner].into(),
            ..sample()
        });
        let request = record::request(&teller(), &[&notice]);
        let mut texts = texts(&request.resource_logs[0].scope_logs[0].log_records[0].attributes);
        texts.retain(|text| text.starts_with("container.") || text.starts_with("k8s."));
        texts
    };
    let id = "0123456789abcdef".repeat(4);
    let mut owner = Owner {
        container: Some(id.clone()),
        ..Owner::default()
    };
    let of_id = format!("container.id={id:?}");
    assert_eq!(told(owner.clone()).join(" "), of_id);
    owner.container_name = Some("web".to_owned());
    owner.pod = Some(Pod {
        namespace: Some("shop".to_owned()),
        name: Some("web-1".to_owned()),
        uid: Some("5b5e07db-f1b9-4530-81ef-b7d04d66b83e".to_owned()),
    });
    assert_eq!(
        told(owner),
        [
            &*of_id,
            "container.name=\"web\"",
            "k8s.container.name=\"web\"",
            "k8s.pod.uid=\"5b5e07db-f1b9-4530-81ef-b7d04d66b83e\"",
            "k8s.pod.name=\"web-1\"",
            "k8s.namespace.name=\"shop\"",
        ]
    );
    let lxc = Owner {
        container: Some("web".to_owned()),
        ..Owner::default()
    };
    assert_eq!(told(lxc), ["container.name=\"web\""]);
}

#[test]
fn that_sockpick_does_not_see_is_an_error_without_a_connection() {
    let request = record::request(&teller(), &[&blind()]);
    let record = &request.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_text, "ERROR");
    let texts = texts(&record.attributes);
    assert!(texts.contains(&"sockpick.count=17".to_owned()), "{texts:?}");
    let of_syn = ["sockpick.verdict", "network.", "process."];
    let told = |text: &String| of_syn.iter().any(|key| text.starts_with(key));
    assert!(!texts.iter().any(told), "{texts:?}");
}

#[tokio::test]
async fn a_success_that_is_a_partial_one_is_counted() {
    let response = partial_success(1, "too old");
    let server = Server::start([Reply::Say(200, "", response.encode_to_vec())]).await;
    let attempt = sent(&server).await;
    assert_eq!((attempt.accepted, attempt.rejected), (1, 1));
    assert_eq!((attempt.sends.partial, attempt.sends.ok), (1, 0));
    assert!(
        attempt
            .complaint
            .is_some_and(|text| text.contains("too old"))
    );
    assert_eq!(attempt.failure, None, "it is not to be sent again");
}

#[tokio::test]
async fn a_lie_about_more_than_was_sent_counts_what_was_sent() {
    let response = partial_success(i64::MAX, "");
    let server = Server::start([Reply::Say(200, "", response.encode_to_vec())]).await;
    let attempt = sent(&server).await;
    assert_eq!((attempt.accepted, attempt.rejected), (0, 2));
}

#[tokio::test]
async fn other_answers_are_as_for_every_server() {
    assert_eq!(sent(&Server::start([say(400)]).await).await.rejected, 2);
    assert!(
        sent(&Server::start([say(503)]).await)
            .await
            .failure
            .is_some()
    );
    let nonsense = Reply::Say(200, "", b"<html>".to_vec());
    assert_eq!(sent(&Server::start([nonsense]).await).await.accepted, 2);
}
