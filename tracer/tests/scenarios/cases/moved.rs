//! A service that comes back on another address, told by its unit.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

use super::verdicts::host;
use crate::attempt::all_answered;
use crate::client::connect;
use crate::compare::compare;
use crate::context::{Context, Skip};
use crate::kernel::command;
use crate::ledger::WantVerdict;
use crate::listen::Listen;
use crate::server::Server;
use crate::truth::Truth;
use crate::want::{Expect, Wants};

/// Longer than an event is under way and than sockpick believes that nothing changed.
const SETTLE: Duration = Duration::from_millis(600);

/// A place for units: control groups of this scenario's own.
struct Units(PathBuf);

impl Units {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("units-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        let units = Self(path);
        match command(&["mount", "-t", "cgroup2", "none", &units.0.to_string_lossy()]) {
            Ok(_) => Ok(units),
            Err(_) => Err(Skip("no control groups of version 2".to_owned()).into()),
        }
    }

    /// Starts a server that is in this unit from its first instruction.
    fn start(&self, unit: &str, listen: Listen) -> Result<Server> {
        let group = self.0.join(unit);
        if !group.exists() {
            std::fs::create_dir(&group)?;
        }
        enter(&group)?;
        let server = Server::start(listen);
        enter(&self.0)?;
        server
    }
}

/// This process goes there.
fn enter(group: &Path) -> Result<()> {
    std::fs::write(group.join("cgroup.procs"), "0")?;
    Ok(())
}

impl Drop for Units {
    fn drop(&mut self) {
        // The guest goes as well; there is nobody to tell.
        let _ = command(&["umount", "-l", &self.0.to_string_lossy()]);
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The service takes any address after its own: the same one by its unit, then another's.
pub(crate) fn moved(cx: &Context) -> Result<()> {
    let units = Units::new()?;
    let _netns = host()?;
    let own = units.start("a.service", Listen::new("A", "6.6.6.6:80")?)?;
    let inode = own.hello.listeners[0].inode;
    let trace = cx.trace(&[])?;
    let mut wants = Wants::default();
    let mut step = |server: &Server, name, verdict: Option<WantVerdict>| -> Result<()> {
        let attempts = connect("6.6.6.6:80", 4)?;
        all_answered(&attempts, &[name])?;
        let expect = Expect {
            verdict,
            ..Expect::default()
        };
        wants.add(&Truth::of(&[server]), &attempts, &expect)?;
        // A service lives longer than its events are under way.
        std::thread::sleep(SETTLE);
        Ok(())
    };
    let expecting = |verdict, reason| WantVerdict {
        expected: vec![inode],
        ..WantVerdict::is(verdict, Some(reason))
    };
    step(&own, "A", None)?;
    drop(own);
    let any = units.start("a.service", Listen::new("A", "0.0.0.0:80")?)?;
    step(&any, "A", Some(expecting("ok", "moved")))?;
    drop(any);
    let other = units.start("b.service", Listen::new("B", "0.0.0.0:80")?)?;
    step(&other, "B", Some(expecting("uncovered", "restart_gap")))?;
    compare(cx, &trace.finish()?, &wants)
}
