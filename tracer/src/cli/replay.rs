//! `sockpick replay`

use std::path::PathBuf;

use clap::Args;

use super::shared::{Color, ExpectArgs, Output, UserFilterArgs, WatchArgs};
use crate::settings::values::{Speed, count, speed};

/// `sockpick replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recordings, one after the other; the parts of one as if they were one file; - for stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Instead of telling it, write it to the file OUT without what tells whose it is: addresses
    /// and names are replaced, the same one by the same; compressed if it ends in .zst
    #[arg(
        long,
        value_name = "OUT",
        conflicts_with_all = [
            "output", "color", "speed", "count", "WatchArgs", "UserFilterArgs",
            "ExpectArgs",
        ],
    )]
    pub anonymize: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// When to use colour in the table
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// How fast: 1 as it was, 10 ten times as fast, max
    #[arg(long, value_name = "SPEED", value_parser = speed, default_value = "max")]
    pub speed: Speed,
    /// End after this many SYNs were printed
    #[arg(long, value_name = "N", value_parser = count)]
    pub count: Option<u64>,
    /// Filters that trace applies in the kernel.
    #[command(flatten, next_help_heading = "Filters over what was recorded")]
    pub watch: WatchArgs,
    /// Filters applied in user space.
    #[command(flatten)]
    pub user_filter: UserFilterArgs,
    /// What should be where.
    #[command(flatten)]
    pub expect: ExpectArgs,
}
