//! The endpoints of the daemon: metrics, and whether it works and sees. Read-only; three GET
//! routes of HTTP/1.1, and nothing else.
#![forbid(unsafe_code)]

mod accept;
pub mod listen;
mod negotiate;
mod routes;
mod scrape;
mod source;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use tokio::sync::Semaphore;

use accept::MOST_CONNECTIONS;
pub use listen::Listening;
pub use source::Source;

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
