//! One line of the table: cells and their alignment.

use std::io::Write as _;

use anstyle::Style;

use super::columns::{COLUMNS, LEFT, MATCH, RIGHT};

/// A column that was wider than so many lines in a row needed gets narrower again.
const SHRINKS_AFTER: usize = 32;
/// Blanks between columns.
const GAP: usize = 2;

const SPACES: [u8; 64] = [b' '; 64];

/// A text and how many columns it takes.
#[derive(Clone, Debug, Default)]
pub(super) struct Cell {
    text: Vec<u8>,
    wide: usize,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        let wide = text.chars().count();
        let text = text.into_bytes();
        Self { text, wide }
    }
}

/// How wide the columns are.
#[derive(Debug)]
pub(super) struct Widths {
    now: [usize; COLUMNS.len()],
    /// What the lines since then needed, and how many they were.
    needed: [usize; COLUMNS.len()],
    lines: usize,
    /// Counts when columns may have got narrower.
    round: u64,
}

impl Widths {
    pub(super) fn new() -> Self {
        Self {
            now: COLUMNS.map(|column| column.width),
            needed: COLUMNS.map(|column| column.width),
            lines: 0,
            round: 0,
        }
    }

    /// A line begins.
    pub(super) fn begin(&mut self) {
        self.lines += 1;
        if self.lines > SHRINKS_AFTER {
            self.lines = 0;
            self.round += 1;
            self.now = self.needed;
            self.needed = COLUMNS.map(|column| column.width);
        }
    }

    /// Ends a cell that is so wide: the column holds it from now on.
    pub(super) fn end(&mut self, index: usize, wide: usize, line: &mut Vec<u8>) {
        self.hold(index, wide);
        if index + 1 < COLUMNS.len() {
            blanks(line, self.now[index] - wide + GAP);
        }
    }

    fn hold(&mut self, index: usize, wide: usize) {
        self.needed[index] = wide.max(self.needed[index]);
        self.now[index] = wide.max(self.now[index]);
    }

    /// The titles.
    pub(super) fn head(&mut self, line: &mut Vec<u8>) {
        self.begin();
        for (index, column) in COLUMNS.iter().enumerate() {
            line.extend_from_slice(column.title.as_bytes());
            self.end(index, column.title.chars().count(), line);
        }
    }
}

fn blanks(line: &mut Vec<u8>, wide: usize) {
    let end = line.len() + wide;
    // A copy of known length costs least.
    while line.len() < end {
        line.extend_from_slice(&SPACES);
    }
    line.truncate(end);
}

/// The right half of a line: from LISTENER on.
#[derive(Debug)]
pub(super) struct Right {
    cells: [Cell; RIGHT],
    style: Option<Style>,
    /// As they were written last, for columns that were so wide; and when they were held.
    text: Vec<u8>,
    wide: [usize; RIGHT],
    held: Option<u64>,
}

impl Right {
    /// `style`: of the column that is coloured.
    pub(super) fn new(cells: [String; RIGHT], style: Option<Style>) -> Self {
        Self {
            cells: cells.map(Cell::from),
            style,
            text: Vec::new(),
            wide: [0; RIGHT],
            held: None,
        }
    }

    pub(super) fn push(&mut self, line: &mut Vec<u8>, widths: &mut Widths) {
        if self.held != Some(widths.round) {
            self.held = Some(widths.round);
            for (index, cell) in (LEFT..).zip(&self.cells) {
                widths.hold(index, cell.wide);
            }
        }
        if widths.now[LEFT..] != self.wide {
            self.wide.copy_from_slice(&widths.now[LEFT..]);
            self.write(widths);
        }
        line.extend_from_slice(&self.text);
    }

    fn write(&mut self, widths: &mut Widths) {
        let line = &mut self.text;
        line.clear();
        for (index, cell) in (LEFT..).zip(&self.cells) {
            match self.style.filter(|_| index == MATCH) {
                Some(style) => {
                    // A `Vec` takes everything.
                    let _ = write!(line, "{style}");
                    line.extend_from_slice(&cell.text);
                    let _ = write!(line, "{style:#}");
                }
                None => line.extend_from_slice(&cell.text),
            }
            widths.end(index, cell.wide, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn right(texts: &[String]) -> Right {
        let cells = [0, 1, 2, 3].map(|nth| texts[nth].clone());
        let style = texts[0].contains('a').then(|| Style::new().bold());
        Right::new(cells, style)
    }

    proptest! {
        #[test]
        fn a_half_that_was_written_before_is_as_if_it_was_not(
            texts in prop::collection::vec(prop::collection::vec("[ab→]{0,30}", 4), 1..5),
            lines in prop::collection::vec((any::<prop::sample::Index>(), 0..50_usize), 0..200),
        ) {
            let mut kept: Vec<Right> = texts.iter().map(|texts| right(texts)).collect();
            let (mut widths, mut anew) = (Widths::new(), Widths::new());
            for (nth, wide) in lines {
                let nth = nth.index(texts.len());
                let line = |right: &mut Right, widths: &mut Widths| {
                    let mut line = Vec::new();
                    widths.begin();
                    widths.end(0, wide, &mut line);
                    right.push(&mut line, widths);
                    line
                };
                let one = line(&mut kept[nth], &mut widths);
                prop_assert_eq!(one, line(&mut right(&texts[nth]), &mut anew));
            }
        }
    }
}
