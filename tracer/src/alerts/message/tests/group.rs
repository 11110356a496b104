//! What is told of a group whose members starve.

use super::*;
use crate::{
    alerts::GroupPlace,
    pipeline::{Fed, Starvation},
};

const ALERTS: &str = include_str!("../../../../../docs/alerts.md");

#[test]
fn a_group_says_who_starves_and_who_does_not() {
    let fed = |inode, syns, pid| Fed {
        inode,
        syns,
        fair: 500,
        owners: [Owner {
            pid,
            comm: "nginx".to_owned(),
            ..Owner::default()
        }]
        .into(),
    };
    let mut alert = alert(Verdict::Ok, None);
    alert.count = 3;
    alert.identity = Identity::Group(GroupPlace {
        netns: "web".to_owned(),
        listener: "6.6.6.6:80".to_owned(),
    });
    alert.evidence = Evidence::Group(Starvation {
        members: 4,
        syns: 2_000,
        starving: 1,
        starved: vec![fed(48213, 1, 342)],
        most: fed(48210, 690, 341),
    });
    let message = Message::of(&alert);
    assert_eq!(
        message.title,
        "STARVED: 1 of 4 members of 6.6.6.6:80 gets next to no SYNs"
    );
    assert_eq!(
        message.text(),
        "The kernel should share the SYNs for 6.6.6.6:80 out evenly among its 4 listening \
         sockets, and 1 of them gets next to none: whoever holds it is idle, and the others have \
         its work as well.\n\
         It concerns socket 48213 of nginx(342) (1 SYN; 500 would be fair) in namespace \
         web, since 2026-09-21 14:13:21 UTC and the ten minutes before: seen at 3 looks so far, \
         the last at 2026-09-21 14:14:21 UTC.\n\
         The most went to socket 48210 of nginx(341) (690 SYNs; 500 would be fair), of \
         2000 SYNs in ten minutes.\n\
         It is not chance. The hash does not choose from that socket, or SO_INCOMING_CPU was set \
         after it began to listen, or few clients come from the same few ports again and again.\n\
         Restart who holds it. If the new socket starves as well, see with `sockpick trace --port \
         80` from where SYNs come and which member is given them.\n\
         More: docs/alerts.md#a-group-whose-members-starve"
    );
    let (_, anchor) = message.docs.split_once('#').expect("an anchor");
    let anchors = anchors(ALERTS);
    assert!(anchors.iter().any(|heading| heading == anchor), "{anchor}");
    let Evidence::Group(starvation) = &mut alert.evidence else {
        panic!("{alert:?}");
    };
    starvation.starving = 3;
    starvation.starved[0].owners = Arc::default();
    let text = Message::of(&alert).text();
    assert!(text.contains("and 3 of them get next to none"), "{text}");
    let whom = "It concerns socket 48213, whose holder is not known (1 SYN; 500 would be fair), and 2 others in namespace web";
    assert!(text.contains(whom), "{text}");
    for (why, says) in [
        (
            Resolution::Recovered,
            "was given its share for ten minutes, or none listens",
        ),
        (Resolution::Quiet, "too few SYNs came to see"),
    ] {
        alert.state = State::Resolved {
            at: alert.last,
            why,
        };
        let text = Message::of(&alert).text();
        assert!(text.contains(says), "{text}");
        assert!(text.contains("; seen at 3 looks in all."), "{text}");
    }
}
