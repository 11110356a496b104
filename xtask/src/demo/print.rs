//! The story as a person reads it.

use std::fmt;

use super::compare::{Judged, Line};
use super::record::{Record, Request, Step};

/// A run and what came of the comparison.
pub(super) struct Story<'a>(pub(super) &'a Record, pub(super) &'a Judged);

impl fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(record, judged) = self;
        writeln!(f)?;
        writeln!(f, "Real servers on one host, Linux {}:", record.kernel)?;
        writeln!(f, "  A listens on 6.6.6.6:80 reuseport, and answers 200")?;
        writeln!(f, "  B listens on *:80       reuseport, and answers 403")?;
        writeln!(
            f,
            "  C, a socat that joins later, listens on 6.6.6.6%eth0:80 reuseport"
        )?;
        writeln!(f, "A client at 203.0.113.7 asks for http://6.6.6.6/.")?;
        writeln!(
            f,
            "Beside each answer, what sockpick said of the SYN. OWNER is the process that last accepted from"
        )?;
        writeln!(
            f,
            "the listener before that, or one that holds it; +2: two more hold it."
        )?;
        let mut lines = judged.lines.iter();
        for (index, step) in record.steps.iter().enumerate() {
            writeln!(f, "\n{}. {}: {}", index + 1, step.title, outcome(step))?;
            for remark in &step.remarks {
                writeln!(f, "   {remark}")?;
            }
            beside(f, step, &mut lines)?;
        }
        own_words(f, record)?;
        verdict(f, judged)
    }
}

/// "6 x 200 from A"
fn outcome(step: &Step) -> String {
    let mut counts: Vec<(usize, &Request)> = Vec::new();
    for request in &step.requests {
        let same =
            |other: &Request| (other.status, &other.service) == (request.status, &request.service);
        match counts.iter_mut().find(|(_, other)| same(other)) {
            Some((count, _)) => *count += 1,
            None => counts.push((1, request)),
        }
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(count, request)| format!("{count} x {} from {}", request.status, request.service))
        .collect();
    parts.join(", ")
}

fn beside<'a>(
    f: &mut fmt::Formatter<'_>,
    step: &Step,
    lines: &mut impl Iterator<Item = &'a Line>,
) -> fmt::Result {
    writeln!(
        f,
        "   {:31} | what sockpick trace said",
        "what the client got"
    )?;
    let title = ["LISTENER", "VERDICT", "MEMBER", "OWNER"];
    write!(
        f,
        "   {:5}  {:6}  {:16} | ",
        "PORT", "STATUS", "ANSWERED BY"
    )?;
    writeln!(f, "{}", row(&title))?;
    for (request, line) in step.requests.iter().zip(lines) {
        let by = format!("{}, process {}", request.service, request.pid);
        let said = line.cells.as_ref().map_or_else(
            || "nothing".to_owned(),
            |cells| row(&cells.each_ref().map(String::as_str)),
        );
        write!(
            f,
            "   {:5}  {:6}  {by:16} | {said}",
            request.client_port, request.status
        )?;
        match &line.problem {
            Some(problem) => writeln!(f, "  <-- WRONG: {problem}")?,
            None => writeln!(f)?,
        }
    }
    Ok(())
}

fn row(cells: &[&str; 4]) -> String {
    let [listener, chosen, member, owner] = cells;
    format!("{listener:15}  {chosen:21}  {member:6}  {owner}")
}

/// The table as it came, one line a step, and the summary.
fn own_words(f: &mut fmt::Formatter<'_>, record: &Record) -> fmt::Result {
    writeln!(f, "\nThe same as `sockpick trace --port 80` printed it:\n")?;
    let (greeting, summary): (Vec<_>, Vec<_>) = record
        .messages
        .iter()
        .partition(|line| line.starts_with("sockpick:"));
    for line in greeting.into_iter().chain(record.table.first()) {
        writeln!(f, "{line}")?;
    }
    for step in &record.steps {
        let first = step
            .requests
            .first()
            .map(|request| format!(":{} → ", request.client_port));
        let at = first.and_then(|client| {
            let mut lines = record.table.iter();
            lines.position(|line| line.contains(&client))
        });
        if let Some(at) = at {
            writeln!(f, "{}", record.table[at])?;
            let below = record.table.get(at + 1);
            if let Some(alert) = below.filter(|line| line.starts_with("    ^")) {
                writeln!(f, "{alert}")?;
            }
            if step.requests.len() > 1 {
                writeln!(f, "... {} more", step.requests.len() - 1)?;
            }
        }
    }
    writeln!(f)?;
    summary.iter().try_for_each(|line| writeln!(f, "{line}"))
}

fn verdict(f: &mut fmt::Formatter<'_>, judged: &Judged) -> fmt::Result {
    if judged.strangers > 0 {
        writeln!(
            f,
            "\n{} events or lost records belong to no request",
            judged.strangers
        )?;
    }
    writeln!(
        f,
        "\n{} of {} requests: sockpick named the listener that answered",
        judged.agreeing(),
        judged.lines.len()
    )
}
