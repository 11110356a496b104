use proptest::prelude::*;

use super::*;
use crate::delivery::fixtures::{identity, line, message};

/// A message in short: `B1` began, `L1` lasts, `E1` ended, `S1` over still, `=x` a line.
fn short(message: &Message) -> String {
    match message {
        Message::Line(line) => format!("={}", String::from_utf8_lossy(line).trim_end()),
        Message::Notice(notice) => {
            let letter = match notice.occasion {
                Occasion::Began => 'B',
                Occasion::Lasts => 'L',
                Occasion::Ended => 'E',
                Occasion::OverStill => 'S',
            };
            let situation = notice.alert.identity.situation();
            format!("{letter}{}", situation.expect("of SYNs").netns)
        }
    }
}

fn long(text: &str) -> Message {
    let (letter, rest) = text.split_at(1);
    let occasion = match letter {
        "B" => Occasion::Began,
        "L" => Occasion::Lasts,
        "E" => Occasion::Ended,
        "S" => Occasion::OverStill,
        _ => return line(rest),
    };
    message(rest.parse().expect("a number"), occasion)
}

fn filled(limit: usize, messages: &str) -> Queue {
    let mut queue = Queue::new(limit);
    for text in messages.split_whitespace() {
        queue.push(long(text));
    }
    queue
}

fn shorts(messages: &[Message]) -> String {
    messages.iter().map(short).collect::<Vec<_>>().join(" ")
}

fn drained(mut queue: Queue) -> String {
    shorts(&queue.take(usize::MAX))
}

#[test]
fn messages_leave_in_the_order_in_which_they_came() {
    assert_eq!(drained(filled(9, "B1 =a L1 =b E1 B2")), "B1 =a L1 =b E1 B2");
}

#[test]
fn a_repeat_takes_the_place_of_the_repeat_before_it_and_of_nothing_else() {
    assert_eq!(drained(filled(9, "B1 L1 L2 L1 E1 S1")), "B1 L2 E1 S1");
    assert_eq!(drained(filled(9, "B1 B1 E1 E1")), "B1 B1 E1 E1");
    let queue = filled(9, "L1 L1 L1");
    assert_eq!(queue.losses().sum(), 0, "nobody needs the earlier ones");
}

#[test]
fn at_the_bound_lines_go_first_then_repeats_then_notices_each_the_oldest() {
    for (messages, kept, losses) in [
        ("=a B1 =b L1", "B1 =b L1", (1, 0, 0)),
        ("=a =b B1 L1 E1", "B1 L1 E1", (2, 0, 0)),
        ("B1 L1 L2 B2", "B1 L2 B2", (0, 1, 0)),
        ("B1 B2 B3 =a", "B1 B2 B3", (1, 0, 0)),
        ("B1 B2 B3 L1", "B1 B2 B3", (0, 1, 0)),
        ("B1 B2 B3 E1", "B2 B3 E1", (0, 0, 1)),
    ] {
        let queue = filled(3, messages);
        let (lines, repeats, notices) = losses;
        let expected = Losses {
            lines,
            repeats,
            notices,
        };
        assert_eq!(queue.losses(), expected, "{messages}");
        assert_eq!(drained(queue), kept, "{messages}");
    }
}

#[test]
fn what_could_not_be_sent_waits_again_at_its_place() {
    let mut queue = filled(9, "B1 =a L1 L2 E1");
    assert_eq!(shorts(&queue.take(4)), "B1 =a L1 L2");
    queue.push(long("L1"));
    queue.push(long("=b"));
    assert_eq!(queue.unsettled(), 7);
    queue.settle(1);
    assert_eq!(
        drained(queue),
        "=a L2 E1 L1 =b",
        "the new L1 is worth more than the old one"
    );
}

#[test]
fn what_is_being_sent_counts() {
    let mut queue = filled(3, "B1 B2 B3");
    queue.take(2);
    queue.push(long("B4"));
    assert_eq!((queue.unsettled(), queue.waiting()), (3, 1));
    queue.settle(0);
    assert_eq!(queue.losses().notices, 1);
    assert_eq!(drained(queue), "B1 B2 B4");
}

#[test]
fn what_is_abandoned_is_counted_with_what_is_being_sent() {
    let mut queue = filled(9, "B1 =a L1");
    queue.take(1);
    let left = queue.abandon(&BTreeSet::new());
    assert_eq!((left.lost, left.kept), (3, 0));
    assert_eq!((queue.unsettled(), queue.losses().sum()), (0, 3));
}

fn restored(queue: &mut Queue, messages: &str) -> Vec<u64> {
    let notices = messages.split(' ').map(|text| match long(text) {
        Message::Notice(notice) => notice,
        Message::Line(_) => panic!("{text} is no notice"),
    });
    queue.restore(notices.collect())
}

