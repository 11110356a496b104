//! Takes out of a recording what tells whose it is, and leaves what judgement depends on: equal
//! things stay equal, different ones different.

use anyhow::{Result, bail};
use rustc_hash::FxHashMap;
use sockpick_ebpf::abi::Listener;

use super::{Asked, Frame, Header, permutation::Permutation};
use crate::{
    decode::Record,
    host::{
        answers::{Key, Listeners, Named, Owner, Process, Value, Whose},
        noted::Note,
    },
    pipeline::{End, Input},
    words::{KERNEL, UNKNOWN, comm},
};

/// Most names that are told apart; a recording with more is refused.
const MOST_NAMES: usize = 1 << 20;

/// What systemd calls its units behind the last dot: who has something in common depends on it.
const UNIT_TYPES: [&str; 4] = ["service", "scope", "slice", "socket"];

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Process,
    Exe,
    Unit,
    Container,
    Namespace,
    Pod,
    Uid,
    Netns,
    Interface,
    Program,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Exe => "exe",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Namespace => "namespace",
            Self::Pod => "pod",
            Self::Uid => "uid",
            Self::Netns => "netns",
            Self::Interface => "interface",
            Self::Program => "program",
        }
    }
}

/// Replaces names and addresses, one recording long.
pub struct Anonymiser {
    numbers: Permutation,
    names: FxHashMap<(Kind, String), u32>,
    /// How many of each kind there are.
    given: FxHashMap<Kind, u32>,
}

impl Default for Anonymiser {
    fn default() -> Self {
        Self {
            numbers: Permutation::new(),
            names: FxHashMap::default(),
            given: FxHashMap::default(),
        }
    }
}

impl Anonymiser {
    /// The same frame without what tells whose it is.
    ///
    /// # Errors
    /// If there are more names than can be told apart.
    pub fn frame(&mut self, mut frame: Frame) -> Result<Frame> {
        match &mut frame {
            Frame::Header(header) => self.header(header),
            Frame::Part(part) => {
                // Other parts, by another key, do not go with this one.
                part.position.session = self.numbers.number(part.position.session);
                self.header(&mut part.header);
            }
            Frame::Input(Asked { notes, to, .. }) => {
                self.notes(notes);
                self.input(to);
            }
            Frame::End(Asked { notes, to, .. }) => {
                self.notes(notes);
                self.end(to);
            }
            Frame::Continued => {}
        }
        if self.names.len() > MOST_NAMES {
            bail!("the recording has more than {MOST_NAMES} names, too many to be told apart");
        }
        Ok(frame)
    }

    fn header(&mut self, header: &mut Header) {
        header.host = (String::new(), String::new());
        header.filters = filters(&header.filters);
        self.listeners(&mut header.listeners);
    }

    fn input(&mut self, input: &mut Input) {
        match input {
            Input::Record(record) => self.record(record),
            Input::Gone(listener) => self.listener(listener),
            Input::Begin(_) | Input::Malformed | Input::Counted(_) => {}
        }
    }

    fn end(&mut self, end: &mut End) {
        for listener in &mut end.listeners {
            self.listener(listener);
        }
    }

    fn record(&mut self, record: &mut Record) {
        match record {
            Record::Syn(syn) => {
                syn.group = self.numbers.number(syn.group);
                self.address(&mut syn.client);
                self.address(&mut syn.destination);
                self.listener(&mut syn.listener);
            }
            Record::Listen(record) | Record::Close(record) => {
                record.sock = self.numbers.number(record.sock);
                self.listener(&mut record.listener);
            }
            Record::Handover(record) => {
                self.address(&mut record.client);
                self.address(&mut record.destination);
                self.listener(&mut record.listener);
            }
        }
    }

    fn listener(&mut self, listener: &mut Listener) {
        // Without one, the place in the record is all zeros.
        self.address(&mut listener.addr);
        self.comm(&mut listener.listen_comm);
        self.comm(&mut listener.accept_comm);
    }

    fn listeners(&mut self, listeners: &mut Listeners) {
        for listening in &mut listeners.all {
            listening.bound.address = self.numbers.address(listening.bound.address);
        }
    }

    fn notes(&mut self, notes: &mut [Note]) {
        for (key, _, value) in notes {
            self.value(key, value);
        }
    }

