//! The command line: the tests, and the helpers for use by hand.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use crate::cases::Part;
use crate::context::{AUTO, LEGACY};
use crate::listen::Listen;

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
Usage: sockpick-scenarios [FILTER...] [--backend fentry|kprobe|legacy|auto|all]
                          [--core BACKEND]... [--smoke BACKEND]... [--list]
         run the scenarios whose name contains a FILTER (all by default), in a guest as root;
         --core runs only the core of them by that backend, --smoke a handful;
         --suspects has sockpick tell only of alerts, and count the rest in the kernel;
         --ground-truth runs them without sockpick, checking only what the servers say;
         --hide-btf makes the kernel look like one without type information
       sockpick-scenarios --serve ADDR:PORT [--name NAME] [--count N] [--reuseport]
                          [--backlog N] [--device IF] [--v6only] [--transparent]
                          [--mptcp]
         answers each connection with its name, process, listener and inode, until killed
       sockpick-scenarios --connect ADDR:PORT [--from ADDR] [--port N] [--times N]
         connects and prints who answered
       sockpick-scenarios --load N [--members M] [--v6] [--refused] [--warm-up N] [--tool PID]
         N connections over loopback to M listeners of its own, or to none; prints how many, for
         how many ns the processor was not idle, and how many of them process PID had
       sockpick-scenarios --crowd N [--namespaces M]
         N listeners, spread over M network namespaces, until killed
Environment: SOCKPICK_GUEST (set in guests), SOCKPICK (the sockpick binary; else from PATH)
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Print the usage.
    Help,
    /// Print the names of the scenarios.
    List,
    /// Run scenarios, each in a process of its own.
    All(All),
    /// Run one scenario in this process.
    One(One),
    /// Be a server.
    Serve(Serve),
    /// Be a client.
    Connect(Connect),
    /// Be the bench's workload.
    Load(Load),
    /// Be there, and listen.
    Crowd(Crowd),
}

/// Which scenarios to run.
#[derive(Debug, Default)]
pub(crate) struct All {
    /// Parts of names.
    pub(crate) filters: Vec<String>,
    /// One backend; all that the kernel allows by default.
    pub(crate) backend: Option<String>,
    /// Backends by which only a part of them runs.
    pub(crate) parts: Vec<(String, Part)>,
    /// Run without sockpick.
    pub(crate) ground_truth: bool,
    /// Only alerts are told.
    pub(crate) suspects: bool,
    /// Let nobody find the kernel's type information.
    pub(crate) hide_btf: bool,
}

/// One scenario.
#[derive(Debug)]
pub(crate) struct One {
    /// Its name.
    pub(crate) scenario: String,
    /// Backend to trace with.
    pub(crate) backend: String,
    /// Run without sockpick.
    pub(crate) ground_truth: bool,
    /// Only alerts are told.
    pub(crate) suspects: bool,
}

/// A server process.
#[derive(Debug, Clone)]
pub(crate) struct Serve {
    /// What it listens on.
    pub(crate) listen: Listen,
    /// A parent holds the other end of stdin: end when it goes, and obey its commands.
    pub(crate) controlled: bool,
    /// Leave accepting to a child that inherits the listeners.
    pub(crate) heir: bool,
    /// Inherited listening sockets to accept from, instead of opening some.
    pub(crate) inherited: Vec<i32>,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Connect {
    /// Where to.
    pub(crate) destination: SocketAddr,
    /// Source address.
    pub(crate) source: Option<std::net::IpAddr>,
    /// First source port; 0 for any.
    pub(crate) port: u16,
    /// How often.
    pub(crate) times: usize,
}

/// The bench's workload.
#[derive(Debug)]
pub(crate) struct Load {
    /// Connections that count.
    pub(crate) connections: u32,
    /// Members of the reuseport group.
    pub(crate) members: usize,
    /// Over IPv6.
    pub(crate) v6: bool,
    /// To a port that nobody listens on.
    pub(crate) refused: bool,
    /// Connections before those that count.
    pub(crate) warm_up: u32,
    /// Who watches.
    pub(crate) tool: Option<u32>,
}

/// Listeners that nobody connects to.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// All of them.
    pub(crate) listeners: u32,
    /// Where they are: the present network namespace, and new ones.
    pub(crate) namespaces: u32,
}

/// The words of a command line, to be taken one by one.
struct Words {
    rest: Vec<String>,
}

