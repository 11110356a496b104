//! What waits for one sink: bounded, in order, and each loss counted. Pure: who waits and who
//! sends is not known here.
#![forbid(unsafe_code)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use crate::alerts::{Identity, Notice, Occasion};

/// Something for a sink.
#[derive(Clone, Debug)]
pub enum Message {
    /// What is to be told of an alert.
    Notice(Arc<Notice>),
    /// An event as a JSON line, with its newline.
    Line(Arc<[u8]>),
}

/// A message and where it stands in the order.
#[derive(Debug)]
struct Entry {
    number: u64,
    message: Message,
}

/// What was thrown away: at a bound, or as nobody could read it any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Events.
    pub lines: u64,
    /// Notices that say what was said before.
    pub repeats: u64,
    /// Notices that an alert began or ended.
    pub notices: u64,
}

impl Losses {
    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.lines + self.repeats + self.notices
    }

    /// Counts this message.
    fn add(&mut self, message: &Message) {
        match message {
            Message::Line(_) => self.lines += 1,
            Message::Notice(notice) if is_repeat(notice) => self.repeats += 1,
            Message::Notice(_) => self.notices += 1,
        }
    }
}

/// The first place in the order, with room before it for what an earlier run left.
const BEGIN: u64 = 1 << 32;

/// What was left at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftover {
    /// Messages that are lost, which is counted.
    pub lost: u64,
    /// Notices that are kept elsewhere, to be sent by another run.
    pub kept: u64,
}

/// Messages in the order in which they came, and those that are being sent.
///
/// A repeat takes the place of an earlier repeat of the same alert, at the end: nobody needs
/// the older one. At the bound the oldest line goes first, then the oldest repeat, then the
/// oldest notice.
#[derive(Debug)]
pub struct Queue {
    limit: usize,
    next: u64,
    /// The first place in the order that was ever given.
    first: u64,
    /// What is being sent.
    taken: Vec<Entry>,
    lines: VecDeque<(u64, Arc<[u8]>)>,
    repeats: BTreeMap<u64, Arc<Notice>>,
    latest: HashMap<Identity, u64>,
    notices: VecDeque<(u64, Arc<Notice>)>,
    losses: Losses,
}

