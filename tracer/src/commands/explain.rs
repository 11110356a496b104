//! `sockpick explain`: which listening socket a SYN would get now, by which rule, and why
//! the others would not. Sends no packet.

use std::io::{self, BufRead as _, Write};

use anyhow::{Context as _, Result};

use crate::{
    cli::{ExplainArgs, Output, Question, Target},
    event::SCHEMA,
    explain::{
        Explainer,
        answer::{Answer, Misunderstood},
        table,
    },
    failure::Failure,
    namespaces,
    remark::remark,
    sinks::stdout::stdout,
};

pub(super) fn run(args: &ExplainArgs) -> Result<()> {
    env_logger::init();
    let mut explainer = Explainer::new(matches!(args.target, Target::Stdin));
    match &args.target {
        Target::One(destination) => {
            let question = Question {
                destination: destination.clone(),
                circumstances: args.circumstances.clone(),
            };
            let answer = explainer.explain(&question)?;
            print(&mut stdout(), args.output, &answer)?;
            picked_or_not(answer.would_be_picked())
        }
        Target::Stdin => batch(&mut explainer, args),
    }
}

/// Answers the questions on stdin line by line, each as soon as it is there.
fn batch(explainer: &mut Explainer, args: &ExplainArgs) -> Result<()> {
    let mut all_picked = true;
    let mut wrong = 0_u64;
    let mut out = stdout();
    for line in io::stdin().lock().lines() {
        let line = line.context("cannot read the questions from stdin")?;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let answer = Question::parse(&line, &args.circumstances).and_then(|question| {
            explainer
                .explain(&question)
                .map_err(|error| format!("{error:#}"))
        });
        match (answer, args.output) {
            (Ok(answer), output) => {
                all_picked &= answer.would_be_picked();
                print(&mut out, output, &answer)?;
                if output == Output::Table {
                    writeln!(out)?;
                }
            }
            (Err(error), output) => {
                wrong += 1;
                if output == Output::Json {
                    let error = Misunderstood {
                        schema: SCHEMA,
                        error: &error,
                    };
                    writeln!(out, "{}", serde_json::to_string(&error)?)?;
                } else {
                    remark(format_args!("{line:?}: {error}"));
                }
            }
        }
        out.flush()?;
    }
    if wrong > 0 {
        let questions = if wrong == 1 { "question" } else { "questions" };
        return Err(Failure::usage(format!("{wrong} {questions} could not be answered")).into());
    }
    picked_or_not(all_picked)
}

fn picked_or_not(picked: bool) -> Result<()> {
    if picked {
        Ok(())
    } else {
        Err(Failure::findings("").into())
    }
}

fn print(out: &mut impl Write, output: Output, answer: &Answer) -> Result<()> {
    match output {
        Output::Json => writeln!(out, "{}", serde_json::to_string(answer)?)?,
        Output::Table => table::write(out, answer, namespaces::own())?,
    }
    out.flush()?;
    Ok(())
}
