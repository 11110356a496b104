//! The settings as text that is read back as the same: what a configuration comes to.

use super::{
    checked::Settings,
    feed::{AlertSettings, PushSettings},
    values::duration_text,
    watch::Watch,
    writer::{Text, quoted},
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
            sink.write(&mut text);
        }
        text.into_string()
    }
}

impl Text {
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
        self.text("url", target.url.as_written());
        self.text("interval", duration_text(*interval));
        self.target(target);
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
