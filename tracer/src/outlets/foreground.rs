//! The outlet that the user looks at: it shows what is asked for, and its failure is the
//! session's.

use anyhow::{Context as _, Result};
use sockpick_ebpf::abi::Listener;

use super::{
    Outlet,
    account::Shown,
    selection::{Selection, passes},
};
use crate::{
    event::{Event, Item},
    pipeline::{Account, Holders, Output, Snapshot},
    sinks::{Quiet, Sink, summary::Summary},
};

const UNWRITTEN: &str = "cannot write the output";

/// Shows what passes the selection.
pub struct Foreground {
    sink: Box<dyn Sink>,
    own_netns: u32,
    selection: Selection,
    shown: u64,
    filtered: u64,
    /// Of what is shown, where that is not everything that is judged.
    account: Option<Account>,
}

impl Foreground {
    /// Shows on `sink`. `own_netns`: inode number of the namespace that goes without saying.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>, own_netns: u32, selection: Selection) -> Self {
        let account = (!selection.takes_all()).then(Account::default);
        Self {
            sink,
            own_netns,
            selection,
            shown: 0,
            filtered: 0,
            account,
        }
    }

    /// Goes on without telling anybody.
    pub fn mute(&mut self) {
        self.sink = Box::new(Quiet);
    }

    /// Without a selection nothing is asked of the event.
    fn shows(&self, event: &Event) -> bool {
        self.account.is_none() || passes(&self.selection, event)
    }

    fn write(&mut self, item: &Item) -> Result<()> {
        self.sink.write(item).context(UNWRITTEN)
    }

    /// Takes in what the kernel counted for these listeners.
    pub fn counted(&mut self, listeners: &[Listener]) {
        if let Some(account) = &mut self.account {
            account.counted(listeners);
        }
    }

    /// Of what is shown, where that is not everything that is judged.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The summary of a session that ended so: of what was shown of it.
    #[must_use]
    pub fn summary(&self, session: &Snapshot, holders: &Holders, seconds: f64) -> Summary {
        let shown = Shown {
            session,
            account: self.account().unwrap_or(&session.account),
            holders,
            syns: self.shown,
            filtered: self.filtered + session.stats.counted,
            only_alerts: self.selection.only_alerts,
            by_event: self.selection.asks_about_events(),
            own_netns: self.own_netns,
        };
        shown.summary(seconds)
    }
}

impl Outlet for Foreground {
    fn take(&mut self, output: &Output) -> Result<()> {
        match output {
            Output::Syn(event, record) => {
                if !self.shows(event) {
                    self.filtered += 1;
                    return Ok(());
                }
                self.shown += 1;
                if let Some(account) = &mut self.account {
                    account.syn(event, record);
                }
                self.sink.syn(event).context(UNWRITTEN)
            }
            Output::Handover(handover) => {
                if !self.shows(&handover.event) {
                    return Ok(());
                }
                if let Some(account) = &mut self.account {
                    account.handover(handover);
                }
                self.write(&Item::Handover(handover.clone()))
            }
            Output::Lost(lost) => self.write(&Item::Lost(*lost)),
            // Of SYNs that are no alert little may be known.
            Output::Health(_) if self.selection.only_alerts => Ok(()),
            Output::Health(health) => self.write(&Item::Health(health.clone())),
            Output::Gone(gone) => {
                if let Some(account) = &mut self.account {
                    account.gone(gone);
                }
                Ok(())
            }
            Output::Own(_) | Output::Unrecorded(_) | Output::Balance(_) => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.sink.flush().context(UNWRITTEN)
    }

    /// Whether `--count` is reached.
    fn is_complete(&self) -> bool {
        let count = self.selection.count;
        count.is_some_and(|limit| self.shown >= limit)
    }
}
