//! Keeps what the programs know to be right up to date with the pipeline.

use rustc_hash::FxHashMap;

use crate::{
    judge::right::Right,
    pipeline::{Pipeline, Suspects},
    probes::rights::Rights,
};

/// Where the programs read what is right.
pub(super) trait Tell {
    /// [`Rights::generation`]
    fn generation(&self, port: u16) -> u64;
    /// [`Rights::set`]
    fn set(&self, stamp: u64, generation: u64, right: Option<&Right>);
}

impl Tell for Rights {
    fn generation(&self, port: u16) -> u64 {
        self.generation(port)
    }

    fn set(&self, stamp: u64, generation: u64, right: Option<&Right>) {
        self.set(stamp, generation, right);
    }
}

/// What the programs are told, and as of when.
pub(super) struct Told<T> {
    programs: T,
    /// Ports where something changed, with their generations before the batch at hand was read:
    /// what led to these is in it, or was before.
    noted: FxHashMap<u16, u64>,
    /// Generations as of which the programs were told last.
    as_of: FxHashMap<u16, u64>,
}

impl<T: Tell> Told<T> {
    pub(super) fn new(programs: T) -> Self {
        Self {
            programs,
            noted: FxHashMap::default(),
            as_of: FxHashMap::default(),
        }
    }

    /// To be called before a batch is read.
    pub(super) fn note(&mut self, pipeline: &mut Pipeline) {
        let Some(suspects) = pipeline.suspects() else {
            return;
        };
        for port in suspects.seen() {
            if self.as_of.get(&port) != Some(&self.programs.generation(port)) {
                suspects.doubt(port);
            }
        }
        let ports = suspects.changed().into_iter();
        self.noted = ports
            .map(|port| (port, self.programs.generation(port)))
            .collect();
    }

    /// To be called when all of the batch was taken in.
    pub(super) fn tell(&mut self, pipeline: &mut Pipeline) {
        let ports = self.noted.keys().copied().collect();
        for (stamp, port, right) in pipeline.rights(&ports) {
            self.programs.set(stamp, self.noted[&port], right.as_ref());
        }
        self.as_of.extend(self.noted.drain());
        let left = pipeline.suspects().map(Suspects::left);
        for stamp in left.unwrap_or_default() {
            self.programs.set(stamp, 0, None);
        }
    }
}

#[cfg(test)]
mod tests;
