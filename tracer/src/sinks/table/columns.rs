//! The columns, and what each says of a SYN.

use anstyle::{AnsiColor, Style};

use crate::{
    event::{Event, Match, Reason, Reuseport, Verdict, Via},
    words::{self, bound, namespace},
};

/// The columns; the last, OWNER, is as wide as it must be.
pub(super) const COLUMNS: [Column; 6] = [
    Column::new("TIME", 12),
    Column::new("CLIENT → DESTINATION", 37),
    Column::new("LISTENER", 15),
    Column::new("MATCH VIA", 23),
    Column::new("MEMBER", 6),
    Column::new("OWNER", 0),
];
/// Position of the column that is coloured.
pub(super) const MATCH: usize = 3;
/// Columns of which no two lines have the same.
pub(super) const LEFT: usize = 2;
/// The others.
pub(super) const RIGHT: usize = COLUMNS.len() - LEFT;

/// A column's title, and its width until something wider comes.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) width: usize,
}

impl Column {
    const fn new(title: &'static str, width: usize) -> Self {
        Self { title, width }
    }
}

/// The cells from LISTENER on, and the style of the one that is coloured.
pub(super) fn right(event: &Event, own_netns: u32) -> ([String; RIGHT], Style) {
    let (chosen, style) = chosen(event);
    let listener = event.listener.as_ref();
    let cells = [
        listener.map_or_else(dash, bound),
        chosen,
        member(event),
        owner(event, own_netns),
    ];
    (cells, style)
}

fn owner(event: &Event, own_netns: u32) -> String {
    let mut text = event.listener.as_ref().map_or_else(dash, words::holder);
    if event.netns.inode != own_netns {
        text += " netns=";
        text += &namespace(&event.netns);
    }
    if let Some(mark) = mark(event) {
        text += " ";
        text += mark.word();
    }
    text
}

/// What is to be said of a SYN that got the right listener.
fn mark(event: &Event) -> Option<Reason> {
    event.reason.filter(|_| event.verdict == Verdict::Ok)
}

pub(super) fn dash() -> String {
    "-".to_owned()
}

/// The words for match and via, and their colour.
fn chosen(event: &Event) -> (String, Style) {
    let (fit, style) = match (event.matched, &event.listener) {
        (_, None) => ("refused", AnsiColor::Red.on_default()),
        (matched @ Match::Exact, _) => (matched.word(), AnsiColor::Green.on_default()),
        (matched @ (Match::Wildcard | Match::DualStack), _) => {
            (matched.word(), AnsiColor::Yellow.on_default())
        }
        (Match::None, _) => (Match::None.word(), Style::new()),
    };
    if event.via == Via::Lookup && event.listener.is_none() {
        return (fit.to_owned(), style);
    }
    let via = event.via.word();
    (format!("{fit} {via}"), style)
}

fn member(event: &Event) -> String {
    let Some(Reuseport { size, member, .. }) = event.reuseport else {
        return dash();
    };
    match (member, &event.listener) {
        (Some(member), _) => format!("[{member}]/{size}"),
        (None, Some(_)) => format!("[?]/{size}"),
        // The group's program dropped the packet.
        (None, None) => format!("-/{size}"),
    }
}
