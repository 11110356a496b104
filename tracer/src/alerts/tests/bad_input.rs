//! Files of alerts that were damaged, with a checksum that says they are not: each is read or
//! refused, reads back as the same, and the alerts in it go on.

use proptest::prelude::*;

use super::*;
use crate::{damaged::damaged, event::Owner};
use state::State as Saved;

const WORDS: [&str; 24] = [
    "\"",
    "\\",
    "\\ud800",
    "\\u0000",
    "\u{1b}[2J",
    "\u{fffd}",
    ",",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "0",
    "18446744073709551615",
    "-1",
    "1e308",
    "\"Firing\"",
    "{\"Resolved\":{\"at\":\"1970-01-01T00:00:00Z\",\"why\":\"quiet\"}}",
    "1677-09-21T00:12:43.145224193Z",
    "2262-04-11T23:47:16.854775807Z",
    "9999-12-30T22:00:00.999999999Z",
    "+25:59",
    "\"overflow\"",
];

/// States without their heads.
fn real() -> Vec<Vec<u8>> {
    let mut alerts = fresh();
    let empty = alerts.save();
    let owner = |pid| Owner {
        pid,
        comm: "nginx".to_owned(),
        unit: Some("nginx.service".to_owned()),
        ..Owner::default()
    };
    for last in 1..4 {
        let mut event = gap(last, at(0));
        event.listener.as_mut().expect("the wildcard").owners = (1..3).map(owner).collect();
        alerts.take(&event, at(0));
    }
    let firing = alerts.save();
    run(&mut alerts, 6 * MINUTE);
    alerts.take(&gap(7, at(6 * MINUTE)), at(6 * MINUTE));
    [empty, firing, alerts.save()]
        .map(|state| {
            let text = state.to_text();
            let (_, body) = text.split_once('\n').expect("a head");
            body.trim_end().as_bytes().to_vec()
        })
        .into()
}

fn with_head(body: &str) -> String {
    let sum = crc32fast::hash(body.as_bytes());
    format!("sockpick-alerts 1 {sum:08x}\n{body}\n")
}

/// Whatever it comes to, it goes on by the rules.
fn goes_on(state: Saved) -> Result<(), TestCaseError> {
    let now = at(10 * MINUTE);
    let known = state.len();
    let mut alerts = Alerts::restore(&AlertSettings::default(), state, now);
    prop_assert!(alerts.active() <= known);
    alerts.take(&gap(1, now), now);
    alerts.take(&right(2, now), now);
    for (_, notice) in run(&mut alerts, 14 * MINUTE) {
        let message = message::Message::of(&notice.alert);
        prop_assert!(
            !message.title.contains(char::is_control),
            "{}",
            message.title
        );
        prop_assert!(!message.text().is_empty());
    }
    run(&mut alerts, 60 * MINUTE);
    prop_assert_eq!((alerts.active(), alerts.next_timeout()), (0, None));
    Ok(())
}

proptest! {
    #[test]
    fn a_damaged_state_is_read_as_the_same_or_refused(bytes in damaged(real(), &WORDS)) {
        let body = String::from_utf8_lossy(&bytes);
        if let Ok(state) = Saved::from_text(&with_head(&body)) {
            let again = Saved::from_text(&state.to_text());
            prop_assert_eq!(again.as_ref(), Ok(&state));
            goes_on(state)?;
        }
    }

    #[test]
    fn a_file_that_is_damaged_with_its_head_is_refused(
        bytes in damaged(vec![with_head("{\"alerts\":[]}").into_bytes()], &WORDS)
    ) {
        let Ok(text) = String::from_utf8(bytes) else { return Ok(()) };
        if let Ok(state) = Saved::from_text(&text) {
            prop_assert_eq!(state.to_text(), text);
        }
    }
}
