//! The guest's script.

use std::fmt::Write as _;

use super::kinds::{BURST, BURSTS, CROWDS, Crowd, KINDS, Kind, SHARED, STARTS, STOPPED};
use super::variants::{DAEMON, JSON, VARIANTS, Variant, named};

/// Connections of one sample, and which rows are asked for; none: all.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) rows: &'a [String],
    pub(super) connections: u32,
}

impl Wanted<'_> {
    fn has(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == name)
    }

    fn head(&self) -> String {
        format!(
            "CONNECTIONS={}\n{}",
            self.connections,
            include_str!("guest.sh")
        )
    }

    /// Names of all that can be asked for.
    pub(super) fn names() -> Vec<&'static str> {
        let ways = VARIANTS.iter().map(|variant| variant.name);
        let kinds = KINDS.iter().map(|kind| kind.name);
        ways.chain(kinds).chain([STARTS, BURSTS]).collect()
    }
}

/// Ways to watch. None where only others are asked for.
pub(super) fn ways(wanted: Wanted<'_>, is_short: bool) -> Option<String> {
    let is_wanted =
        |variant: &&Variant| wanted.has(variant.name) && (!is_short || variant.is_short);
    let variants: Vec<_> = VARIANTS.iter().filter(is_wanted).collect();
    if variants.is_empty() {
        return None;
    }
    let mut script = wanted.head();
    script.push_str("baseline\n");
    for variant in &variants {
        let _ = writeln!(script, "{}", variant.line());
    }
    script.push_str("baseline\n");
    if let Some(daemon) = variants.iter().find(|variant| variant.name == DAEMON)
        && !is_short
    {
        let _ = writeln!(script, "parts {}", daemon.command());
    }
    if !is_short {
        script.push_str("idle json sockpick trace -o json\n");
    }
    Some(script)
}

/// Other connections, starts and bursts. None where only ways to watch are asked for.
pub(super) fn others(wanted: Wanted<'_>) -> Option<String> {
    let kinds = KINDS.iter().filter(|kind| wanted.has(kind.name));
    let mut kinds: Vec<_> = kinds.collect();
    let has = [STARTS, BURSTS].map(|name| wanted.has(name));
    if kinds.is_empty() && has == [false, false] {
        return None;
    }
    let mut script = wanted.head();
    if has[1] {
        for way in [SHARED, STOPPED] {
            let _ = writeln!(script, "burst {way} {BURST}");
        }
    }
    kinds.retain(|kind| {
        if kind.crowd == 0 {
            script.push_str(&measured(kind));
        }
        kind.crowd > 0
    });
    for crowd in &CROWDS {
        let is_here = |kind: &&&Kind| crowd.namespaces == 1 && kind.crowd == crowd.listeners;
        let kind = kinds.iter().find(is_here);
        script.push_str(&beside(crowd, kind.copied(), has[0]));
    }
    Some(script)
}

/// One kind of connections, and who watches them.
fn measured(kind: &Kind) -> String {
    let mut text = format!("KIND={}/ LIKE='{}'\nbaseline\n", kind.name, kind.options);
    for variant in [JSON, DAEMON].into_iter().filter_map(named) {
        let _ = writeln!(text, "{}", variant.line());
    }
    text.push_str("KIND= LIKE=\n");
    text
}

/// What is measured while a crowd is there.
fn beside(crowd: &Crowd, kind: Option<&Kind>, starts: bool) -> String {
    if !starts && kind.is_none() {
        return String::new();
    }
    let mut text = format!("crowd {} {}\n", crowd.listeners, crowd.namespaces);
    let tools = [(JSON, true), (DAEMON, crowd.has_daemon)];
    let tools = tools.into_iter().filter(|(_, does)| starts && *does);
    for variant in tools.filter_map(|(name, _)| named(name)) {
        let (tool, command) = (variant.name, variant.command());
        let _ = writeln!(text, "began {}/{tool} {command}", crowd.name);
    }
    text.push_str(&kind.map(measured).unwrap_or_default());
    text.push_str("scatter\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(rows: &[String]) -> Wanted<'_> {
        Wanted {
            rows,
            connections: 4000,
        }
    }

    #[test]
    fn every_way_and_every_crowd_is_measured() {
        let script = ways(wanted(&[]), false).unwrap_or_default();
        assert!(script.starts_with("CONNECTIONS=4000\n"));
        for variant in &VARIANTS {
            let call = format!("measure {} ", variant.name);
            assert_eq!(script.matches(&call).count(), 1, "{call}");
        }
        let script = others(wanted(&[])).unwrap_or_default();
        for kind in &KINDS {
            let call = format!("KIND={}/ ", kind.name);
            assert_eq!(script.matches(&call).count(), 1, "{call}");
        }
        assert_eq!(script.matches("\ncrowd ").count(), CROWDS.len());
        assert_eq!(script.matches("\nbegan ").count(), CROWDS.len() + 2);
    }

    #[test]
    fn rows_that_are_not_asked_for_are_left_out() {
        let rows = ["daemon".to_owned()];
        let script = ways(wanted(&rows), false).unwrap_or_default();
        assert_eq!(script.matches("measure daemon ").count(), 1);
        assert_eq!(script.matches("measure json ").count(), 0);
        assert!(others(wanted(&rows)).is_none());
        let rows = ["beside-1000".to_owned()];
        assert!(ways(wanted(&rows), false).is_none());
        let script = others(wanted(&rows)).unwrap_or_default();
        assert_eq!(script.matches("\ncrowd 1000 1\n").count(), 1);
        assert_eq!(script.matches("\nbegan ").count(), 0);
    }

    #[test]
    fn the_short_set_leaves_out_what_prints() {
        let script = ways(wanted(&[]), true).unwrap_or_default();
        let has = |text: &str| script.contains(text);
        assert!(has("measure daemon ") && has("measure bpftrace-count "));
        assert!(!has("measure bpftrace-listener ") && !has("idle json "));
    }
}
