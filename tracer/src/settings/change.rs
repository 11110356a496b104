//! What a reload has to do: how new settings differ from those that are in force.

use std::fmt;

use super::{checked::Settings, sink::SinkSettings};

/// What is to be done for new settings to be in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each says of one table whether it differs, and any may"
)]
pub struct Changes {
    /// Other SYNs are looked at: the kernel's filters are to be made anew.
    pub attach_anew: bool,
    /// Other services, or another hold time.
    pub expectations: bool,
    /// Other alerts, or other times of them.
    pub alerts: bool,
    /// Metrics are to be had elsewhere.
    pub metrics_listen: bool,
    /// Metrics are pushed elsewhere, or at other times, or no more.
    pub pushes: bool,
    /// Another number of series.
    pub max_series: bool,
    /// Other events go to sinks.
    pub stream: bool,
    /// The self-check runs at other times.
    pub self_check: bool,
    /// Something else is done on a host that cannot be traced.
    pub inventory: bool,
    /// What becomes of the sinks.
    pub sinks: SinkChanges,
}

/// What becomes of the sinks. One that differs in anything is ended, and another of that name
/// begun; those that are named in neither go on, with all that waits for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkChanges {
    /// They are to be ended, by their names.
    pub ended: Vec<String>,
    /// They are to be begun, after those that end.
    pub begun: Vec<SinkSettings>,
}

impl SinkChanges {
    /// Whether all go on.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.ended.is_empty() && self.begun.is_empty()
    }
}

/// How `new` differs from `old`.
#[must_use]
pub fn changes(old: &Settings, new: &Settings) -> Changes {
    Changes {
        attach_anew: old.watch != new.watch,
        expectations: old.expectations != new.expectations,
        alerts: old.alerts != new.alerts,
        metrics_listen: old.metrics.listen != new.metrics.listen,
        pushes: old.metrics.otlp != new.metrics.otlp,
        max_series: old.metrics.max_series != new.metrics.max_series,
        stream: old.stream != new.stream,
        self_check: old.daemon.self_check != new.daemon.self_check,
        inventory: old.daemon.on_untraceable != new.daemon.on_untraceable
            || old.daemon.audit != new.daemon.audit,
        sinks: sinks(&old.sinks, &new.sinks),
    }
}

fn sinks(old: &[SinkSettings], new: &[SinkSettings]) -> SinkChanges {
    let ended = old.iter().filter(|sink| !new.contains(sink));
    let begun = new.iter().filter(|sink| !old.contains(sink));
    SinkChanges {
        ended: ended.map(|sink| sink.name.clone()).collect(),
        begun: begun.cloned().collect(),
    }
}

/// One line for the log: which tables differ, and which sinks.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = [
            (self.attach_anew, "[watch]"),
            (self.expectations, "[[service]] or [learn]"),
            (self.alerts, "[alerts]"),
            (self.metrics_listen || self.max_series, "[metrics]"),
            (self.pushes, "[metrics.otlp]"),
            (self.stream, "[stream]"),
            (self.self_check || self.inventory, "[daemon]"),
        ];
        let tables = tables.iter().filter(|(differs, _)| *differs);
        let mut words: Vec<String> = tables.map(|(_, table)| (*table).to_owned()).collect();
        let ended = self.sinks.ended.iter();
        words.extend(ended.map(|name| format!("sink {name} ends")));
        let begun = self.sinks.begun.iter();
        words.extend(begun.map(|sink| format!("sink {} begins", sink.name)));
        if words.is_empty() {
            return f.write_str("nothing");
        }
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Given;

    fn read(text: &str) -> Settings {
        Settings::new(&Given::default(), Some(text)).expect(text)
    }

    #[test]
    fn each_table_has_a_change_of_its_own() {
        let old = Settings::default();
        for (text, said) in [
            ("", "nothing"),
            ("[watch]\nports = [80]", "[watch]"),
            (
                "[[service]]\nname = 'A'\nlisten = ['*:80']",
                "[[service]] or [learn]",
            ),
            ("[learn]\nenabled = false", "[[service]] or [learn]"),
            ("[alerts]\nquiet = '6m'", "[alerts]"),
            ("[metrics]\nlisten = '127.0.0.1:1'", "[metrics]"),
            ("[metrics]\nmax_series = 100", "[metrics]"),
            ("[metrics.otlp]\nurl = 'http://h'", "[metrics.otlp]"),
            ("[stream]\nevents = 'all'", "[stream]"),
            ("[daemon]\nself_check = 'off'", "[daemon]"),
            ("[daemon]\non_untraceable = 'inventory'", "[daemon]"),
            ("[daemon]\naudit = '1h'", "[daemon]"),
            ("[[sink]]\ntype = 'stdout'", "sink stdout begins"),
        ] {
            let new = read(text);
            let there = changes(&old, &new);
            assert_eq!(there.to_string(), said, "{text}");
            assert_eq!(there == Changes::default(), text.is_empty(), "{text}");
            let back = changes(&new, &old);
            assert_eq!(back.to_string(), said.replace("begins", "ends"), "{text}");
            assert_eq!(changes(&new, &new), Changes::default());
        }
    }

    #[test]
    fn a_sink_that_differs_ends_and_begins_and_the_others_go_on() {
        let sink = |name: &str, path: &str| {
            format!("[[sink]]\ntype = 'file'\nname = '{name}'\npath = '{path}'\n")
        };
        let old = read(&(sink("a", "/a") + &sink("b", "/b") + &sink("c", "/c")));
        let new = read(&(sink("d", "/d") + &sink("a", "/a") + &sink("b", "/other")));
        let SinkChanges { ended, begun } = changes(&old, &new).sinks;
        assert_eq!(ended, ["b", "c"]);
        let begun: Vec<&str> = begun.iter().map(|sink| &*sink.name).collect();
        assert_eq!(begun, ["d", "b"]);
    }
}
