//! One line of the table: cells, columns, alignment.

use std::io::Write as _;

use anstyle::Style;

/// The columns; the last, OWNER, is as wide as it must be.
pub(super) const COLUMNS: [Column; 6] = [
    Column::new("TIME", 12),
    Column::new("CLIENT → DESTINATION", 37),
    Column::new("LISTENER", 15),
    Column::new("MATCH VIA", 23),
    Column::new("MEMBER", 6),
    Column::new("OWNER", 0),
];
/// A column that was wider than so many lines in a row needed gets narrower again.
const SHRINKS_AFTER: usize = 32;
/// Position of the column that is coloured.
pub(super) const MATCH: usize = 3;
/// Blanks between columns.
const GAP: usize = 2;

const SPACES: [u8; 64] = [b' '; 64];

/// A text and how many columns it takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    pub(super) text: Vec<u8>,
    pub(super) wide: usize,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        let wide = text.chars().count();
        let text = text.into_bytes();
        Self { text, wide }
    }
}

/// A column's title, and its width until something wider comes.
pub(super) struct Column {
    pub(super) title: &'static str,
    width: usize,
}

impl Column {
    const fn new(title: &'static str, width: usize) -> Self {
        Self { title, width }
    }
}

/// The line that is being put together.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) text: Vec<u8>,
    widths: [usize; COLUMNS.len()],
    /// What the lines since then needed, and how many they were.
    needed: [usize; COLUMNS.len()],
    lines: usize,
    /// Columns written so far, and where the next one should begin.
    at: usize,
    start: usize,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            text: Vec::new(),
            widths: COLUMNS.map(|column| column.width),
            needed: COLUMNS.map(|column| column.width),
            lines: 0,
            at: 0,
            start: 0,
        }
    }

    pub(super) fn begin(&mut self) {
        self.text.clear();
        (self.at, self.start) = (0, 0);
        self.lines += 1;
        if self.lines > SHRINKS_AFTER {
            self.lines = 0;
            self.widths = self.needed;
            self.needed = COLUMNS.map(|column| column.width);
        }
    }

    pub(super) fn cell(&mut self, index: usize, cell: &Cell, style: Option<Style>) {
        if index > 0 {
            let mut blanks = self.start.max(self.at + GAP) - self.at;
            self.at += blanks;
            while blanks > 0 {
                let some = blanks.min(SPACES.len());
                self.text.extend_from_slice(&SPACES[..some]);
                blanks -= some;
            }
        }
        match style {
            Some(style) => {
                // A `Vec` takes everything.
                let _ = write!(self.text, "{style}");
                self.text.extend_from_slice(&cell.text);
                let _ = write!(self.text, "{style:#}");
            }
            None => self.text.extend_from_slice(&cell.text),
        }
        self.at += cell.wide;
        self.needed[index] = cell.wide.max(self.needed[index]);
        self.widths[index] = cell.wide.max(self.widths[index]);
        self.start += self.widths[index] + GAP;
    }
}
