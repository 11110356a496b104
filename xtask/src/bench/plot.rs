//! The figures as a picture: a bar for each way to watch, a part for each kernel.

use std::fmt;

use super::figures::{Column, Row};
use super::tables::{grouped, rounded};
use crate::chart::{begin, escaped};

const WIDTH: u64 = 820;
/// Where bars begin, and how long the longest is.
const LEFT: u64 = 330;
const LONGEST: u64 = 400;
const LINE: u64 = 18;
const TITLE: u64 = 56;

const PROBES: &str = "#1f77b4";
const PROCESS: &str = "#ff7f0e";
const OTHERS: &str = "#7f7f7f";

/// All kernels.
pub(super) struct Plot<'a>(pub(super) &'a [Column]);

impl Plot<'_> {
    fn most(&self) -> u64 {
        let rows = self.0.iter().flat_map(|column| &column.rows);
        rows.map(|row| row.added.value).max().unwrap_or(0).max(1)
    }

    fn height(&self) -> u64 {
        // A heading and a gap for each kernel.
        let lines: usize = self.0.iter().map(|column| column.rows.len() + 2).sum();
        TITLE + LINE * lines as u64
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        begin(f, WIDTH, self.height())?;
        writeln!(
            f,
            r#"<text x="14" y="20" font-size="14" font-weight="bold">Instructions that watching adds to a connection</text>"#
        )?;
        let legend = [
            (PROBES, "sockpick's probes"),
            (PROCESS, "sockpick's process"),
            (OTHERS, "bpftrace"),
        ];
        for (nth, (color, what)) in legend.iter().enumerate() {
            let x = 14 + 160 * nth;
            writeln!(
                f,
                r#"<rect x="{x}" y="31" width="12" height="10" fill="{color}"/><text x="{}" y="40">{what}</text>"#,
                x + 18
            )?;
        }
        Ok(())
    }

    fn bar(&self, f: &mut fmt::Formatter<'_>, row: &Row, y: u64) -> fmt::Result {
        let added = row.added.value;
        writeln!(
            f,
            r#"<text x="{}" y="{y}" text-anchor="end">{}</text>"#,
            LEFT - 8,
            escaped(&row.about.replace('`', ""))
        )?;
        let mut from = LEFT;
        for (length, color) in lengths(row) {
            let width = length * LONGEST / self.most();
            let top = y - 10;
            writeln!(
                f,
                r#"<rect x="{from}" y="{top}" width="{width}" height="12" fill="{color}"/>"#
            )?;
            from += width;
        }
        let told = grouped(rounded(added, 10));
        writeln!(f, r#"<text x="{}" y="{y}">{told}</text>"#, from + 6)
    }
}

/// The parts of a bar.
fn lengths(row: &Row) -> Vec<(u64, &'static str)> {
    let added = row.added.value;
    match row.user {
        Some(user) => vec![
            (added.saturating_sub(user), PROBES),
            (user.min(added), PROCESS),
        ],
        None => vec![(added, OTHERS)],
    }
}

impl fmt::Display for Plot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        let mut y = TITLE;
        for column in self.0 {
            y += LINE;
            let alone = grouped(rounded(column.baseline.value, 10));
            writeln!(
                f,
                r#"<text x="14" y="{y}" font-weight="bold">Linux {}: {alone} if nobody watches</text>"#,
                column.kernel
            )?;
            for row in &column.rows {
                y += LINE;
                self.bar(f, row, y)?;
            }
            y += LINE;
        }
        writeln!(f, "</svg>")
    }
}

#[cfg(test)]
mod tests {
    use super::Plot;
    use crate::bench::figures::{Column, Figure, Row};

    #[test]
    fn a_bar_has_the_parts_of_its_figure() {
        let row = |value, user| Row {
            name: "a",
            about: "`a` & b",
            added: Figure { value, spread: 0 },
            user,
            resident: None,
        };
        let column = Column {
            kernel: "6.12".into(),
            rows: vec![row(1000, Some(250)), row(500, None)],
            ..Column::default()
        };
        let drawn = Plot(&[column]).to_string();
        let has = |text: &str| drawn.contains(text);
        assert!(has("a &amp; b") && has(">1,000<"), "{drawn}");
        assert!(has(r#"width="300""#) && has(r#"width="100""#), "{drawn}");
        assert!(
            has(r##"width="200" height="12" fill="#7f7f7f""##),
            "{drawn}"
        );
    }
}
