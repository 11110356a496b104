//! `sockpick listeners`: the listening sockets of every namespace, in the order in which
//! the kernel meets them.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};

use anyhow::{Context as _, Result};

use crate::{
    cli::{ListenersArgs, Output},
    kernel::algorithm,
    namespaces,
    sinks::stdout::stdout,
    survey::{
        self, Survey,
        entry::{self, Entry},
        table,
    },
};

pub(super) fn run(args: &ListenersArgs) -> Result<()> {
    env_logger::init();
    let mut survey = Survey::take(&args.scope)?;
    let (algorithm, _) = algorithm::detect();
    let own = namespaces::own().unwrap_or(0);
    let entries = entry::all(&mut survey, algorithm, own);
    survey::tell(&survey.remarks);
    let whole = !survey.missed_namespaces();
    write(args.output, &entries, whole, own).context("cannot write the output")
}

fn write(output: Output, entries: &[Entry], whole: bool, own: u32) -> Result<()> {
    let mut out = io::BufWriter::new(stdout());
    match output {
        Output::Json => {
            for entry in entries {
                serde_json::to_writer(&mut out, entry).map_err(io::Error::from)?;
                out.write_all(b"\n")?;
            }
        }
        Output::Table => out.write_all(table::of(entries, whole, own)?.as_bytes())?,
    }
    out.flush()?;
    Ok(())
}
