//! What commands write to: events on stdout, the log on stderr.

use std::{
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
};

use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    cli::{Color, Output},
    sinks::{Sink, json::Json, stdout::stdout, table::Table},
};

/// Events on stdout. `own`: the namespace that lines need not name.
pub(super) fn shown(output: Output, color: Color, own: u32) -> Box<dyn Sink> {
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    match output {
        Output::Table => Box::new(Table::new(stdout(), color, own)),
        Output::Json => Box::new(Json::new(stdout())),
    }
}

/// Says what is as grave as `level`, what `RUST_LOG` asks for, and what the programs say if asked
/// to.
pub(super) fn log_from(level: log::LevelFilter, programs: bool) -> env_logger::Builder {
    let mut log = env_logger::Builder::new();
    log.filter_level(level);
    if programs {
        log.filter_module("sockpick_ebpf", log::LevelFilter::Debug);
    }
    log.parse_default_env();
    log
}

/// Ends when whoever reads a pipe at stdout has gone, even while nothing is written.
pub(super) async fn reader_gone() {
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(|fd| {
        // SAFETY: an owned descriptor, which stays the same while it is registered.
        Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::ERROR) }?)
    });
    // A file cannot be watched, and has no reader to lose.
    let Ok(stdout) = watched else {
        return std::future::pending().await;
    };
    if stdout.ready(Interest::ERROR).await.is_err() {
        std::future::pending::<()>().await;
    }
}
