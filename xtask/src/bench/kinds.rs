//! What else is measured than ways to watch: other connections, starts, bursts.

/// Connections unlike the usual ones, each kind watched by `trace -o json` and the daemon.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Options of the load.
    pub(super) options: &'static str,
    /// Listeners that are there besides.
    pub(super) crowd: u32,
}

pub(super) const REFUSED: &str = "refused";
/// The fewest and the most listeners beside the one that is connected to.
pub(super) const FEW: &str = "beside-10";
pub(super) const MANY: &str = "beside-10000";

const fn kind(name: &'static str, about: &'static str, options: &'static str) -> Kind {
    Kind {
        name,
        about,
        options,
        crowd: 0,
    }
}

const fn beside(name: &'static str, about: &'static str, crowd: u32) -> Kind {
    Kind {
        crowd,
        ..kind(name, about, "")
    }
}

/// All of them.
pub(super) const KINDS: [Kind; 6] = [
    kind(REFUSED, "a SYN that nobody listens for", "--refused"),
    kind("group", "to a group of 16", "--members 16"),
    kind("v6", "over IPv6", "--v6"),
    beside(FEW, "with 10 listeners more", 10),
    beside("beside-1000", "with 1,000 listeners more", 1000),
    beside(MANY, "with 10,000 listeners more", 10_000),
];

/// Who is there while a tool starts.
pub(super) struct Crowd {
    pub(super) name: &'static str,
    pub(super) listeners: u32,
    pub(super) namespaces: u32,
    /// Whether the daemon starts too.
    pub(super) has_daemon: bool,
}

/// The crowds that there are bounds for.
pub(super) const ALL_HERE: &str = "10000-in-1";
pub(super) const ALL_SPREAD: &str = "10000-in-100";

const fn crowd(name: &'static str, listeners: u32, namespaces: u32) -> Crowd {
    Crowd {
        name,
        listeners,
        namespaces,
        has_daemon: false,
    }
}

/// All of them. Those of one namespace are there while connections are made, too.
pub(super) const CROWDS: [Crowd; 6] = [
    crowd("10-in-1", 10, 1),
    crowd("1000-in-1", 1000, 1),
    Crowd {
        has_daemon: true,
        ..crowd(ALL_HERE, 10_000, 1)
    },
    crowd("100-in-100", 100, 100),
    Crowd {
        has_daemon: true,
        ..crowd(ALL_SPREAD, 10_000, 100)
    },
    crowd("1000-in-1000", 1000, 1000),
];

/// Names of rows: all crowds, all bursts.
pub(super) const STARTS: &str = "starts";
pub(super) const BURSTS: &str = "bursts";

/// SYNs of a burst.
pub(super) const BURST: u32 = 20_000;
/// The processor is everybody's; or not the tool's.
pub(super) const SHARED: &str = "shared";
pub(super) const STOPPED: &str = "stopped";
