//! A small HTTP client: one POST, one connection, one deadline for the whole of it.
//!
//! Redirects are not followed and proxies of the environment are not used. Neither a URL's path
//! nor a token is ever part of an error.
#![forbid(unsafe_code)]

mod answer;
mod tls;

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT},
    rt::{Read as HyperRead, Write as HyperWrite},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    task::spawn_blocking,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::attempt::Failure;
use crate::settings::{feed::HttpTarget, url::Url};

pub(crate) use answer::{Answer, Class, attempt};

/// Longest file with a token, in bytes; a longer one is refused.
const LONGEST_TOKEN: u64 = 16 * 1024;

/// Headers of all requests that are not this client's own.
pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

/// Speaks to one server.
pub(crate) struct Client {
    target: HttpTarget,
    path: String,
    /// Made when it is needed, and anew after a failure: authorities may be renewed.
    tls: Option<TlsConnector>,
}

impl Client {
    /// A client of this server, which is spoken to at the URL's own path, or where its API is
    /// below that. Nothing is asked of it yet.
    pub(crate) fn new(target: &HttpTarget, api: Option<&str>) -> Self {
        let url = &target.url;
        Self {
            path: api.map_or_else(|| url.path.clone(), |api| url.below(api)),
            target: target.clone(),
            tls: None,
        }
    }

    /// Posts a body, and gives what the server answered.
    ///
    /// # Errors
    /// If there was no whole answer in time: whether the server took it is not known.
    pub(crate) async fn post(
        &mut self,
        content_type: &'static str,
        headers: Headers,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let headers = async { Ok(headers) };
        self.post_with(content_type, headers, body).await
    }

    /// [`Client::post`] with headers that take some time to make: that is within the deadline.
    ///
    /// # Errors
    /// As [`Client::post`], and if there are no such headers.
    pub(crate) async fn post_with(
        &mut self,
        content_type: &'static str,
        headers: impl Future<Output = Result<Headers, String>>,
        body: Bytes,
    ) -> Result<Answer, Failure> {
        let limit = self.target.timeout;
        let answer = match timeout(limit, self.exchange(content_type, headers, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(late(limit)),
        };
        answer.map_err(|error| {
            self.tls = None;
            Failure::new(format!("{}: {error}", self.target.url))
        })
    }

    async fn exchange(
        &mut self,
        content_type: &'static str,
        headers: impl Future<Output = Result<Headers, String>>,
        body: Bytes,
    ) -> Result<Answer, String> {
        let token = match &self.target.bearer_file {
            Some(file) => Some(secret(file).await?),
            None => None,
        };
        let mut request = Request::post(&self.path)
            .header(HOST, &self.target.url.authority)
            .header(USER_AGENT, concat!("sockpick/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type)
            .header(CONNECTION, "close");
        if let Some(token) = &token {
            request = request.header(AUTHORIZATION, bearer(token)?);
        }
        for (name, value) in headers.await? {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body));
        let request = request.map_err(|_| "the url's path is none".to_owned())?;
        let mut answer = self.connect_and_send(request).await?;
        self.secrets()
            .chain(token.as_deref())
            .for_each(|secret| answer.redact(secret));
        Ok(answer)
    }

    /// The path, and the configured part of it, as a server may repeat them: both may be secrets.
    fn secrets(&self) -> impl Iterator<Item = &str> {
        let all = [self.path.as_str(), self.target.url.path.as_str()];
        all.into_iter().filter(|part| part.len() > 1)
    }

    async fn connect_and_send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let Url { host, port, .. } = &self.target.url;
        let stream = connect(host, *port, self.target.timeout / 2).await;
        let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
        if !self.target.url.is_tls {
            return send(TokioIo::new(stream), request).await;
        }
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| "the url's host is no name that TLS knows".to_owned())?;
        let stream = self.tls().await?.connect(name, stream).await;
        let stream = stream.map_err(|error| format!("no TLS connection: {error}"))?;
        send(TokioIo::new(stream), request).await
    }

    async fn tls(&mut self) -> Result<&TlsConnector, String> {
        let known = if let Some(known) = self.tls.take() {
            known
        } else {
            let ca_file = self.target.ca_file.clone();
            aside(move || tls::connector(ca_file.as_deref())).await?
        };
        Ok(self.tls.insert(known))
    }
}

/// Connects to the first address of a name that answers. One that swallows packets must not take
/// the time of the others: each but the last has its share of `time`.
async fn connect(host: &str, port: u16, time: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let share = time / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let (last, others) = addresses
        .split_last()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    for address in others {
        if let Ok(Ok(stream)) = timeout(share, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    TcpStream::connect(last).await
}

/// What stands in a file with a secret, without the white space around it. Read at each use, so
/// that it can be renewed.
///
/// # Errors
/// If it cannot be read or is empty, in words for the user.
pub(crate) async fn secret(path: &Path) -> Result<String, String> {
    let path = path.to_owned();
    aside(move || read_secret(&path)).await
}

fn read_secret(path: &Path) -> Result<String, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("cannot read the secret in {}: {error}", path.display())
    };
    let mut options = OpenOptions::new();
    // Without waiting for somebody to write, should it be a pipe.
    let options = options.read(true).custom_flags(libc::O_NONBLOCK);
    let file = options.open(path).map_err(|error| wrong(&error))?;
    let mut text = String::new();
    let read = file.take(LONGEST_TOKEN + 1).read_to_string(&mut text);
    let length = read.map_err(|error| wrong(&error))?;
    if length as u64 > LONGEST_TOKEN {
        return Err(wrong(&format!("it is longer than {LONGEST_TOKEN} bytes")));
    }
    match text.trim() {
        "" => Err(wrong(&"it is empty")),
        secret => Ok(secret.to_owned()),
    }
}

/// Reads files on another thread: a file system may take any time, and no other sink waits.
async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let broken = |_| Err("reading was broken off".to_owned());
    spawn_blocking(read).await.unwrap_or_else(broken)
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| "bearer_file holds more than one token".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn late(limit: Duration) -> String {
    format!("no answer within {limit:?}; `timeout` says how long to wait")
}

/// One request on a connection, and its answer.
pub(super) async fn send(
    stream: impl HyperRead + HyperWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let broken = |error: hyper::Error| format!("the exchange broke off: {error}");
    let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        Answer::read(response).await
    };
    // The connection does the work; its own end says nothing that the exchange does not.
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests;
