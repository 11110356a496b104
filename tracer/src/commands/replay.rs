//! `sockpick replay`: the pipeline once more, over a recording.

mod anonymise;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;

use super::outputs::shown;
use crate::{
    cli::ReplayArgs,
    config,
    outlets::foreground::Foreground,
    pipeline::Input,
    recording::{
        files::{Files, Open},
        filter::{as_recorded, passes},
        pace::Pace,
        player::{Played, Player},
        seen::Seen,
    },
    settings::Settings,
};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    if let Some(out) = &args.anonymize {
        return anonymise::run(&args.files, out);
    }
    let given = args.watch.given(&args.expect);
    let settings = config::settings(&given, args.expect.config.as_deref())?;
    let settings = settings.with_netns(as_recorded)?;
    let mut files = Files::new(&args.files, !io::stdout().is_terminal());
    while let Some(open) = files.next()? {
        replay(args, &settings, open, &mut files)?;
    }
    Ok(())
}

/// Replays a recording, and the parts that follow it.
fn replay(args: &ReplayArgs, settings: &Settings, mut open: Open, files: &mut Files) -> Result<()> {
    let sink = shown(args.output, args.color, open.header.netns);
    let mut selection = args.user_filter.selection(args.count);
    selection.began_midway = open.is_later();
    let foreground = Foreground::new(sink, open.header.netns, selection);
    let expectations = settings.expectations.clone();
    let mut player = Player::new(open.header.clone(), expectations, foreground);
    let mut seen = Seen::since(open.reader.position());
    let mut pace = Pace::new(args.speed);
    let mut goes_on = None;
    open.tell_of_missing();
    let end = loop {
        let Open { name, reader, .. } = &mut open;
        let how_far = player.play(reader, |input, host| {
            files.progress.show(name);
            match input {
                Input::Record(record) => {
                    pace.wait(record.ktime_ns());
                    seen.record(record, passes(&settings.watch, record, host))
                }
                Input::Counted(counted) => {
                    *counted = seen.counted(counted);
                    true
                }
                _ => true,
            }
        })?;
        match how_far {
            Played::Ended(end) => break Some(seen.end_of(end)),
            Played::Broken => break None,
            Played::Continued => {
                let position = open.reader.position();
                let Some(next) = files.following(position)? else {
                    goes_on = position;
                    break None;
                };
                open = next;
            }
        }
    };
    files.progress.erase();
    let is_whole = end.is_some();
    let summary = player.end(&end.unwrap_or_else(|| seen.end()))?;
    // Nobody may be left to read it.
    let _ = write!(io::stderr(), "{summary}");
    if let Some(position) = goes_on {
        open.tell_of_next(position);
    } else {
        open.tell_of_tear(is_whole, "replayed");
    }
    Ok(())
}