fn changes(queue: &Queue) -> (Vec<u64>, String) {
    let (numbers, notices): (Vec<u64>, Vec<Message>) = queue
        .changes()
        .map(|(number, notice)| (number, Message::Notice(Arc::clone(notice))))
        .unzip();
    (numbers, shorts(&notices))
}

#[test]
fn what_an_earlier_run_left_goes_before_everything_even_what_is_being_sent() {
    let mut queue = filled(9, "B1 B2 L1");
    queue.take(1);
    let numbers = restored(&mut queue, "B8 E8");
    queue.settle(0);
    let (kept, shown) = changes(&queue);
    assert_eq!(shown, "B8 E8 B1 B2");
    assert_eq!(kept[..2], numbers);
    assert!(kept.is_sorted());
    assert_eq!(drained(queue), "B8 E8 B1 B2 L1");
}

#[test]
fn at_the_bound_the_oldest_of_what_an_earlier_run_left_goes_first() {
    let mut queue = filled(3, "B1 B2");
    assert_eq!(restored(&mut queue, "B7 B8 B9").len(), 3);
    assert_eq!(queue.losses().notices, 2);
    assert_eq!(drained(queue), "B9 B1 B2");
}

#[test]
fn what_waits_may_be_given_up_and_what_is_being_sent_not() {
    let mut queue = filled(9, "B1 B2 B3");
    queue.take(1);
    let (numbers, _) = changes(&queue);
    queue.give_up(numbers[0]);
    queue.give_up(numbers[1]);
    queue.give_up(numbers[1]);
    assert_eq!(queue.losses().notices, 1);
    assert_eq!(changes(&queue).1, "B1 B3");
}

#[test]
fn what_is_kept_elsewhere_is_no_loss_at_the_end() {
    let mut queue = filled(9, "B1 B2 =a B3");
    queue.take(1);
    let (numbers, _) = changes(&queue);
    let left = queue.abandon(&numbers[..2].iter().copied().collect());
    assert_eq!((left.lost, left.kept), (2, 2));
    assert_eq!((queue.unsettled(), queue.losses().sum()), (0, 2));
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8, u32),
    Take(usize),
    Settle(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..5u8, 0..4u32).prop_map(|(kind, number)| Step::Push(kind, number)),
        2 => (1..6usize).prop_map(Step::Take),
        2 => (0..6usize).prop_map(Step::Settle),
    ]
}

fn pushed(kind: u8, number: u32, serial: usize) -> Message {
    let occasion = match kind {
        0 => Occasion::Began,
        1 => Occasion::Ended,
        2 => Occasion::Lasts,
        3 => Occasion::OverStill,
        _ => return line(&serial.to_string()),
    };
    let mut notice = crate::delivery::fixtures::notice(number, occasion);
    // What tells one from another.
    notice.alert.count = serial as u64;
    notice.alert.identity = identity(number);
    Message::Notice(Arc::new(notice))
}

fn serial(message: &Message) -> u64 {
    match message {
        Message::Notice(notice) => notice.alert.count,
        Message::Line(line) => String::from_utf8_lossy(line)
            .trim()
            .parse()
            .expect("a number"),
    }
}

proptest! {
    /// Nothing is beyond the bound, out of order, twice, or lost without being counted.
    #[test]
    fn every_message_is_accounted_for(
        limit in 1..8usize,
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut queue = Queue::new(limit);
        let (mut came, mut done, mut repeats) = (0u64, 0u64, 0u64);
        let mut taken: Vec<Message> = Vec::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push(kind, number) => {
                    came += 1;
                    repeats += u64::from(kind == 2 || kind == 3);
                    queue.push(pushed(kind, number, at));
                }
                Step::Take(most) if taken.is_empty() => {
                    taken = queue.take(most);
                    prop_assert!(taken.len() <= most);
                    prop_assert!(taken.is_sorted_by_key(serial));
                }
                Step::Take(_) => {}
                Step::Settle(some) => {
                    done += some.min(taken.len()) as u64;
                    queue.settle(some);
                    taken.clear();
                }
            }
            prop_assert!(queue.unsettled() <= limit);
            let known = done + queue.unsettled() as u64 + queue.losses().sum();
            prop_assert!(known <= came, "{known} of {came}");
            prop_assert!(came - known <= repeats, "only repeats are superseded");
        }
        queue.settle(0);
        let rest = queue.take(usize::MAX);
        prop_assert!(rest.is_sorted_by_key(serial));
        let latest = rest.iter().filter_map(|message| match message {
            Message::Notice(notice) if is_repeat(notice) => Some(&notice.alert.identity),
            _ => None,
        });
        let latest: Vec<_> = latest.collect();
        let distinct: std::collections::HashSet<_> = latest.iter().collect();
        prop_assert_eq!(distinct.len(), latest.len(), "one repeat of each alert");
    }
}
