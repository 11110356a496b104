//! Remarks beside the answer, for people. Pure.

use super::{
    answer::Choice,
    scene::{Scene, Sent},
};
use crate::event::Via;

/// Everything worth knowing about how the answer came about.
pub(super) fn notes(scene: &Scene, sent: &Sent<'_>, choice: &Choice) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = &scene.arrival.assumed {
        notes.push(format!(
            "interface {} was assumed: {why}",
            scene.arrival.interface.name
        ));
    }
    let port = sent.named.and_then(|client| client.port);
    if port.is_some_and(|port| port != scene.client.port()) {
        notes.push(format!(
            "a connection from {} is there, which would get the SYN; this is the answer for {}",
            sent.client, scene.client
        ));
    }
    let programs = scene.sk_lookup.as_deref().unwrap_or_default();
    if !programs.is_empty() {
        let ids: Vec<String> = programs.iter().map(ToString::to_string).collect();
        let ids = ids.join(", ");
        notes.push(if scene.kernel.is_err() {
            format!("sk_lookup programs ({ids}) are attached and may choose otherwise")
        } else if choice.steered {
            format!("an sk_lookup program chose (program {ids})")
        } else {
            format!("sk_lookup programs ({ids}) ran; the tables alone would give the same")
        });
    }
    notes.extend(member_note(scene, choice, port.is_some()));
    if scene.listeners.iter().any(|listener| !listener.complete) {
        notes.push(
            "this kernel has no inet_diag: devices, IPV6_V6ONLY, cookies and queue limits of \
             the listeners below are not known"
                .to_owned(),
        );
    }
    notes
}

fn member_note(scene: &Scene, choice: &Choice, port_named: bool) -> Option<String> {
    let group = choice.reuseport.as_ref().filter(|_| !choice.certain)?;
    Some(match (choice.via, group.program_id) {
        _ if scene.kernel.is_err() => {
            "which member gets it is for the hash, or a program of the group; only the kernel \
             can be asked that"
                .to_owned()
        }
        (_, Some(id)) => format!(
            "program {id} of the group chooses the member when the packet comes: that cannot \
             be foreseen"
        ),
        (Via::ReuseportCbpf, _) => "a classic filter of the group chooses the member when the \
             packet comes: that cannot be foreseen"
            .to_owned(),
        _ if port_named => "which member gets it is for the hash of that client".to_owned(),
        _ => "which member gets it is for the hash of the client's address and port: name them \
             with --from"
            .to_owned(),
    })
}
