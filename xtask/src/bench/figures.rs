//! What was found on a kernel.

/// A figure, in instructions where nothing else is said, as the boots agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Figure {
    /// The median of the boots.
    pub(super) value: u64,
    /// Between the lowest and the highest.
    pub(super) spread: u64,
}

impl Figure {
    /// None of none.
    pub(super) fn of(mut boots: Vec<u64>) -> Option<Self> {
        boots.sort_unstable();
        let (lowest, highest) = (*boots.first()?, *boots.last()?);
        let lower = boots[(boots.len() - 1) / 2];
        let upper = boots[boots.len() / 2];
        Some(Self {
            value: u64::midpoint(lower, upper),
            spread: highest - lowest,
        })
    }
}

/// What one way to watch adds to a connection.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) added: Figure,
    /// How much of it the tool's own process did, if that can be told.
    pub(super) user: Option<u64>,
    /// Its resident memory in KiB, once it saw connections.
    pub(super) resident: Option<u64>,
}

/// What watching adds to another kind of connections.
#[derive(Debug)]
pub(super) struct Other {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// One that nobody watches.
    pub(super) alone: u64,
    pub(super) json: Figure,
    pub(super) daemon: Figure,
}

/// What a start takes, and what the tool has then.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) listeners: u32,
    pub(super) namespaces: u32,
    /// The crowd's name, and the tool's.
    pub(super) name: (&'static str, &'static str),
    pub(super) took: Figure,
    /// In the tool's own process.
    pub(super) user: u64,
    /// Resident memory, in KiB.
    pub(super) resident: Figure,
    /// The kernel's maps, in bytes.
    pub(super) maps: u64,
}

/// What became of many SYNs at once.
#[derive(Debug)]
pub(super) struct Burst {
    pub(super) name: &'static str,
    pub(super) syns: u64,
    pub(super) told: u64,
    pub(super) lost: Figure,
}

/// One kernel.
#[derive(Debug, Default)]
pub(super) struct Column {
    pub(super) kernel: String,
    pub(super) release: String,
    /// A connection that nobody watches.
    pub(super) baseline: Figure,
    pub(super) rows: Vec<Row>,
    /// sockpick's own instructions in a minute without connections.
    pub(super) idle: Option<u64>,
    /// What each function's probe takes of a connection that the daemon watches, those that take
    /// most first.
    pub(super) parts: Vec<(String, u64)>,
    pub(super) others: Vec<Other>,
    pub(super) starts: Vec<Start>,
    pub(super) bursts: Vec<Burst>,
}

impl Column {
    /// What a way to watch adds.
    pub(super) fn added(&self, name: &str) -> Option<u64> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        Some(row.added.value)
    }

    /// The kind of connections of that name.
    pub(super) fn other(&self, name: &str) -> Option<&Other> {
        self.others.iter().find(|other| other.name == name)
    }

    /// The start of a tool beside a crowd.
    pub(super) fn start(&self, crowd: &str, tool: &str) -> Option<&Start> {
        let mut starts = self.starts.iter();
        starts.find(|start| start.name == (crowd, tool))
    }
}

#[cfg(test)]
mod tests {
    use super::Figure;

    #[test]
    fn a_figure_lies_in_the_middle_of_the_boots() {
        let figure = |value, spread| Some(Figure { value, spread });
        assert_eq!(Figure::of(vec![3, 1, 2]), figure(2, 2));
        assert_eq!(Figure::of(vec![20, 10]), figure(15, 10));
        assert_eq!(Figure::of(Vec::new()), None);
    }
}
