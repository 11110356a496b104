//! Whoever reads stdout may close it: that is the end, and no failure. Anything else that keeps
//! data from getting there is one.

use std::fs::File;
use std::io;
use std::process::{Command, Output, Stdio};

const REPLAY: [&str; 2] = ["replay", "tests/recordings/v1.sockpick"];

fn sockpick(arguments: &[&str], stdout: impl Into<Stdio>) -> io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockpick"));
    command.args(arguments).stdout(stdout).output()
}

/// A pipe that nobody reads from.
fn closed() -> io::Result<Stdio> {
    let (reader, writer) = io::pipe()?;
    drop(reader);
    Ok(writer.into())
}

#[test]
fn a_closed_stdout_ends_every_command_quietly() -> io::Result<()> {
    let json = ["-o", "json"];
    let listeners = ["listeners"];
    let doctor = ["doctor"];
    let audit = ["audit"];
    let explain = ["explain", "127.0.0.1:1"];
    for arguments in [&listeners[..], &audit, &doctor, &explain, &REPLAY] {
        for output in [&json[..], &[]] {
            let arguments = [arguments, output].concat();
            let said = sockpick(&arguments, closed()?)?;
            let words = String::from_utf8_lossy(&said.stderr);
            assert_eq!(said.status.code(), Some(0), "{arguments:?}: {words}");
            assert!(!words.contains("pipe"), "{arguments:?}: {words}");
        }
    }
    Ok(())
}

#[test]
fn a_full_stdout_is_a_failure() -> io::Result<()> {
    for arguments in [&["listeners"][..], &REPLAY] {
        let full = File::options().write(true).open("/dev/full")?;
        let said = sockpick(arguments, full)?;
        let words = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(4), "{arguments:?}: {words}");
        assert!(words.contains("cannot write the output"), "{words}");
    }
    Ok(())
}
