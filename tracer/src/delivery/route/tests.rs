use super::*;
use crate::delivery::fixtures::{line, message, target};

fn settings(name: &str, to: SinkKind) -> SinkSettings {
    SinkSettings {
        name: name.to_owned(),
        queue: 10,
        spool: None,
        to,
    }
}

#[test]
fn every_alertmanager_has_a_queue_and_a_name_of_its_own() {
    let targets = ["http://a:9093/x", "http://[::1]:9093", "http://a:9093/y"].map(target);
    let sinks = [
        settings("pager", SinkKind::Alertmanager(targets.to_vec())),
        settings("journald", SinkKind::Journald),
    ];
    let all = one_place_each(&sinks);
    let names: Vec<&str> = all.iter().map(|sink| &*sink.name).collect();
    assert_eq!(
        names,
        [
            "pager/a:9093",
            "pager/[::1]:9093",
            "pager/a:9093#2",
            "journald"
        ]
    );
    assert!(all.iter().all(|sink| sink.queue == 10));
}

#[test]
fn each_kind_is_given_what_it_is_for() {
    let alertmanager = SinkKind::Alertmanager(vec![target("http://a")]);
    let webhook = SinkKind::Webhook {
        target: target("http://a"),
        secret_file: None,
    };
    for (to, lines, lasts, still) in [
        (alertmanager, false, true, true),
        (webhook, false, false, false),
        (SinkKind::Otlp(target("http://a")), false, false, false),
        (SinkKind::Journald, false, false, false),
        (SinkKind::Stdout, true, true, false),
    ] {
        let route = Route::new(settings("x", to.clone()), Lost::default());
        let takes = |message| route.takes.takes(&message);
        assert!(takes(message(0, Occasion::Began)) && takes(message(0, Occasion::Ended)));
        assert_eq!(takes(line("{}")), lines, "{to:?}");
        assert_eq!(takes(message(0, Occasion::Lasts)), lasts, "{to:?}");
        assert_eq!(takes(message(0, Occasion::OverStill)), still, "{to:?}");
    }
}
