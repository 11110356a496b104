//! What is written, whatever table it is in: where, and lists.

use std::fmt::Display;

use serde::{Deserialize as _, Deserializer, de};

/// Which line a byte is in, from 1 on.
pub(super) fn line(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    before.filter(|byte| *byte == b'\n').count() + 1
}

/// Each text of a list, by a parser that says what is wrong.
pub(super) fn list<'de, D: Deserializer<'de>, T, E: Display>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let texts = texts.iter();
    texts
        .map(|text| parse(text).map_err(de::Error::custom))
        .collect()
}
