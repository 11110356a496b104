//! What is said on stderr beside what was asked for.
#![forbid(unsafe_code)]

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Says it in a line of its own. Nobody may be left to read it, or there is no room for it on a
/// disk: that ends nothing.
pub fn remark(text: impl Display) {
    let _ = writeln!(io::stderr(), "sockpick: {text}");
}
