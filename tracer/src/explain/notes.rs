//! Remarks beside the answer, for people. Pure.

use super::{
    answer::{Answer, Told},
    choice::Choice,
    scene::{Reach, Scene, Sent},
};
use crate::{
    event::Via,
    judge::{explain::Outcome, rules::Algorithm},
    listeners::chain,
    netfilter::{Action, Rule},
    routes::Route,
    words,
};

/// Everything worth knowing about how the answer came about.
pub(super) fn notes(scene: &Scene, sent: &Sent<'_>, choice: &Choice) -> Vec<String> {
    let mut notes = Vec::new();
    let gets_there = !matches!(scene.reach, Reach::Elsewhere(_));
    if let Some(why) = scene.arrival.assumed.as_ref().filter(|_| gets_there) {
        notes.push(format!(
            "interface {} was assumed: {why}",
            scene.arrival.interface.name
        ));
    }
    notes.extend(reach_note(scene));
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

/// What rules of netfilter may do with the SYN before its listener is looked up.
pub(super) fn netfilter_notes(found: &[(&Rule, bool)], unread: &[String]) -> Vec<String> {
    let mut notes = crate::netfilter::told(found);
    if found.iter().any(|(rule, _)| rule.action == Action::Tproxy) {
        notes.push(
            "a SYN that tproxy takes goes to the listener it names, as long as there is one, \
             without the lookup told here"
                .to_owned(),
        );
    }
    if found.iter().any(|(rule, _)| rule.action != Action::Tproxy) {
        notes.push(
            "a SYN that such a rule takes is looked up with the destination it is given: this \
             answer is for one that keeps its own"
                .to_owned(),
        );
    }
    notes.extend(
        unread
            .iter()
            .map(|why| format!("{why}: whether they change the destination is not known")),
    );
    notes
}

/// That the answer is another one through another interface.
pub(super) fn depends(answer: &Answer) -> String {
    format!(
        "the answer depends on the interface: this one is for {}; --dev names another",
        answer.ifname
    )
}

/// What keeps the SYN from the listeners, if anything may.
fn reach_note(scene: &Scene) -> Option<String> {
    let destination = scene.packet.destination;
    let interface = &scene.arrival.interface.name;
    match scene.reach {
        Reach::Local | Reach::Unknown => None,
        Reach::Elsewhere(route) => Some(match route {
            Route::Through(index) => format!(
                "the routing table sends what is for {destination} on through {}, so no listener \
                 is looked up; a route of type local would make it local (ip route add local \
                 {destination} dev lo)",
                name(scene, index)
            ),
            Route::Local(_) | Route::Nowhere => format!(
                "the routing table has no route that makes {destination} local, so no listener is \
                 looked up; one of type local would (ip route add local {destination} dev lo)"
            ),
        }),
        Reach::ByMark => Some(format!(
            "{destination} is not local here, save perhaps for packets with a mark (ip rule), as \
             TPROXY needs it: without the mark no listener is looked up"
        )),
        Reach::ReversePath => Some(format!(
            "the kernel drops a SYN from {} that comes through {interface}: its way back is \
             through another interface (net.ipv4.conf.{interface}.rp_filter); this is the answer \
             if it did not",
            scene.client.ip()
        )),
    }
}

fn name(scene: &Scene, interface: u32) -> String {
    let known = scene.interfaces.indexed(interface);
    known.map_or_else(
        || format!("interface {interface}"),
        |interface| interface.name.clone(),
    )
}

fn member_note(scene: &Scene, choice: &Choice, port_named: bool) -> Option<String> {
    let group = choice.reuseport.as_ref().filter(|_| !choice.certain)?;
    Some(match (choice.via, group.program_id) {
        _ if scene.kernel.is_err() => {
            "which member gets it is for the hash, or a program of the group, which may also \
             refuse the SYN; only the kernel can be asked that"
                .to_owned()
        }
        (_, Some(id)) => format!(
            "program {id} of the group chooses the member when the packet comes, or refuses the \
             SYN (SK_DROP), and then the client gets a reset: that cannot be foreseen"
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

/// Where all listeners of a port stand in one chain: in which order those do that fit, and
/// what helps one that is passed over for its place. They are given as the kernel meets them.
pub(super) fn order_notes(candidates: &[Told], algorithm: Option<Algorithm>) -> Vec<String> {
    let place = |told: &Told| {
        let listener = &told.listener;
        words::bound_at(listener.address, listener.port, listener.device.as_deref())
    };
    let fitting: Vec<&Told> = candidates.iter().filter(|told| told.fits).collect();
    let names: Vec<String> = fitting.iter().map(|told| place(told)).collect();
    let all_alike = names.iter().all(|name| Some(name) == names.first());
    let Some(first) = fitting.first().filter(|_| !all_alike) else {
        return Vec::new();
    };
    let mut notes = vec![format!(
        "{}; of those, which all fit, the first with SO_REUSEPORT ends the walk",
        chain::told(first.listener.port, &names)
    )];
    let overtaken = fitting.iter().find(|told| {
        told.outcome == Outcome::Overtaken
            && !told.listener.address.is_unspecified()
            && first.listener.address.is_unspecified()
    });
    if let Some(overtaken) = overtaken {
        let order = chain::order_of(overtaken.listener.family, first.listener.family);
        let hybrid = algorithm == Some(Algorithm::Hybrid);
        let cures = chain::cures(&place(overtaken), &place(first), order, hybrid);
        notes.push(format!("what helps {}: {cures}", place(overtaken)));
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{event::Family, explain::answer::Listener};

    fn told(address: &str, outcome: Outcome) -> Told {
        let address: std::net::IpAddr = address.parse().expect("an address");
        Told {
            listener: Listener {
                address,
                port: 80,
                family: Family::of(address),
                device: None,
                v6only: false,
                uid: 0,
                inode: None,
                cookie: None,
                queue: None,
                owners: Arc::from([]),
                in_kernel: false,
            },
            fits: true,
            score: None,
            outcome,
        }
    }

    #[test]
    fn an_overtaken_listener_is_told_what_helps() {
        let any = || told("0.0.0.0", Outcome::PickedGroup);
        let exact = told("6.6.6.6", Outcome::Overtaken);
        let notes = order_notes(&[any(), any(), exact], Some(Algorithm::Hybrid));
        assert_eq!(notes.len(), 2, "{notes:?}");
        let chain = "The chain of port 80, first to last: *:80 (2 sockets), 6.6.6.6:80; of those";
        assert!(notes[0].starts_with(chain), "{}", notes[0]);
        assert!(
            notes[1].contains("start 6.6.6.6:80 after *:80"),
            "{}",
            notes[1]
        );
        assert!(notes[1].contains("more than ten"), "{}", notes[1]);
        let v6 = [
            told("::", Outcome::Picked),
            told("2001:db8::6", Outcome::Overtaken),
        ];
        let notes = order_notes(&v6, Some(Algorithm::PortOnly));
        assert!(
            notes[1].contains("start [2001:db8::6]:80 before [::]:80"),
            "{}",
            notes[1]
        );
    }

    #[test]
    fn where_the_right_one_stands_first_only_the_order_is_told() {
        let exact = || told("6.6.6.6", Outcome::PickedGroup);
        let any = told("0.0.0.0", Outcome::LowerScore);
        assert_eq!(order_notes(&[exact(), any], None).len(), 1);
        assert_eq!(order_notes(&[exact(), exact()], None), [""; 0]);
    }
}
