//! The namespaces that `[watch]` names: a name means whichever namespace has it, also one that
//! comes later, or again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::{judge::netns::NetnsName, namespaces};

/// How often it is looked which namespaces have the names.
const INTERVAL: Duration = Duration::from_mins(1);

/// Names, and what they mean.
pub(super) struct Names {
    /// Names and numbers: paths and processes mean what they led to at the start.
    watched: Vec<NetnsName>,
    /// Inode numbers that pass the filter; `None`: all do.
    passing: Option<Vec<u32>>,
    looked: Instant,
}

impl Names {
    /// Of the namespaces that are watched, those pass that are there.
    pub(super) fn new(watched: Vec<NetnsName>, passing: Option<Vec<u32>>) -> Self {
        Self {
            watched,
            passing,
            looked: Instant::now(),
        }
    }

    /// Until when what was found is good; `None`: for ever, as there is no name.
    fn due(&self) -> Option<Instant> {
        let is_name = |watched: &NetnsName| matches!(watched, NetnsName::Name(_));
        let by_name = self.watched.iter().any(is_name);
        by_name.then(|| self.looked + INTERVAL)
    }

    /// Waits until [`Names::look`] is worth being called.
    pub(super) async fn turn(&self) {
        match self.due() {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    /// Looks anew, if it is time: numbers that passed, and those that are to, if they differ.
    pub(super) fn look(&mut self) -> Option<(Vec<u32>, Vec<u32>)> {
        if self.due().is_none_or(|due| Instant::now() < due) {
            return None;
        }
        self.look_now()
    }

    /// The same at once.
    pub(super) fn look_now(&mut self) -> Option<(Vec<u32>, Vec<u32>)> {
        self.looked = Instant::now();
        let before = self.passing.as_ref()?;
        let found = self.watched.iter().filter_map(|name| match name {
            NetnsName::Inode(inode) => Some(*inode),
            _ => namespaces::named(name).ok(),
        });
        let mut now: Vec<u32> = found.collect();
        now.sort_unstable();
        now.dedup();
        if now == *before {
            return None;
        }
        self.passing
            .replace(now.clone())
            .map(|before| (before, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_that_nobody_has_takes_nothing_from_the_others() {
        let name = NetnsName::Name("sockpick-test-nobody".into());
        let mut names = Names::new(vec![NetnsName::Inode(7), name], Some(vec![7, 9]));
        assert_eq!(names.look(), None, "not yet");
        names.turn().await;
        // What had the name is gone, and the number stays as it is.
        assert_eq!(names.look(), Some((vec![7, 9], vec![7])));
        assert_eq!(names.look_now(), None, "nothing changed");
    }

    #[tokio::test(start_paused = true)]
    async fn without_names_nothing_is_looked_for() {
        let names = Names::new(vec![NetnsName::Inode(7)], Some(vec![7]));
        let day = tokio::time::timeout(Duration::from_hours(24), names.turn());
        assert!(day.await.is_err());
    }
}
