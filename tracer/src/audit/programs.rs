//! Reuseport groups with a program: it chooses in place of the hash, and may turn packets away.

use super::{
    finding::{Finding, Kind, Severity, Situation, finding, fold},
    scene::Chooser,
    view::View,
};
use crate::event::Program;

pub(super) fn findings(view: &View<'_>) -> Vec<Finding> {
    let choosers = view.scene.choosers.iter().map(|chooser| {
        let group = view.group(chooser.group);
        let program = chooser.program.as_ref().map(|program| program.id);
        (
            (group.bound.netns, program, view.who(chooser.group)),
            chooser,
        )
    });
    fold(choosers)
        .into_iter()
        .map(|(_, cases)| told(view, &cases))
        .collect()
}

fn told(view: &View<'_>, cases: &[&Chooser]) -> Finding {
    let first = cases[0];
    let group = view.group(first.group);
    let (what, may) = match &first.program {
        Some(Program { id, name }) => (
            format!("the program {id} {name} (SK_REUSEPORT)"),
            ", which may also turn a connection away (SK_DROP): the client gets a reset then, \
             though listeners are there",
        ),
        None => ("a classic BPF filter".to_owned(), ""),
    };
    let cause = format!(
        "Among the members of {} not the hash chooses but {what}{may}.",
        group.endpoint()
    );
    let remedy = "Nothing, if that is on purpose. sockpick trace tells which member each SYN \
                  got (reuseport_bpf, reuseport_cbpf), and of a SYN that was turned away the \
                  program.";
    let places: Vec<Vec<usize>> = cases.iter().map(|one| vec![one.group]).collect();
    let situation = Situation {
        kind: Kind::GroupProgram,
        severity: Severity::Info,
        key: format!(" {} {}", group.endpoint(), group.uid),
        cases: &places,
    };
    finding(view, &situation, cause, remedy.to_owned())
}