    fn value(&mut self, key: &Key, value: &mut Value) {
        match value {
            Value::Name(name) => {
                let kind = match key {
                    Key::Interface(..) => Kind::Interface,
                    _ => Kind::Netns,
                };
                self.some_name(kind, name);
            }
            Value::Programs(programs) => {
                for (_, name) in programs {
                    self.name(Kind::Program, name);
                }
            }
            Value::Whose(whose) => self.whose(whose),
            Value::Owners(owners) => self.owners(owners),
            Value::WhoseNamed(both) => {
                self.whose(&mut both.0);
                self.named(&mut both.1);
            }
            Value::OwnersNamed(both) => {
                self.owners(&mut both.0);
                self.named(&mut both.1);
            }
            Value::Text(text) => *text = self.told(text),
            Value::Stock(listeners) => self.listeners(listeners),
            Value::Flag(_) | Value::Kin(_) => {}
        }
    }

    fn whose(&mut self, whose: &mut Whose) {
        self.owners(&mut whose.owners);
        let processes = [&mut whose.accepted_by, &mut whose.opened_by];
        for Process { comm, .. } in processes.into_iter().flatten() {
            self.name(Kind::Process, comm);
        }
    }

    fn owners(&mut self, owners: &mut [Owner]) {
        for owner in owners {
            self.name(Kind::Process, &mut owner.comm);
            self.some_name(Kind::Exe, &mut owner.exe);
            self.some_name(Kind::Unit, &mut owner.unit);
            self.some_name(Kind::Container, &mut owner.container);
            self.some_name(Kind::Unit, &mut owner.container_unit);
        }
    }

    fn named(&mut self, all: &mut [Named]) {
        for named in all {
            self.some_name(Kind::Container, &mut named.container);
            self.some_name(Kind::Namespace, &mut named.namespace);
            self.some_name(Kind::Pod, &mut named.pod);
            self.some_name(Kind::Uid, &mut named.uid);
        }
    }

    fn address(&self, address: &mut [u8; 16]) {
        *address = self.numbers.address((*address).into()).octets();
    }

    fn comm(&mut self, bytes: &mut [u8; 16]) {
        let mut name = comm(bytes);
        self.name(Kind::Process, &mut name);
        *bytes = [0; 16];
        // One less: it ends in a zero.
        let length = name.len().min(bytes.len() - 1);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    }

    fn some_name(&mut self, kind: Kind, name: &mut Option<String>) {
        if let Some(name) = name {
            self.name(kind, name);
        }
    }

    /// A name in the place of this one. None stays none, and `lo` is every host's.
    fn name(&mut self, kind: Kind, name: &mut String) {
        if name.is_empty() || kind == Kind::Interface && name == "lo" {
            return;
        }
        let behind = name.rsplit_once('.').map(|(_, behind)| behind);
        let behind = behind.filter(|behind| kind == Kind::Unit && UNIT_TYPES.contains(behind));
        let behind = behind.map_or_else(String::new, |behind| format!(".{behind}"));
        let given = self.given.entry(kind).or_default();
        let number = *self
            .names
            .entry((kind, std::mem::take(name)))
            .or_insert_with(|| {
                *given += 1;
                *given
            });
        *name = format!("{}-{number}{behind}", kind.word());
    }

    /// Whose a listener is in words, as [`crate::words::holder_at_end`] writes it: what stands
    /// before a process id is a name, unless it is a word of that function's.
    fn told(&mut self, text: &str) -> String {
        let mut told = String::new();
        let mut rest = text;
        while let Some((before, id, after)) = next_process(rest) {
            let (words, name) = split_words(before);
            let mut name = name.to_owned();
            self.name(Kind::Process, &mut name);
            told.extend([words, &name, id]);
            rest = after;
        }
        // Whatever else stands there is not known to be harmless.
        told + split_words(rest).0
    }
}

/// The text up to a process id in parentheses, that, and what follows.
fn next_process(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices('(').find_map(|(start, _)| {
        let end = start + text[start..].find(')')?;
        let id = text[start + 1..end].trim_end_matches(", ended");
        let is_id = id == UNKNOWN || !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit());
        is_id.then(|| (&text[..start], &text[start..=end], &text[end + 1..]))
    })
}

