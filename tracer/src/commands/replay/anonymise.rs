//! `sockpick replay --anonymize`: a recording without what tells whose it is.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{
    failure::Failure,
    recording::{
        Frame, Part,
        anonymise::Anonymiser,
        files::{Files, Open},
        writer::Writer,
    },
};

/// Writes one recording, in however many parts it is, to one file.
pub(super) fn run(given: &[PathBuf], out: &Path) -> Result<()> {
    let mut files = Files::new(given, true);
    if !files.are_one() {
        return Err(Failure::usage(
            "--anonymize takes one recording at a time, in one file or in parts that follow each \
             other: give each its own OUT",
        )
        .into());
    }
    let Some(mut open) = files.next()? else {
        return Ok(());
    };
    let mut anonymiser = Anonymiser::default();
    let mut writer = Writer::begin(out, &anonymiser.frame(first(&open))?)?;
    let mut is_whole = false;
    while !is_whole && let Some(frame) = open.reader.frame() {
        files.progress.show(&open.name);
        is_whole = matches!(frame, Frame::End(_) | Frame::Continued);
        if matches!(frame, Frame::Continued)
            && let Some(next) = files.following(open.reader.position())?
        {
            open = next;
            is_whole = false;
            continue;
        }
        writer.put(&anonymiser.frame(frame)?)?;
    }
    writer.finish()?;
    files.progress.erase();
    open.tell_of_tear(is_whole, "anonymised");
    Ok(())
}

/// How it begins: as a part only if it begins with a later one.
fn first(open: &Open) -> Frame {
    let header = open.header.clone();
    match open.reader.position() {
        Some(position) if position.is_later() => Frame::Part(Box::new(Part { header, position })),
        _ => Frame::Header(Box::new(header)),
    }
}
