//! The daemon's outlet: what it counts and raises is what the kernel did.

use super::*;
use crate::{
    alerts::Occasion,
    delivery::Message,
    metrics::{Families, Format, View},
    outlets::feed::{Feed, now},
    settings::{AlertSettings, Settings, SinkSettings, Stream, feed::Kind, sink::SinkKind},
};

/// The daemon's outlet, and what it gave out.
fn feed(stream: Stream) -> (Feed, Rc<RefCell<Vec<Message>>>) {
    let given = Rc::new(RefCell::new(Vec::new()));
    let settings = Settings {
        alerts: AlertSettings {
            on: vec![Kind::verdict(Verdict::Refused)],
            ..AlertSettings::default()
        },
        stream,
        sinks: vec![SinkSettings {
            name: "stdout".to_owned(),
            queue: 1,
            spool: None,
            to: SinkKind::Stdout,
        }],
        ..Settings::default()
    };
    let give = {
        let given = Rc::clone(&given);
        Box::new(move |message| given.borrow_mut().push(message))
    };
    (Feed::new(&settings, None, now(0, 0), give), given)
}

proptest! {
    /// Whatever comes: a SYN is counted for its listener or as refused, alerts cover those that
    /// are such, each begins once, and the stream has what it is to have.
    #[test]
    fn the_daemon_counts_every_syn_and_alerts_for_each_wrong_one(
        steps in prop::collection::vec(step(), 0..200),
        of in 1..5_u64,
    ) {
        let (feed, given) = feed(Stream::Sample(of));
        let mut engine = Engine::new(pipeline(), feed);
        let mut kernel = Kernel::default();
        for &step in &steps {
            engine.take(&kernel.input(step), &mut Nothing).expect("it takes all");
        }
        engine.end(&kernel.end()).expect("it takes all");
        let syns: u64 = kernel.syns.iter().sum();
        let refused = kernel.syns[0];
        let alerts = engine.outlet().alerts();
        prop_assert_eq!(alerts.totals().sum(), refused);
        prop_assert_eq!(alerts.alerts().map(|alert| alert.count).sum::<u64>(), refused);
        let view = View { version: "test", ..View::default() };
        let text = Families::of(engine.outlet().series(), &view).render(Format::Prometheus);
        let text = text.expect("text");
        let sum = |name: &str| -> u64 {
            let of_name = text.lines().filter(|line| line.starts_with(name));
            let values = of_name.filter_map(|line| line.rsplit_once(' '));
            values.map(|(_, value)| value.parse::<u64>().unwrap_or(0)).sum()
        };
        prop_assert_eq!(sum("sockpick_syn_total{"), syns - refused);
        prop_assert_eq!(sum("sockpick_refused_total{"), refused);
        let given = given.borrow();
        let began = given.iter().filter(|message| match message {
            Message::Notice(notice) => notice.occasion == Occasion::Began,
            Message::Line(_) => false,
        });
        prop_assert_eq!(began.count(), usize::from(refused > 0));
        let has = |line: &[u8], what: &str| String::from_utf8_lossy(line).contains(what);
        let lines = given.iter().filter(|message| {
            matches!(message, Message::Line(line) if has(line, "\"client\""))
        });
        prop_assert_eq!(lines.count() as u64, syns / of);
    }
}
