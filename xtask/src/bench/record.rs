//! What docs/overhead.md has on record, and whether that still holds.

use std::fs;

use anyhow::{Context, Result, bail};

use super::figures::Column;
use super::tables::grouped;
use crate::process::workspace_root;

/// A figure may be above the record by so many hundredths …
const SHARE: u64 = 5;
/// … or, where that is more, by so many instructions: two runs differ by as much, and the record is
/// rounded.
const LEAST: u64 = 450;

/// What costs more than is on record.
pub(super) fn above(column: &Column) -> Result<Vec<String>> {
    let path = workspace_root()?.join("docs/overhead.md");
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()));
    above_page(column, &page?)
}

fn above_page(column: &Column, page: &str) -> Result<Vec<String>> {
    let mut failures = Vec::new();
    for row in &column.rows {
        let (kernel, about, added) = (&column.kernel, row.about, row.added.value);
        let Some(recorded) = recorded(page, kernel, about) else {
            bail!("docs/overhead.md has no figure for {about} on {kernel}: cargo xtask bench");
        };
        let limit = recorded + (recorded * SHARE / 100).max(LEAST);
        if added > limit {
            failures.push(format!(
                "{kernel}: {about} adds {}; on record are {}",
                grouped(added),
                grouped(recorded)
            ));
        }
    }
    Ok(failures)
}

/// The figure of a row in the table of a kernel.
fn recorded(page: &str, kernel: &str, about: &str) -> Option<u64> {
    let heading = format!("## Linux {kernel} ");
    let section = page.split_once(&heading)?.1;
    let section = section.split("\n## ").next()?;
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split('|').map(|cell| cell.trim().to_owned());
        cells.collect()
    };
    let row = section.lines().map(cells).find(|cells| {
        let first = cells.get(1);
        first.is_some_and(|first| first == about)
    })?;
    row.get(2)?.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::{Figure, Row};

    const PAGE: &str = "\
# Overhead
## Linux 6.12 (6.12.1)

| instructions | added | of a connection |
| --- | ---: | ---: |
| nobody watches: 60,000 |  |  |
| `sockpick trace` | 10,000 | 9 % |
| `sockpick daemon` | 1,000 | 2 % |

## Linux 6.1 (6.1.2)

| `sockpick trace` | 7,000 | 9 % |
";

    fn column(about: &'static str, value: u64) -> Column {
        Column {
            kernel: "6.12".into(),
            rows: vec![Row {
                name: about,
                about,
                added: Figure { value, spread: 0 },
                user: None,
                resident: None,
            }],
            ..Column::default()
        }
    }

    #[test]
    fn a_figure_is_found_in_the_table_of_its_kernel() {
        assert_eq!(recorded(PAGE, "6.12", "`sockpick trace`"), Some(10_000));
        assert_eq!(recorded(PAGE, "6.1", "`sockpick trace`"), Some(7000));
        assert_eq!(recorded(PAGE, "6.1", "`sockpick daemon`"), None);
        assert_eq!(recorded(PAGE, "5.10", "`sockpick trace`"), None);
    }

    #[test]
    fn five_in_a_hundred_or_what_runs_differ_by_is_no_failure() {
        let above = |about, value| above_page(&column(about, value), PAGE).unwrap_or_default();
        assert!(above("`sockpick trace`", 10_500).is_empty());
        assert_eq!(
            above("`sockpick trace`", 10_501),
            ["6.12: `sockpick trace` adds 10,501; on record are 10,000"]
        );
        assert!(above("`sockpick daemon`", 1450).is_empty());
        assert_eq!(above("`sockpick daemon`", 1451).len(), 1);
    }

    #[test]
    fn a_row_that_is_not_on_record_is_an_error() {
        assert!(above_page(&column("`other`", 1), PAGE).is_err());
    }
}
