//! A message, and what every kind of it is put together from.

use jiff::Timestamp;

use crate::{
    alerts::alert::{Alert, State},
    event::Time,
    words::printable,
};

/// The page that explains verdicts and reasons, from the root of the documentation.
pub(super) const PAGE: &str = "docs/verdicts.md";

/// An alert in words: one line each, without a line's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// All of it in one line.
    pub title: String,
    /// What happens.
    pub what: String,
    /// To whom, since when, how often.
    pub whom: String,
    /// Who got the SYNs.
    pub instead: String,
    /// The cause, and since when.
    pub why: String,
    /// What to do about it.
    pub remedy: String,
    /// Why it is taken to be over, if it is.
    pub over: Option<String>,
    /// Where more is written: a page of the documentation and the heading's anchor.
    pub docs: String,
}

impl Message {
    /// The sentences, a line each, with where more is written; of an alert that is over, first
    /// why it is, and no remedy.
    #[must_use]
    pub fn text(&self) -> String {
        let (what, whom, instead, why) = (&self.what, &self.whom, &self.instead, &self.why);
        let docs = &self.docs;
        if let Some(over) = &self.over {
            format!("{over}\nUntil then: {what}\n{whom}\n{instead}\n{why}\nMore: {docs}")
        } else {
            let remedy = &self.remedy;
            format!("{what}\n{whom}\n{instead}\n{why}\n{remedy}\nMore: {docs}")
        }
    }

    /// Names are others' choice: without what would end a line.
    pub(super) fn cleaned(mut self) -> Self {
        let texts = [
            &mut self.title,
            &mut self.what,
            &mut self.whom,
            &mut self.instead,
            &mut self.why,
            &mut self.remedy,
        ];
        for text in texts.into_iter().chain(&mut self.over) {
            *text = printable(text).into_owned();
        }
        self
    }
}

fn is_over(alert: &Alert) -> bool {
    alert.state != State::Firing
}

/// What is before the title of one that is over.
pub(super) fn mark(alert: &Alert) -> &'static str {
    if is_over(alert) { "over: " } else { "" }
}

/// What is said of a number that may grow.
pub(super) fn so_far(alert: &Alert) -> &'static str {
    if is_over(alert) { "in all" } else { "so far" }
}

/// To the second, in UTC.
pub(super) fn clock(time: Time) -> String {
    Timestamp::from_nanosecond(time.0.into()).map_or_else(
        |_| "?".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}
