//! What a real collector of OpenTelemetry takes of the story: its alert and its end, with what
//! docs/alerts.md says of them.

use std::collections::{BTreeMap, BTreeSet};

use sockpick::settings::{Given, Settings};

use super::{
    rotel::{self, Collector},
    story::{Story, Until, syns},
};

const PAGE: &str = include_str!("../../../docs/alerts.md");

/// What both records say.
const SAID: [(&str, &str); 12] = [
    ("service.name", "Str(sockpick)"),
    ("event.name", "Str(sockpick.alert)"),
    ("sockpick.verdict", "Str(uncovered)"),
    ("sockpick.reason", "Str(restart_gap)"),
    ("sockpick.service", "Str(A)"),
    ("sockpick.expected", "Str(6.6.6.6:80)"),
    ("sockpick.listener", "Str(*:80)"),
    ("network.peer.address", "Str(10.0.0.1)"),
    ("network.local.address", "Str(6.6.6.6)"),
    ("network.local.port", "Int(80)"),
    ("network.transport", "Str(tcp)"),
    ("network.type", "Str(ipv4)"),
];

/// A record as the collector prints it.
struct Record {
    lines: BTreeSet<String>,
    /// Those of the resource, too.
    attributes: BTreeMap<String, String>,
}

impl Record {
    /// The one of an alert in this state, if all of it is printed.
    fn find(said: &str, state: &str) -> Option<Self> {
        let state = format!("-> sockpick.state: Str({state})\n");
        let mut printed = said.split("ResourceLog #");
        let printed = printed.find(|one| one.contains(&state) && one.contains("\nFlags: "))?;
        let pairs = printed
            .lines()
            .filter_map(|line| line.strip_prefix("     -> ")?.split_once(": "));
        Some(Self {
            lines: printed.lines().map(ToOwned::to_owned).collect(),
            attributes: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    fn says(&self, wanted: &[(&str, &str)]) {
        for (key, value) in wanted {
            let found = self.attributes.get(*key).map(String::as_str);
            assert_eq!(found, Some(*value), "{key} of {:?}", self.attributes);
        }
    }

    fn has(&self, wanted: &[&str]) {
        for line in wanted {
            assert!(self.lines.contains(*line), "no {line}: {:?}", self.lines);
        }
    }

    /// It has just the attributes that the page shows, but for this one.
    fn is_as_on_the_page(&self, without: &str) {
        let mut wanted = shown();
        wanted.remove(without);
        // The page leaves out the one; not every host has the other.
        let found: BTreeSet<&str> = self.attributes.keys().map(String::as_str).collect();
        wanted.insert("service.version");
        wanted.retain(|key| *key != "host.id" || found.contains(key));
        assert_eq!(found, wanted);
    }
}

/// The keys of the example in docs/alerts.md.
fn shown() -> BTreeSet<&'static str> {
    let (_, example) = PAGE.split_once("<!-- example: otlp -->").expect("it");
    let text = example.split("```").nth(1).expect("a block");
    let keys = text.lines().filter_map(|line| line.split_once('='));
    keys.map(|(key, _)| key).collect()
}

fn settings(collector: &Collector) -> Settings {
    let text = format!(
        "[[service]]\nname = \"A\"\nlisten = [\"6.6.6.6:80\"]\n\
         [[sink]]\ntype = \"otlp\"\nurl = \"http://{}\"\n",
        collector.at
    );
    Settings::new(&Given::default(), Some(&text)).expect("settings")
}

#[test]
fn a_collector_prints_the_alert_and_its_end() {
    let Some(program) = rotel::program() else {
        return;
    };
    let collector = Collector::start(&program);
    let mut story = Story::begin(&settings(&collector));

    story.tell(Until::Wrong);
    let began = collector.until("an alert", |said| Record::find(said, "firing"));
    began.has(&[
        "EventName: sockpick.alert",
        "SeverityText: ERROR",
        "Body: Str(UNCOVERED: *:80 gets SYNs for A (6.6.6.6:80))",
    ]);
    began.says(&SAID);
    began.is_as_on_the_page("sockpick.resolution");

    story.tell(Until::End);
    story.let_it_end();
    let ended = collector.until("its end", |said| Record::find(said, "resolved"));
    ended.has(&[
        "EventName: sockpick.alert",
        "SeverityText: INFO",
        "Body: Str(over: UNCOVERED: *:80 gets SYNs for A (6.6.6.6:80))",
    ]);
    ended.says(&SAID);
    let wrong = syns()
        .iter()
        .filter(|syn| syn["verdict"] == "uncovered")
        .count();
    ended.says(&[
        ("sockpick.resolution", "Str(recovered)"),
        ("sockpick.count", &format!("Int({wrong})")),
    ]);
    ended.is_as_on_the_page("");
}