impl Queue {
    /// An empty queue for `limit` messages, those that are being sent included; at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            next: BEGIN,
            first: BEGIN,
            taken: Vec::new(),
            lines: VecDeque::new(),
            repeats: BTreeMap::new(),
            latest: HashMap::new(),
            notices: VecDeque::new(),
            losses: Losses::default(),
        }
    }

    /// Most messages that it holds.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Messages that wait, without those that are being sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lines.len() + self.repeats.len() + self.notices.len()
    }

    /// Messages that are not settled: those that wait, and those that are being sent.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.waiting() + self.taken.len()
    }

    /// Whether only lines wait.
    #[must_use]
    pub fn has_only_lines(&self) -> bool {
        self.repeats.is_empty() && self.notices.is_empty()
    }

    /// What was thrown away so far.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Adds one at the end; at the bound something is thrown away.
    pub fn push(&mut self, message: Message) {
        let number = self.next;
        self.next += 1;
        match message {
            Message::Line(line) => self.lines.push_back((number, line)),
            Message::Notice(notice) if is_repeat(&notice) => self.repeat(number, notice),
            Message::Notice(notice) => self.notices.push_back((number, notice)),
        }
        self.keep_to_the_bound();
    }

    /// Puts what an earlier run left before everything else, in this order, and says at which
    /// places; at the bound the oldest of it goes first.
    pub fn restore(&mut self, notices: Vec<Arc<Notice>>) -> Vec<u64> {
        let mut numbers = Vec::new();
        for notice in notices.into_iter().rev() {
            self.first -= 1;
            numbers.push(self.first);
            self.notices.push_front((self.first, notice));
        }
        self.keep_to_the_bound();
        numbers.reverse();
        numbers
    }

    /// Notices that an alert began or ended, those that are being sent included, in order, with
    /// their places.
    pub fn changes(&self) -> impl Iterator<Item = (u64, &Arc<Notice>)> {
        let taken = self.taken.iter().filter_map(|entry| match &entry.message {
            Message::Notice(notice) if !is_repeat(notice) => Some((entry.number, notice)),
            _ => None,
        });
        let waiting = self
            .notices
            .iter()
            .map(|(number, notice)| (*number, notice));
        taken.chain(waiting)
    }

    /// Throws away the notice at this place, if it waits and is not being sent.
    pub fn give_up(&mut self, number: u64) {
        let at = self
            .notices
            .binary_search_by_key(&number, |(number, _)| *number);
        if at.is_ok_and(|at| self.notices.remove(at).is_some()) {
            self.losses.notices += 1;
        }
    }

    /// Counts so many that were lost before they came here.
    pub fn lose(&mut self, notices: u64) {
        self.losses.notices += notices;
    }

    /// Takes the oldest ones, at most so many, in order, to be sent. They go on counting until
    /// they are settled.
    pub fn take(&mut self, most: usize) -> Vec<Message> {
        let batch: Vec<Entry> = std::iter::from_fn(|| self.pop()).take(most).collect();
        let messages = batch.iter().map(|entry| entry.message.clone()).collect();
        self.taken.extend(batch);
        messages
    }

    /// The first `done` of those that were taken are done with. The others wait again, at their
    /// places; a repeat only if no later one came meanwhile.
    pub fn settle(&mut self, done: usize) {
        let rest = self.taken.split_off(done.min(self.taken.len()));
        self.taken.clear();
        for Entry { number, message } in rest.into_iter().rev() {
            match message {
                Message::Line(line) => self.lines.push_front((number, line)),
                Message::Notice(notice) if is_repeat(&notice) => self.repeat(number, notice),
                Message::Notice(notice) => self.put_back(number, notice),
            }
        }
    }

    /// Throws everything away, also what is being sent, and says how much that was. What is at
    /// one of these places is kept elsewhere, and no loss.
    pub fn abandon(&mut self, kept: &BTreeSet<u64>) -> Leftover {
        let mut left = Leftover::default();
        let mut all = std::mem::take(&mut self.taken);
        all.extend(std::iter::from_fn(|| self.pop()));
        for Entry { number, message } in all {
            if kept.contains(&number) {
                left.kept += 1;
            } else {
                left.lost += 1;
                self.losses.add(&message);
            }
        }
        left
    }

    /// Throws this one away instead of adding it.
    pub fn refuse(&mut self, message: &Message) {
        self.losses.add(message);
    }

    /// Before what came later, and behind what an earlier run left.
    fn put_back(&mut self, number: u64, notice: Arc<Notice>) {
        let at = self.notices.partition_point(|(other, _)| *other < number);
        self.notices.insert(at, (number, notice));
    }

    fn repeat(&mut self, number: u64, notice: Arc<Notice>) {
        let latest = self.latest.get(&notice.alert.identity).copied();
        if latest.is_some_and(|latest| latest > number) {
            return;
        }
        if let Some(earlier) = self.latest.insert(notice.alert.identity.clone(), number) {
            self.repeats.remove(&earlier);
        }
        self.repeats.insert(number, notice);
    }

    fn keep_to_the_bound(&mut self) {
        while self.unsettled() > self.limit {
            if self.lines.pop_front().is_some() {
                self.losses.lines += 1;
            } else if self.pop_repeat().is_some() {
                self.losses.repeats += 1;
            } else if self.notices.pop_front().is_some() {
                self.losses.notices += 1;
            } else {
                return;
            }
        }
    }

    fn pop_repeat(&mut self) -> Option<(u64, Arc<Notice>)> {
        let (number, notice) = self.repeats.pop_first()?;
        self.latest.remove(&notice.alert.identity);
        Some((number, notice))
    }

    fn pop(&mut self) -> Option<Entry> {
        let number = |at: Option<u64>| at.unwrap_or(u64::MAX);
        let line = number(self.lines.front().map(|(number, _)| *number));
        let repeat = number(self.repeats.first_key_value().map(|(number, _)| *number));
        let notice = number(self.notices.front().map(|(number, _)| *number));
        let (number, message) = if line < repeat.min(notice) {
            let (number, line) = self.lines.pop_front()?;
            (number, Message::Line(line))
        } else if repeat < notice {
            let (number, notice) = self.pop_repeat()?;
            (number, Message::Notice(notice))
        } else {
            let (number, notice) = self.notices.pop_front()?;
            (number, Message::Notice(notice))
        };
        Some(Entry { number, message })
    }
}

/// The notices of a batch; sinks that take no lines are given none.
pub(crate) fn notices(batch: &[Message]) -> Vec<&Notice> {
    let notices = batch.iter().filter_map(|message| match message {
        Message::Notice(notice) => Some(&**notice),
        Message::Line(_) => None,
    });
    notices.collect()
}

fn is_repeat(notice: &Notice) -> bool {
    matches!(notice.occasion, Occasion::Lasts | Occasion::OverStill)
}

#[cfg(test)]
mod tests;
