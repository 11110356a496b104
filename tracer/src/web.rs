//! The endpoints of the daemon: metrics, and whether it works and sees. Read-only; three GET
//! routes of HTTP/1.1, and nothing else.
#![forbid(unsafe_code)]

mod accept;
pub mod listen;
mod negotiate;
mod routes;
mod scrape;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use hyper::body::Bytes;
use tokio::sync::Semaphore;

use crate::metrics::Format;
pub use listen::Listening;

/// Most connections at once; more are closed at once, and the log tells how many.
const MOST_CONNECTIONS: usize = 64;

/// What is served.
pub trait Source: Send + Sync + 'static {
    /// The metrics as of now, or why there are none. Is given up after five seconds.
    fn metrics(&self, format: Format) -> impl Future<Output = Result<Bytes, String>> + Send;

    /// Whether the pipeline works, or what is wrong, in words for the user. Is given up after five
    /// seconds.
    fn health(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether sockpick is attached and sees, or why not, in words for the user. Is given up after
    /// five seconds.
    fn ready(&self) -> impl Future<Output = Result<(), String>> + Send;
}

/// Serves on these until it is dropped, which lets go of them at once, and closes every
/// connection. Without listeners it waits for that.
pub async fn serve<S: Source>(listeners: Vec<Arc<Listening>>, source: Arc<S>) {
    let scrapes = Arc::new(scrape::Scrapes::new(source.clone()));
    let routes = Arc::new(routes::Routes { source, scrapes });
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let turned_away = Arc::default();
    let accepting = listeners.into_iter().map(|listening| {
        let door = accept::Door {
            room: Arc::clone(&room),
            turned_away: Arc::clone(&turned_away),
        };
        Box::pin(accept::accept(listening, door, Arc::clone(&routes)))
    });
    all(accepting.collect()).await;
}

/// Has all of them go on, which end only when this is dropped. No tasks of their own: those would
/// hold what they have for a while after that.
async fn all<F: Future<Output = Infallible>>(mut all: Vec<Pin<Box<F>>>) {
    poll_fn(|context| {
        for one in &mut all {
            let Poll::Pending = one.as_mut().poll(context);
        }
        Poll::<()>::Pending
    })
    .await;
}

#[cfg(test)]
mod tests;
