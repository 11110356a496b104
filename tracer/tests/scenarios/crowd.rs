//! Listeners that are only there: what the bench measures must not grow with them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork, pause, pipe};
use socket2::Socket;

use crate::listen::Listen;
use crate::options::Crowd;

/// Their first port; the load's clients have those below.
const FIRST_PORT: u32 = 30_000;
/// And so many follow, in each namespace.
const PORTS: u32 = 30_000;

/// `--crowd`: opens the listeners, says so, and waits until it is killed.
///
/// Each namespace but the first has a process of its own, as containers do.
pub(crate) fn run(crowd: &Crowd) -> Result<()> {
    let here = crowd.listeners / crowd.namespaces.max(1);
    ensure!(here <= PORTS, "there are only {PORTS} ports in a namespace");
    let most = u64::from(here) + 100;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot have that many listeners")?;
    let (ready, tell) = pipe().context("no pipe")?;
    let tell = File::from(tell);
    for _ in 1..crowd.namespaces {
        // SAFETY: this process has one thread.
        if let ForkResult::Child = unsafe { fork() }.context("cannot fork")? {
            return elsewhere(here, &tell);
        }
    }
    drop(tell);
    let _sockets = open(here)?;
    let mut told = Vec::new();
    let wanted = crowd.namespaces.saturating_sub(1) as usize;
    File::from(ready)
        .take(wanted as u64)
        .read_to_end(&mut told)?;
    ensure!(told.len() == wanted, "a namespace has no listeners");
    println!("CROWD ready");
    stay()
}

/// A child, in a namespace of its own, for as long as its parent is there.
fn elsewhere(listeners: u32, mut tell: &File) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
    let _sockets = open(listeners)?;
    tell.write_all(b".")?;
    stay()
}

fn open(listeners: u32) -> Result<Vec<Socket>> {
    let ports = FIRST_PORT..FIRST_PORT + listeners;
    let open = |port: u32| {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, u16::try_from(port)?));
        Listen::on(address).backlog(1).open()
    };
    let sockets: Result<Vec<_>> = ports.map(open).collect();
    Ok(sockets?.into_iter().flatten().collect())
}

fn stay() -> ! {
    loop {
        pause();
    }
}