/// Splits off what [`crate::words::holder_at_end`] writes before a name: ` +2 `, ` and 3 more`,
/// `, last accepted by `, `kernel`.
fn split_words(text: &str) -> (&str, &str) {
    let mut rest = text;
    for whole in [KERNEL, UNKNOWN] {
        let after = rest.strip_prefix(whole);
        rest = after.filter(|after| ends_there(after)).unwrap_or(rest);
    }
    rest = number(rest, " +", "");
    rest = number(rest, " and ", " more");
    for words in [", last accepted by ", " "] {
        rest = rest.strip_prefix(words).unwrap_or(rest);
    }
    (&text[..text.len() - rest.len()], rest)
}

/// Whether nothing follows, or the next clause.
fn ends_there(after: &str) -> bool {
    after.is_empty() || after.starts_with(',')
}

/// What follows such a phrase with a number in it.
fn number<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.strip_prefix(before);
    let rest = rest.map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    let rest = rest.and_then(|rest| rest.strip_prefix(after));
    rest.unwrap_or(text)
}

/// The filters in the kernel, in words: ports and family stay.
fn filters(words: &str) -> String {
    let kept = words.split(", ").map(|filter| {
        let is_port = |c: char| c.is_ascii_digit() || c == '-';
        match filter.split_once(' ') {
            Some(("port", ports)) if ports.chars().all(is_port) => filter,
            Some(("family", "ipv4" | "ipv6")) => filter,
            Some(("dst", _)) => "dst",
            Some(("src", _)) => "src",
            Some(("netns", _)) => "netns",
            _ => "",
        }
    });
    let kept: Vec<&str> = kept.filter(|filter| !filter.is_empty()).collect();
    kept.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event, words};

    #[test]
    fn equal_names_stay_equal_and_a_units_type_stays() {
        let mut all = Anonymiser::default();
        let mut named = |kind, name: &str| {
            let mut name = name.to_owned();
            all.name(kind, &mut name);
            name
        };
        assert_eq!(named(Kind::Process, "nginx"), "process-1");
        assert_eq!(named(Kind::Process, "haproxy"), "process-2");
        assert_eq!(named(Kind::Process, "nginx"), "process-1");
        assert_eq!(named(Kind::Unit, "nginx.service"), "unit-1.service");
        assert_eq!(named(Kind::Unit, "app.acme"), "unit-2");
        assert_eq!(named(Kind::Interface, "lo"), "lo");
        assert_eq!(named(Kind::Interface, "eth0"), "interface-1");
        assert_eq!(named(Kind::Netns, ""), "");
    }

    #[test]
    fn a_holder_in_words_keeps_its_form_and_no_name() {
        let owner = |pid, comm: &str| event::Owner {
            pid,
            comm: comm.to_owned(),
            ..event::Owner::default()
        };
        let last = event::Process {
            pid: 9,
            comm: "acme last".into(),
            initial_pid: None,
            ended: true,
        };
        let owners = [owner(5, "acme (3) x"), owner(6, "acme"), owner(7, "acme")];
        let many: Vec<_> = (1..9)
            .map(|pid| owner(pid, &format!("acme{pid}")))
            .collect();
        let mut all = Anonymiser::default();
        let told = words::holder_at_end(&owners[1..], false, Some(&last), None);
        assert_eq!(
            all.told(&told),
            "process-1(6) +1, last accepted by process-2(9, ended)"
        );
        assert_eq!(all.told("kernel"), "kernel");
        assert_eq!(all.told("?"), "?");
        assert_eq!(all.told("acme(?)"), "process-1(?)");
        assert_eq!(all.told(""), "");
        let told = words::holder_at_end(&[], true, Some(&last), None);
        assert_eq!(
            all.told(&told),
            "kernel, last accepted by process-2(9, ended)"
        );
        for owners in [&owners[..], &many] {
            let told = all.told(&words::holder_at_end(owners, false, Some(&last), None));
            assert!(!told.contains("acme") && told.contains("(5)"), "{told}");
        }
        assert!(!all.told("acme without an id").contains("acme"));
    }

    #[test]
    fn filters_lose_their_addresses() {
        let words = "port 80, port 8000-8010, dst 192.0.2.0/24, netns 7, family ipv4, x acme";
        let kept = "port 80, port 8000-8010, dst, netns, family ipv4";
        assert_eq!(filters(words), kept);
    }
}
