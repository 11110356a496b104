//! Files that somebody got wrong: each is read or refused, soon, and what is read is written back
//! as the same.

use proptest::prelude::*;

use super::*;
use crate::damaged::damaged;

const PAGE: &str = include_str!("../../../docs/configuration.md");
const PACKAGED: &str = include_str!("../../../packaging/sockpick.toml");

/// What there is to get wrong.
const WORDS: [&str; 24] = [
    "\n",
    "=",
    "[",
    "]",
    "[[",
    "]]",
    "\"",
    "'",
    "\"\"\"",
    ".",
    ",",
    "{",
    "}",
    "#",
    "\\u",
    "-1",
    "1e400",
    "0x7fffffffffffffff",
    "1979-05-27T07:32:00Z",
    "nan",
    "true",
    "pid:1",
    "1-65535",
    "*:",
];

fn real() -> Vec<Vec<u8>> {
    let examples = PAGE.split("```toml\n").skip(1);
    let examples = examples.filter_map(|rest| rest.split("```").next());
    examples
        .chain([PACKAGED])
        .map(|text| text.as_bytes().to_vec())
        .collect()
}

fn read(text: &str) -> Result<Settings, String> {
    Settings::new(&Given::default(), Some(text))
}

proptest! {
    #[test]
    fn a_damaged_file_is_read_or_refused(bytes in damaged(real(), &WORDS)) {
        let text = String::from_utf8_lossy(&bytes);
        match read(&text) {
            Ok(settings) => {
                let written = settings.to_toml();
                prop_assert_eq!(read(&written), Ok(settings), "{}", written);
            }
            Err(wrong) => prop_assert!(!wrong.is_empty() && wrong.len() < 4096, "{}", wrong),
        }
    }
}

/// As much of it as a file may have; in a short run a part of that.
fn much(part: &str) -> String {
    let is_long = ProptestConfig::default().cases > 1000;
    let bytes = if is_long { MOST_BYTES } else { MOST_BYTES / 32 };
    part.repeat(bytes / part.len())
}

fn numbered(line: fn(usize) -> String) -> String {
    (0..much("123456789012").len() / 12).map(line).collect()
}

#[test]
fn a_file_with_much_of_anything_is_read_or_refused_soon() {
    let list = |key: &str, value: &str| format!("{key} = [{}]", much(value));
    for text in [
        much("["),
        format!("x = {}", much("[")),
        format!("x = {}", much("{a=")),
        format!("{}b = 1", much("a.")),
        format!("[{}b]", much("a.")),
        format!("[[{}b]]", much("a.")),
        much("x"),
        format!("{} = 1", much("prots")),
        much("\""),
        // Every port over and over took 190 MB for a thousand of these.
        list("[watch]\nports", "'1-65535',"),
        list("[watch]\nports", "'1-4096',"),
        list("[watch]\ndst", "'::/0',"),
        list("[watch]\nnetns", "'1',"),
        list("[alerts]\non", "'ok',"),
        format!("[[service]]\nname = '{}'", much("x")),
        much("[[service]]\n"),
        much("[[sink]]\n"),
        much("[[sink]]\ntype = 'stdout'\nname = 'x'\n"),
        list("[[sink]]\ntype = 'alertmanager'\nurls", "'http://a',"),
        format!("[[sink]]\ntype = 'otlp'\nurl = 'http://{}'", much("a")),
        // What is wrong was told with all of the value.
        format!("[daemon]\nself_check = '{}s'", much("9")),
        format!("[metrics]\nmax_series = {}", much("9")),
        numbered(|number| format!("x{number} = 1\n")),
        numbered(|number| format!("[x{number}]\n")),
    ] {
        if let Err(wrong) = read(&text) {
            let begin: String = text.chars().take(40).collect();
            assert!(wrong.len() < 4096, "{begin}: {} bytes", wrong.len());
        }
    }
}

#[test]
fn what_is_wrong_with_a_long_value_is_told_with_the_remedy() {
    let wrong = read(&format!("[learn]\nhold = '{}'", "9".repeat(10_000)));
    let wrong = wrong.expect_err("no time");
    assert!(
        wrong.starts_with("line 2: hold: ") && wrong.len() < 1000,
        "{wrong}"
    );
    assert!(
        wrong.ends_with("write it as 500ms, 30s, 10m or 1h"),
        "{wrong}"
    );
}

proptest! {
    #[test]
    fn every_port_is_there_once_however_the_ranges_lie(
        ranges in proptest::collection::vec((1..=u16::MAX, 0..300u16), 0..12)
    ) {
        let ranges = ranges.iter().map(|&(first, more)| (first, first.saturating_add(more)));
        let texts = ranges.clone().map(|(first, last)| format!("{first}-{last}"));
        let read: Result<Vec<_>, _> = texts.map(|text| values::ports(&text)).collect();
        let each: std::collections::BTreeSet<u16> =
            ranges.flat_map(|(first, last)| first..=last).collect();
        let each: Vec<u16> = each.into_iter().collect();
        prop_assert_eq!(values::every_port(&read.expect("ports")), each);
    }
}
