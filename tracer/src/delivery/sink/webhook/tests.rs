use super::*;
use crate::{
    alerts::Occasion,
    delivery::fixtures::{Server, message, ok, scratch, target, teller},
};

#[tokio::test]
async fn the_body_is_as_the_page_shows_it() {
    let server = Server::start([ok()]).await;
    let target = target(format!("{}/hook/room-1", server.url()));
    let mut sink = Webhook::new(&target, None, teller());
    let batch = [message(0, Occasion::Ended)];
    assert_eq!(sink.send(&batch, 0).await, Attempt::accepted(1));
    let requests = server.requests();
    assert_eq!(requests[0].line(), "POST /hook/room-1 HTTP/1.1");
    assert_eq!(requests[0].header("content-type"), Some("application/json"));
    assert_eq!(requests[0].header("x-sockpick-signature"), None);
    let text = serde_json::to_string_pretty(&requests[0].json()).expect("JSON");
    insta::assert_snapshot!(text);
    crate::delivery::tests::on_the_page("webhook", &text);
}

#[tokio::test]
async fn the_signature_is_that_of_the_bytes_that_came() {
    let file = scratch("hmac").join("secret");
    std::fs::write(&file, "key\n").expect("a secret");
    let server = Server::start([ok()]).await;
    let mut sink = Webhook::new(&target(server.url()), Some(file), teller());
    sink.send(&[message(0, Occasion::Began)], 0).await;
    let requests = server.requests();
    let request = requests.first().expect("one request");
    let signature = request.header("x-sockpick-signature").unwrap_or_default();
    let digits = signature.strip_prefix("sha256=").expect("its algorithm");
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("digits"))
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"key");
    assert!(hmac::verify(&key, &request.body, &bytes).is_ok());
}

#[test]
fn the_signature_is_the_one_that_everybody_computes() {
    let text = b"The quick brown fox jumps over the lazy dog";
    let known = "sha256=f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8";
    assert_eq!(signature("key", text), known);
}

#[tokio::test]
async fn without_its_secret_nothing_is_sent() {
    let file = scratch("no-secret").join("secret");
    let server = Server::start([ok()]).await;
    let mut sink = Webhook::new(&target(server.url()), Some(file), teller());
    let attempt = sink.send(&[message(0, Occasion::Began)], 0).await;
    assert!(attempt.failure.is_some());
    assert!(server.requests().is_empty());
}
