use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use tokio::net::TcpListener;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;
use crate::delivery::{
    attempt::Attempt,
    fixtures::{Reply, Server, ok, say, scratch, serve, target},
};

async fn post(target: &HttpTarget) -> Attempt {
    let mut client = Client::new(target, Some("/x"));
    let answer = client.post("text/plain", Headers::new(), Bytes::from("hello"));
    attempt(answer.await, 1)
}

async fn posted_to(reply: Reply) -> Attempt {
    post(&target(Server::start([reply]).await.url())).await
}

fn failure(attempt: &Attempt) -> &str {
    assert_eq!(
        (attempt.done(), attempt.sends.failed),
        (0, 1),
        "{attempt:?}"
    );
    &attempt.failure.as_ref().expect("it failed").text
}

#[tokio::test]
async fn a_request_is_whole() {
    let server = Server::start([ok()]).await;
    assert_eq!(post(&target(server.url())).await, Attempt::accepted(1));
    let requests = server.requests();
    let request = requests.first().expect("one request");
    assert_eq!(request.line(), "POST /x HTTP/1.1");
    assert_eq!(request.body, b"hello");
    assert_eq!(request.header("host"), Some(&*server.address.to_string()));
    assert_eq!(request.header("content-length"), Some("5"));
    let agent = request.header("user-agent").unwrap_or_default();
    assert!(agent.starts_with("sockpick/"), "{agent}");
    assert_eq!(request.header("authorization"), None);
}

#[tokio::test]
async fn an_ipv6_address_is_spoken_to() {
    let any = "[::1]:0".parse().expect("an address");
    let server = Server::start_at(any, [ok()]).await;
    assert_eq!(post(&target(server.url())).await, Attempt::accepted(1));
}

#[tokio::test]
async fn every_status_means_what_it_says() {
    assert_eq!(posted_to(Reply::Say(202, "", Vec::new())).await.accepted, 1);
    for status in [301, 400, 401, 404, 422] {
        let attempt = posted_to(say(status)).await;
        assert_eq!(
            (attempt.rejected, attempt.sends.rejected),
            (1, 1),
            "{status}"
        );
        let complaint = attempt.complaint.unwrap_or_default();
        assert!(
            complaint.contains(&format!("this is {status}")),
            "{complaint}"
        );
    }
    for status in [429, 500, 502, 503] {
        let attempt = posted_to(say(status)).await;
        assert!(failure(&attempt).contains(&status.to_string()));
    }
    let attempt = posted_to(Reply::Say(503, "Retry-After: 7\r\n", Vec::new())).await;
    let wait = attempt.failure.and_then(|failure| failure.retry_after);
    assert_eq!(wait, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn an_exchange_that_breaks_off_is_tried_again() {
    for reply in [Reply::CutBody(100), Reply::HangUp] {
        let attempt = posted_to(reply.clone()).await;
        assert!(
            failure(&attempt).contains("broke off"),
            "{reply:?}: {attempt:?}"
        );
    }
    let server = Server::start([ok()]).await;
    let mut silent = target(Server::start([Reply::Silence]).await.url());
    silent.timeout = Duration::from_millis(50);
    assert!(failure(&post(&silent).await).contains("no answer within 50ms"));
    drop(server);
}

#[tokio::test]
async fn nobody_at_the_port_is_a_failure_that_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    let attempt = post(&target(format!("http://{address}/secret"))).await;
    let text = failure(&attempt);
    assert!(
        text.starts_with(&format!("{address}: cannot connect")),
        "{text}"
    );
    assert!(!text.contains("secret"), "a path may be a secret");
}

#[tokio::test]
async fn a_path_that_the_server_repeats_is_not_quoted() {
    let reply = Reply::Say(404, "", b"no POST /s3cret/x here".to_vec());
    let server = Server::start([reply]).await;
    let target = target(format!("{}/s3cret/x", server.url()));
    let mut client = Client::new(&target, None);
    let answer = client.post("text/plain", Headers::new(), Bytes::new());
    let text = answer.await.expect("an answer").text();
    assert!(!text.contains("s3cret"), "{text}");
    assert!(
        text.starts_with("answered 404") && text.ends_with("… here"),
        "{text}"
    );
}

#[tokio::test]
async fn of_a_path_below_the_configured_one_no_part_is_quoted() {
    let reply = Reply::Say(404, "", b"no tenant /s3cret has /s3cret/x".to_vec());
    let server = Server::start([reply]).await;
    let attempt = post(&target(format!("{}/s3cret", server.url()))).await;
    let complaint = attempt.complaint.unwrap_or_default();
    assert!(complaint.ends_with("no tenant … has …"), "{complaint}");
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let endless = Reply::Say(200, "", vec![b'x'; 10 << 20]);
    let server = Server::start([endless]).await;
    let mut client = Client::new(&target(server.url()), None);
    let answer = client
        .post("text/plain", Headers::new(), Bytes::new())
        .await;
    assert_eq!(answer.expect("an answer").body.len(), 64 * 1024);
}

#[tokio::test]
async fn a_token_is_read_at_each_use_and_never_shown() {
    let file = scratch("bearer").join("token");
    let server = Server::start([
        ok(),
        say(200),
        Reply::Say(401, "", b"not s3cret-2".to_vec()),
    ])
    .await;
    let mut target = target(server.url());
    target.bearer_file = Some(file.clone());
    assert!(failure(&post(&target).await).contains("cannot read the secret"));
    for (number, token) in ["s3cret-1\n", "s3cret-2", "s3cret-2"].iter().enumerate() {
        fs::write(&file, token).expect("a token");
        let attempt = post(&target).await;
        assert!(!format!("{attempt:?}").contains("s3cret"), "{attempt:?}");
        let requests = server.requests();
        let sent = requests[number].header("authorization");
        assert_eq!(sent, Some(&*format!("Bearer {}", token.trim())));
    }
    let long = "s3cret".repeat(3000);
    for (text, why) in [
        ("", "empty"),
        ("s3cret\nanother", "more than one"),
        (&long, "longer than 16384 bytes"),
    ] {
        fs::write(&file, text).expect("a token");
        let attempt = post(&target).await;
        assert!(failure(&attempt).contains(why) && !failure(&attempt).contains("s3cret"));
    }
    assert_eq!(
        server.requests().len(),
        3,
        "nothing is sent without its token"
    );
}

fn certificates(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    directory
        .join("src/delivery/http/tls_certificates")
        .join(name)
}

/// A server with this certificate; the requests that it could read.
async fn tls_server(
    certificate: &str,
) -> (String, Arc<Mutex<Vec<crate::delivery::fixtures::Request>>>) {
    let chain = CertificateDer::pem_file_iter(certificates(certificate)).expect("a certificate");
    let chain = chain.collect::<Result<_, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificates("server.key")).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("its address"));
    let requests = Arc::default();
    let noted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, ok(), Arc::clone(&noted)).await;
            }
        }
    });
    (url, requests)
}

