//! Who knows what the endpoints tell.

use std::future::Future;

use hyper::body::Bytes;

use crate::metrics::Format;

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
