//! How things are written for people: names, tables and text within 120 columns.
#![forbid(unsafe_code)]

use std::{
    borrow::Cow,
    fmt::{self, Write},
    ops::RangeInclusive,
};

mod bound;
mod causes;
mod holders;
mod printable;

use crate::event::Netns;

pub use bound::{bound, bound_at};
pub use causes::cause;
pub use holders::{KERNEL, UNKNOWN, holder, holder_at_end, holders, located, owners, place};
pub use printable::printable;

/// Columns that no line goes beyond, as far as it can be broken or cut.
pub const WIDTH: usize = 120;

/// A namespace by its name, or else its inode number.
#[must_use]
pub fn namespace(netns: &Netns) -> Cow<'_, str> {
    match &netns.name {
        Some(name) => printable(name),
        None => Cow::Owned(netns.inode.to_string()),
    }
}

/// A BPF program, with the id that `bpftool prog` has for it: `dispatch (id 31)`. Not every
/// program has a name.
#[must_use]
pub fn program(id: u32, name: &str) -> String {
    match name {
        "" => format!("id {id}"),
        name => format!("{} (id {id})", printable(name)),
    }
}

/// So many of something: `1 member`, `2 members`.
#[must_use]
pub fn count(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Writes a table: the columns in `right` to the right, the last one cut. A column that is
/// empty in all lines is not written; where it is in some, they have a dash.
///
/// # Errors
/// What the output says.
pub fn columns<const N: usize>(
    out: &mut impl Write,
    titles: [&str; N],
    right: RangeInclusive<usize>,
    rows: &[[String; N]],
) -> fmt::Result {
    let wide = |cell: &str| cell.chars().count();
    let widths: [usize; N] = std::array::from_fn(|index| {
        let widest = rows.iter().map(|row| wide(&row[index])).max();
        let widest = widest.filter(|widest| *widest > 0);
        widest.map_or(0, |widest| widest.max(titles[index].len()))
    });
    for cells in std::iter::once(&titles.map(str::to_owned)).chain(rows) {
        let mut text = String::new();
        for (index, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            if width == 0 {
                continue;
            }
            if !text.is_empty() {
                text.push_str("  ");
            }
            let cell = if cell.is_empty() { "-" } else { cell.as_str() };
            if right.contains(&index) {
                write!(text, "{cell:>width$}")?;
            } else if index == N - 1 {
                text.push_str(&cut(cell, WIDTH.saturating_sub(wide(&text))));
            } else {
                write!(text, "{cell:width$}")?;
            }
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    text.chars().take(kept).chain(['…']).collect()
}

/// Writes a text after a label, if it has one, broken between words and indented under the label.
///
/// # Errors
/// What the output says.
pub fn wrap(out: &mut impl Write, label: &str, text: &str) -> fmt::Result {
    let mut line = label.to_owned();
    for word in printable(text).split(' ') {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(out, "{line}")?;
            line = " ".repeat(label.chars().count());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{line}")
}

/// A `comm` as text, up to its first zero.
#[must_use]
pub fn comm(bytes: &[u8; 16]) -> String {
    let end = bytes
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_broken_between_words_under_its_label() {
        let text = "word ".repeat(30);
        let mut out = String::new();
        assert!(wrap(&mut out, "note:", text.trim()).is_ok());
        assert!(out.lines().all(|line| line.chars().count() <= WIDTH));
        assert!(
            out.lines()
                .nth(1)
                .is_some_and(|line| line.starts_with("      word"))
        );
        let mut out = String::new();
        assert!(wrap(&mut out, "", text.trim()).is_ok());
        assert!(out.lines().all(|line| line.starts_with("word")), "{out}");
    }
}
