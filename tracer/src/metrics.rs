//! What sockpick exposes for others to fetch: counters that SYNs feed, what else is known at the
//! time, and both as text, or as a message of OpenTelemetry. Pure: the time goes in, text comes out; `docs/metrics.md` explains
//! each metric.
#![forbid(unsafe_code)]

mod families;
pub mod names;
pub(crate) mod otlp;
pub(crate) mod render;
pub mod series;
pub mod view;

pub use families::Families;
pub use render::Format;
pub use series::Series;
pub use view::View;
