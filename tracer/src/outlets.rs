//! Who takes what the pipeline gives: each chooses for itself what of it is shown.
#![forbid(unsafe_code)]

mod account;
pub mod feed;
pub mod foreground;
pub mod selection;

use anyhow::Result;

use crate::pipeline::Output;

/// Takes what the pipeline gives, in order.
pub trait Outlet {
    /// Takes one output.
    ///
    /// # Errors
    /// If it takes no more: the session ends.
    fn take(&mut self, output: &Output) -> Result<()>;

    /// A batch ended.
    ///
    /// # Errors
    /// As [`Outlet::take`].
    fn flush(&mut self) -> Result<()>;

    /// Whether it wants no more.
    fn is_complete(&self) -> bool {
        false
    }
}
