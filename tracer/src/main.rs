//! The command: turns results into exit codes and messages.

use std::process::ExitCode;

use clap::Parser as _;
use sockpick::{cli::Cli, commands, failure, remark::remark};

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
        Err(error) if failure::is_closed_stdout(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if !failure::is_silent(&error) {
                remark(format_args!("{error:#}{}", failure::reference(&error)));
            }
            ExitCode::from(failure::exit_code(&error))
        }
    }
}