impl Words {
    /// Takes `name` out; true if it was there.
    fn flag(&mut self, name: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|word| word != name);
        self.rest.len() != before
    }

    /// Takes `name VALUE` out.
    fn value(&mut self, name: &str) -> Result<Option<String>> {
        let Some(at) = self.rest.iter().position(|word| word == name) else {
            return Ok(None);
        };
        if at + 1 >= self.rest.len() {
            bail!("{name} needs a value");
        }
        self.rest.remove(at);
        Ok(Some(self.rest.remove(at)))
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        self.value(name)?
            .map(|text| text.parse().with_context(|| format!("{name} {text}")))
            .transpose()
    }

    fn end(self) -> Result<()> {
        match self.rest.first() {
            Some(word) => bail!("unexpected `{word}`; see --help"),
            None => Ok(()),
        }
    }
}

/// Reads the command line.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Mode> {
    let mut words = Words {
        rest: arguments.collect(),
    };
    if words.flag("--help") || words.flag("-h") {
        return Ok(Mode::Help);
    }
    if words.flag("--list") {
        return Ok(Mode::List);
    }
    if let Some(address) = words.parsed("--serve")? {
        return serve(words, address);
    }
    if let Some(destination) = words.parsed("--connect")? {
        let connect = Connect {
            destination,
            source: words.parsed("--from")?,
            port: words.parsed("--port")?.unwrap_or(0),
            times: words.parsed("--times")?.unwrap_or(1),
        };
        return words.end().map(|()| Mode::Connect(connect));
    }
    if let Some(connections) = words.parsed("--load")? {
        let load = Load {
            connections,
            members: words.parsed("--members")?.unwrap_or(1),
            v6: words.flag("--v6"),
            refused: words.flag("--refused"),
            tool: words.parsed("--tool")?,
            // The first after boot cost twice as much: caches of the kernel's allocators.
            warm_up: words
                .parsed("--warm-up")?
                .unwrap_or((connections / 2).max(500)),
        };
        return words.end().map(|()| Mode::Load(load));
    }
    if let Some(listeners) = words.parsed("--crowd")? {
        let crowd = Crowd {
            listeners,
            namespaces: words.parsed("--namespaces")?.unwrap_or(1),
        };
        return words.end().map(|()| Mode::Crowd(crowd));
    }
    scenarios(words)
}

fn serve(mut words: Words, address: SocketAddr) -> Result<Mode> {
    let mut listen = Listen::on(address);
    if let Some(name) = words.value("--name")? {
        listen.name = name;
    }
    listen.count = words.parsed("--count")?.unwrap_or(1);
    listen.backlog = words.parsed("--backlog")?.unwrap_or(listen.backlog);
    listen.device = words.value("--device")?;
    listen.reuseport = words.flag("--reuseport");
    listen.v6only = words.flag("--v6only");
    listen.transparent = words.flag("--transparent");
    listen.mptcp = words.flag("--mptcp");
    listen.hold = words.flag("--hold");
    let mut inherited = Vec::new();
    while let Some(descriptor) = words.parsed("--inherited")? {
        inherited.push(descriptor);
    }
    let serve = Serve {
        listen,
        controlled: words.flag("--controlled"),
        heir: words.flag("--heir"),
        inherited,
    };
    words.end().map(|()| Mode::Serve(serve))
}

fn scenarios(mut words: Words) -> Result<Mode> {
    let backend = words.value("--backend")?.filter(|backend| backend != "all");
    let mut parts = Vec::new();
    for (option, part) in [("--core", Part::Core), ("--smoke", Part::Smoke)] {
        while let Some(backend) = words.value(option)? {
            parts.push((backend, part));
        }
    }
    let of_parts = parts.iter().map(|(backend, _)| backend);
    for other in backend.iter().chain(of_parts) {
        if !["fentry", "kprobe", LEGACY, AUTO].contains(&other.as_str()) {
            bail!("unknown backend `{other}`; there are fentry, kprobe, legacy, auto and all");
        }
    }
    let ground_truth = words.flag("--ground-truth");
    let hide_btf = words.flag("--hide-btf");
    let suspects = words.flag("--suspects");
    if let Some(scenario) = words.value("--run-one")? {
        let one = One {
            scenario,
            backend: backend.unwrap_or_default(),
            ground_truth,
            suspects,
        };
        return words.end().map(|()| Mode::One(one));
    }
    if let Some(option) = words.rest.iter().find(|word| word.starts_with('-')) {
        bail!("unknown option `{option}`; see --help");
    }
    Ok(Mode::All(All {
        hide_btf,
        filters: words.rest,
        backend,
        parts,
        ground_truth,
        suspects,
    }))
}