#[tokio::test]
async fn tls_takes_only_the_right_name_in_time_from_a_known_authority() {
    for (certificate, authority, refused) in [
        ("good.pem", Some("authority.pem"), None),
        (
            "misnamed.pem",
            Some("authority.pem"),
            Some("not valid for name"),
        ),
        ("expired.pem", Some("authority.pem"), Some("expired")),
        (
            "good.pem",
            Some("stranger.pem"),
            Some("invalid peer certificate"),
        ),
    ] {
        let (url, requests) = tls_server(certificate).await;
        let mut target = target(url);
        target.ca_file = authority.map(certificates);
        let attempt = post(&target).await;
        let came = requests.lock().expect("no test panicked").len();
        match refused {
            None => assert_eq!((attempt, came), (Attempt::accepted(1), 1)),
            Some(why) => {
                assert!(
                    failure(&attempt).contains(why),
                    "{certificate}: {attempt:?}"
                );
                assert_eq!(came, 0, "{certificate}: nothing was told to it");
            }
        }
    }
}

#[tokio::test]
async fn a_ca_file_without_authorities_is_a_failure_that_names_it() {
    let empty = scratch("ca").join("empty.pem");
    fs::write(&empty, "nothing").expect("a file");
    let mut target = target("https://127.0.0.1:9");
    target.url = Url::parse(&tls_server("good.pem").await.0).expect("a url");
    target.ca_file = Some(empty);
    let attempt = post(&target).await;
    let text = failure(&attempt);
    assert!(text.contains("empty.pem: no certificate in it"), "{text}");
}

#[tokio::test]
async fn authorities_are_read_anew_after_a_failure() {
    let file = scratch("renewed").join("ca.pem");
    fs::copy(certificates("stranger.pem"), &file).expect("a copy");
    let mut target = target(tls_server("good.pem").await.0);
    target.ca_file = Some(file.clone());
    let mut client = Client::new(&target, Some("/x"));
    let mut post = async || {
        let body = Bytes::from("hello");
        client.post("text/plain", Headers::new(), body).await
    };
    assert!(post().await.is_err());
    fs::copy(certificates("authority.pem"), &file).expect("a copy");
    assert!(post().await.is_ok());
}
