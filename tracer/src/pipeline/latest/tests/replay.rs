//! A replay, which asks for each SYN, says what a session said that remembered.

use super::{
    machine::Machine,
    rig::{Nothing, Rig, Step, expectations, step},
    *,
};
use crate::host::{
    noted::{Noted, Notes},
    recorded::Recorded,
};

/// What the session said of each step, and what a replay of its recording says.
fn said(steps: &[Step]) -> [Vec<String>; 2] {
    let machine = Machine::default();
    machine.0.borrow_mut().is_settled = true;
    let (answers, recorded) = (Notes::default(), Recorded::default());
    let asked = Box::new(Noted::new(machine.clone(), answers.clone()));
    let mut session = Rig::asking(asked, machine);
    let mut replay = Rig::asking(Box::new(recorded.clone()), Machine::default());
    let mut said = [Vec::new(), Vec::new()];
    for &step in steps {
        if let Step::Expects(service) = step {
            replay.pipeline.expect(expectations(service));
        }
        let Some(input) = session.input(step) else {
            continue;
        };
        let take = |rig: &mut Rig| {
            let outputs = rig.pipeline.take(&input, &mut Nothing);
            format!("{:?}", outputs.collect::<Vec<_>>())
        };
        said[0].push(take(&mut session));
        let (starts_afresh, new) = answers.take(false);
        recorded.begin(starts_afresh, new);
        said[1].push(take(&mut replay));
    }
    said
}

#[test]
fn workers_that_take_turns_are_named_as_in_the_session() {
    let syn = |acceptor| Step::Syn {
        listener: 0,
        destination: 3,
        client: 7,
        acceptor,
        fate: 0,
    };
    let [session, replay] = said(&[1, 2, 1, 1, 2].map(syn));
    assert_eq!(session, replay);
}

proptest! {
    #[test]
    fn a_replay_says_what_the_session_said(steps in prop::collection::vec(step(), 0..300)) {
        let [session, replay] = said(&steps);
        prop_assert_eq!(session, replay);
    }
}
