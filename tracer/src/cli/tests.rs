//! What is read, and what is said of what is not.

use std::time::Duration;

use clap::{Command, CommandFactory as _};

use super::*;
use crate::settings::{
    place::{AddressPattern, ListenerPattern, listener},
    values::{MOST_PORTS, buffer_size, every_port, ports},
};

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn times_and_sizes_are_read() {
    assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("10m"), Ok(Duration::from_mins(10)));
    assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
    for wrong in ["", "0", "-1s", "1w", "x", "1e999h"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
    assert_eq!(buffer_size("4096"), Ok(4096));
    assert_eq!(buffer_size("4MiB"), Ok(4 << 20));
    for wrong in ["", "4095", "12KiB", "2048", "4GiB", "9999999999"] {
        assert!(buffer_size(wrong).is_err(), "{wrong}");
    }
    let parts = |bytes, keep| Ok(Rotation { bytes, keep });
    assert_eq!(rotation("4K"), parts(4096, None));
    assert_eq!(rotation("1G,5"), parts(1 << 30, Some(5)));
    for wrong in [
        "",
        "4",
        "0M",
        "1T",
        "1M,",
        "1M,0",
        ",5",
        "1M,5,6",
        "99999999999G",
    ] {
        assert!(rotation(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn listeners_are_read() {
    let pattern = |address, device: Option<&str>, port| {
        Ok(ListenerPattern {
            address,
            device: device.map(ToOwned::to_owned),
            port,
        })
    };
    let is = |text: &str| text.parse().ok().map(AddressPattern::Is);
    let any = Some(AddressPattern::Wildcard);
    for (text, expected) in [
        ("6.6.6.6:80", pattern(is("6.6.6.6"), None, Some(80))),
        ("[::1]:80", pattern(is("::1"), None, Some(80))),
        ("::1", pattern(is("::1"), None, None)),
        ("*:80", pattern(any, None, Some(80))),
        (":80", pattern(None, None, Some(80))),
        ("6.6.6.6:*", pattern(is("6.6.6.6"), None, None)),
        ("6.6.6.6", pattern(is("6.6.6.6"), None, None)),
        ("*%red:179", pattern(any, Some("red"), Some(179))),
        (
            "127.0.0.53%lo:53",
            pattern(is("127.0.0.53"), Some("lo"), Some(53)),
        ),
        (
            "[fe80::1]%eth0:7000",
            pattern(is("fe80::1"), Some("eth0"), Some(7000)),
        ),
        (
            "[fe80::1%eth0]:7000",
            pattern(is("fe80::1"), Some("eth0"), Some(7000)),
        ),
        ("fe80::1%eth0", pattern(is("fe80::1"), Some("eth0"), None)),
    ] {
        assert_eq!(listener(text), expected, "{text}");
    }
    for wrong in [
        "",
        "80",
        "x:80",
        "*",
        "6.6.6.6:port",
        "6.6.6.6:99999",
        "6.6.6.6%:80",
        "[::1%a]%b:80",
        "[::1]80",
        "[::1",
    ] {
        assert!(listener(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn ports_are_read_one_by_one_or_as_a_range() -> Result<(), Box<dyn std::error::Error>> {
    let cli = Cli::try_parse_from(["sockpick", "trace", "--port", "80,8000-8002", "--port=443"])?;
    let super::Command::Trace(args) = cli.command else {
        return Err("not trace".into());
    };
    let every = every_port(&args.watch.port);
    assert_eq!(every, [80, 443, 8000, 8001, 8002]);
    let most = ports("1-4096")?;
    assert!(most.contains(4096) && !most.contains(4097));
    assert_eq!(every_port(&[most]).len(), MOST_PORTS);
    for wrong in ["", "0", "70000", "90-80", "80-", "-80", "http", "80-90-91"] {
        assert!(ports(wrong).is_err(), "{wrong}");
    }
    Ok(())
}

/// Whatever is wrong with a value, the message has its form and an example.
#[test]
fn a_wrong_value_is_told_its_form() {
    let commands = Cli::command();
    let mut tried = 0;
    for command in commands.get_subcommands() {
        for argument in command.get_arguments() {
            let Some(option) = argument.get_long() else {
                continue;
            };
            let free = ["anonymize", "btf", "config", "dev", "write"].contains(&option);
            let listed = !argument.get_possible_values().is_empty();
            if free || listed || !argument.get_action().takes_values() {
                continue;
            }
            let is_name = ["comm", "host", "netns"].contains(&option);
            let wrong = if is_name { "" } else { "?" };
            let said = refusal(command, option, wrong);
            assert!(said.contains("write it as"), "--{option}: {said}");
            let mut lines = said.lines().filter(|line| !line.is_empty());
            assert!(lines.clone().count() <= 2, "--{option}: {said}");
            assert!(lines.any(|line| line.contains(&format!("--{option} <"))));
            tried += 1;
        }
    }
    assert!(tried > 12, "{tried}");
}

fn refusal(command: &Command, option: &str, value: &str) -> String {
    let option = format!("--{option}");
    let mut words = vec!["sockpick", command.get_name()];
    match command.get_name() {
        "explain" => words.push("192.0.2.1:80"),
        "replay" => words.push("recording"),
        "trace" => words.extend(["--write", "recording"]),
        "daemon" => words.extend(["--config", "sockpick.toml"]),
        _ => {}
    }
    words.extend([option.as_str(), value]);
    Cli::try_parse_from(words)
        .err()
        .map_or_else(String::new, |error| error.to_string())
}
