//! Takes connections, within bounds of number, size and time.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use log::warn;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{listen::Listening, routes::Routes, source::Source};

/// Most connections at once; more are closed at once, and the log tells how many.
pub(super) const MOST_CONNECTIONS: usize = 64;
/// A request's line and headers; more is answered with 431.
const MOST_HEADER_BYTES: usize = 8 * 1024;
/// How many headers; more are answered with 431.
const MOST_HEADERS: usize = 64;
/// How long a request's headers may take, the wait for the next request included.
pub(super) const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// A connection takes no further request after that; it ends [`LAST_ANSWER_WITHIN`] later, also
/// if the client does not read.
pub(super) const CONNECTION_LASTS: Duration = Duration::from_mins(1);
/// What the last answer may take.
pub(super) const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Rest after `accept` failed, as with no descriptor left: it would fail again at once.
const REST: Duration = Duration::from_secs(1);

/// Who may come in.
pub(super) struct Door {
    pub(super) room: Arc<Semaphore>,
    /// Connections that were closed at once.
    pub(super) turned_away: Arc<AtomicU64>,
}

/// Takes connections until it is dropped.
pub(super) async fn accept<S: Source>(
    listening: Arc<Listening>,
    door: Door,
    routes: Arc<Routes<S>>,
) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            stream = listening.accept() => match stream {
                Ok(stream) => {
                    let Ok(place) = door.room.clone().try_acquire_owned() else {
                        door.turn_away();
                        continue;
                    };
                    let routes = routes.clone();
                    connections.spawn(async move {
                        serve(stream, &routes).await;
                        drop(place);
                    });
                }
                Err(error) => rest(&error).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection that ended before it was taken concerns nobody.
async fn rest(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        warn!("cannot take a connection for metrics: {error}; trying again in a second");
        sleep(REST).await;
    }
}

impl Door {
    /// Told at the first and whenever the number has doubled: a flood fills no log.
    fn turn_away(&self) {
        let so_far = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
        if so_far.is_power_of_two() {
            warn!(
                "{MOST_CONNECTIONS} connections for metrics are open: {so_far} more were closed \
                 at once so far"
            );
        }
    }
}

/// Has a conversation with a client, to its end.
pub(super) async fn serve<S: Source>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    routes: &Routes<S>,
) {
    let service = service_fn(async |request| Ok::<_, Infallible>(routes.answer(request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_header_size(MOST_HEADER_BYTES)
        .max_headers(MOST_HEADERS)
        .max_buf_size(2 * MOST_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // How a connection ends is the client's affair.
    if timeout(CONNECTION_LASTS, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_ANSWER_WITHIN, connection).await;
    }
}
