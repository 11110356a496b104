//! What a request gets.

use std::{future::Future, sync::Arc};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use tokio::time::timeout;

use super::{
    negotiate,
    scrape::{DEADLINE, Scrapes},
    source::Source,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The three routes.
pub(super) struct Routes<S> {
    pub(super) source: Arc<S>,
    pub(super) scrapes: Arc<Scrapes<S>>,
}

impl<S: Source> Routes<S> {
    /// Answers; never fails.
    pub(super) async fn answer(&self, request: Request<impl Body>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            return text(
                StatusCode::NOT_FOUND,
                "there are /metrics, /healthz, /readyz",
            );
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return closing(response);
        }
        if !request.body().is_end_stream() {
            let response = text(StatusCode::PAYLOAD_TOO_LARGE, "no request body is taken");
            return closing(response);
        }
        match path {
            "/healthz" => state(self.source.health()).await,
            "/readyz" => state(self.source.ready()).await,
            _ => self.metrics(request.headers()).await,
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let accept: Vec<&str> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let format = negotiate::format(Some(&accept.join(",")));
        match self.scrapes.get(format).await {
            Ok(metrics) => {
                let mut response = Response::new(Full::new(metrics));
                let media = HeaderValue::from_static(format.content_type());
                response.headers_mut().insert(CONTENT_TYPE, media);
                response
            }
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
        }
    }
}

async fn state(state: impl Future<Output = Result<(), String>>) -> Response<Full<Bytes>> {
    let stands_still = || Err("the pipeline stands still: no answer from it".to_owned());
    match timeout(DEADLINE, state)
        .await
        .unwrap_or_else(|_| stands_still())
    {
        Ok(()) => text(StatusCode::OK, "ok"),
        Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// The connection ends with it: what else the client sends is not read.
fn closing(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}
