//! A configuration file that grows.

use std::{
    fmt::{Display, Write as _},
    path::Path,
};

use super::{feed::HttpTarget, values::duration_text};

/// A file that grows.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn table(&mut self, header: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        self.line(format_args!("{gap}{header}"));
    }

    pub(super) fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    pub(super) fn key(&mut self, key: &str, value: impl Display) {
        self.line(format_args!("{key} = {value}"));
    }

    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.key(key, quoted(&value.to_string()));
    }

    pub(super) fn list<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().map(|value| value.to_string());
        let values: Vec<String> = values.collect();
        self.key(key, format_args!("[{}]", values.join(", ")));
    }

    pub(super) fn texts<T: ToString>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let values = values.into_iter().map(|value| quoted(&value.to_string()));
        self.list(key, values);
    }

    pub(super) fn maybe<T: Display>(&mut self, key: &str, value: Option<T>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.line(format_args!("# {key}: not set")),
        }
    }

    pub(super) fn file(&mut self, key: &str, path: Option<&Path>) {
        self.maybe(key, path.map(Path::display));
    }

    pub(super) fn target(&mut self, target: &HttpTarget) {
        self.file("ca_file", target.ca_file.as_deref());
        self.file("bearer_file", target.bearer_file.as_deref());
        self.text("timeout", duration_text(target.timeout));
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// As a basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
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
