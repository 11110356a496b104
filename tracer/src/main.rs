//! The command: turns results into exit codes and messages.

use std::{io, process::ExitCode};

use clap::Parser as _;
use sockpick::{cli::Cli, commands, failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are a success; the rest is usage.
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            // A closed pipe while printing help is nobody's fault.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    match commands::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let message = format!("{error:#}");
            if !message.is_empty() {
                eprintln!("sockpick: {message}");
            }
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

/// Whoever read the output has seen enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
