//! The settings as text that is read back as the same: what a configuration comes to.

use std::{
    fmt::{Display, Write as _},
    path::Path,
};

use super::{
    checked::Settings,
    feed::{AlertSettings, HttpTarget, PushSettings, SinkKind, SinkSettings, SpoolSettings},
    values::{bytes_text, duration_text},
    watch::Watch,
};
use crate::{
    event::Family,
    judge::{
        expectations::{Expectations, Service},
        netns::NetnsName,
    },
};

impl Settings {
    /// All of it as a configuration file, what was not written included. A key without a value is
    /// a comment. Files with secrets are named, and not read.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = Text::default();
        text.watch(&self.watch);
        for service in &self.expectations.services {
            text.service(service);
        }
        text.learn(&self.expectations);
        text.daemon(self);
        for sink in &self.sinks {
            text.sink(sink);
        }
        text.0
    }
}

/// A file that grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn table(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}{header}"));
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn key(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.key(key, quoted(&value.to_string()));
    }

    fn list<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().map(|value| value.to_string());
        let values: Vec<String> = values.collect();
        self.key(key, format_args!("[{}]", values.join(", ")));
    }

    fn texts<T: ToString>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().map(|value| quoted(&value.to_string()));
        self.list(key, values);
    }

    fn maybe<T: Display>(&mut self, key: &str, value: Option<T>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.line(format_args!("# {key}: not set")),
        }
    }

    fn file(&mut self, key: &str, path: Option<&Path>) {
        self.maybe(key, path.map(Path::display));
    }

    fn watch(&mut self, watch: &Watch) {
        self.table("[watch]");
        // Ranges are text and single ports numbers, as people write them.
        let port = |port: String| match port.parse::<u16>() {
            Ok(_) => port,
            Err(_) => quoted(&port),
        };
        self.list(
            "ports",
            watch.ports.iter().map(|ports| port(ports.to_string())),
        );
        self.texts("dst", &watch.destinations);
        self.texts("src", &watch.sources);
        self.texts("netns", watch.netns.iter().map(netns));
        let family = watch.family.map(|family| match family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        });
        self.maybe("family", family);
    }

    fn service(&mut self, service: &Service) {
        self.table("[[service]]");
        self.text("name", &service.name);
        self.texts("listen", &service.listen);
        self.maybe("netns", service.netns.as_ref().map(netns));
        let owner = &service.owner;
        self.maybe("unit", owner.unit.as_ref());
        self.maybe("exe", owner.exe.as_ref());
        self.maybe("comm", owner.comm.as_ref());
        match owner.uid {
            Some(uid) => self.key("uid", uid),
            None => self.maybe::<u32>("uid", None),
        }
    }

    fn learn(&mut self, expectations: &Expectations) {
        self.table("[learn]");
        self.key("enabled", expectations.hold.is_some());
        self.maybe("hold", expectations.hold.map(duration_text));
    }

    fn daemon(&mut self, settings: &Settings) {
        let alerts = &settings.alerts;
        self.table("[alerts]");
        let on = alerts.on.iter().map(ToString::to_string);
        let groups = alerts.on_groups.then(|| AlertSettings::GROUPS.to_owned());
        self.texts("on", on.chain(groups));
        self.text("resend", duration_text(alerts.resend));
        self.text("quiet", duration_text(alerts.quiet));
        self.key("max_active", alerts.max_active);
        self.file("state", alerts.state.as_deref());
        self.table("[metrics]");
        self.maybe("listen", settings.metrics.listen.as_ref());
        self.key("max_series", settings.metrics.max_series);
        self.pushes(settings.metrics.otlp.as_ref());
        self.table("[stream]");
        self.text("events", settings.stream);
        self.table("[daemon]");
        let self_check = settings.daemon.self_check.map(duration_text);
        self.text("self_check", self_check.as_deref().unwrap_or("off"));
        self.text("on_untraceable", settings.daemon.on_untraceable.word());
        self.text("audit", duration_text(settings.daemon.audit));
    }

    fn pushes(&mut self, pushes: Option<&PushSettings>) {
        let Some(PushSettings { target, interval }) = pushes else {
            return self.line("# [metrics.otlp]: not set");
        };
        self.table("[metrics.otlp]");
        self.text("url", &target.url);
        self.text("interval", duration_text(*interval));
        self.target(target);
    }

    fn sink(&mut self, sink: &SinkSettings) {
        self.table("[[sink]]");
        self.text("type", sink.to.word());
        self.text("name", &sink.name);
        self.key("queue", sink.queue);
        match &sink.to {
            SinkKind::Alertmanager(targets) => {
                self.texts("urls", targets.iter().map(|target| &target.url));
                // They differ in nothing else.
                if let Some(target) = targets.first() {
                    self.target(target);
                }
            }
            SinkKind::Webhook {
                target,
                secret_file,
            } => {
                self.text("url", &target.url);
                self.file("secret_file", secret_file.as_deref());
                self.target(target);
                self.spool(sink.spool.as_ref());
            }
            SinkKind::Otlp(target) => {
                self.text("url", &target.url);
                self.target(target);
                self.spool(sink.spool.as_ref());
            }
            SinkKind::File {
                path,
                rotate_bytes,
                keep,
            } => {
                self.file("path", Some(path));
                let rotate = rotate_bytes.map(bytes_text);
                self.text("rotate", rotate.as_deref().unwrap_or("off"));
                self.key("keep", keep);
            }
            SinkKind::Journald => self.spool(sink.spool.as_ref()),
            SinkKind::Stdout => {}
        }
    }

    fn spool(&mut self, spool: Option<&SpoolSettings>) {
        self.file("spool", spool.map(|spool| &*spool.path));
        let size = bytes_text(spool.map_or(SpoolSettings::USUAL_BYTES, |spool| spool.bytes));
        let age = duration_text(spool.map_or(SpoolSettings::USUAL_AGE, |spool| spool.age));
        for (key, value) in [("spool_size", size), ("spool_age", age)] {
            match spool {
                Some(_) => self.text(key, value),
                // Alone it would be refused.
                None => self.line(format_args!("# {key}: \"{value}\" with a spool")),
            }
        }
    }

    fn target(&mut self, target: &HttpTarget) {
        self.file("ca_file", target.ca_file.as_deref());
        self.file("bearer_file", target.bearer_file.as_deref());
        self.text("timeout", duration_text(target.timeout));
    }
}

/// A namespace as it is meant: one may be called `7`, or `pid:1`.
fn netns(name: &NetnsName) -> String {
    let text = name.to_string();
    match NetnsName::parse(&text) {
        Ok(read) if read == *name => text,
        _ => format!("/run/netns/{text}"),
    }
}

/// As a basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
