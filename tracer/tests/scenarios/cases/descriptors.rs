//! Descriptors of others: all are looked at, and none is held on to.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::{Context as _, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::resource::{Resource, setrlimit};

use crate::client::Client;
use crate::context::Context;
use crate::netns::Netns;

/// So many listeners are closed and come back,
const SERVICES: u16 = 64;
/// so often.
const TIMES: usize = 250;
/// More descriptors than one pass of the kernel's over a process looks at,
const FAR: i32 = 40_000;
/// and more listeners than one pass tells of.
const LISTENERS: u16 = 1100;

/// Services close their listeners and bind again at once, thousands of times: nobody else may
/// still have such a socket, whoever looks at who holds it.
pub(crate) fn bound_again(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    let listen = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let mut services = Vec::new();
    for port in 1000..1000 + SERVICES {
        services.push((port, Some(listen(port)?)));
    }
    let trace = cx.trace(&[])?;
    for _ in 0..TIMES {
        for (port, service) in &mut services {
            *service = None;
            let again = listen(*port).with_context(|| format!("the closed port {port} again"))?;
            *service = Some(again);
        }
        // A SYN for a listener that is new, so that its owner is looked for.
        let (port, Some(service)) = &services[0] else {
            bail!("nobody listens");
        };
        let _client = TcpStream::connect(("127.0.0.1", *port))?;
        service.accept()?;
    }
    let recorded = trace.finish()?;
    let seen = recorded.events.len() as u64 + recorded.lost();
    if !cx.ground_truth && seen != TIMES as u64 {
        bail!("{TIMES} SYNs, and {seen} seen or lost");
    }
    Ok(())
}

/// A process with very many descriptors holds very many listeners, and one far behind the others.
pub(crate) fn many_descriptors(cx: &Context) -> Result<()> {
    cx.need_all()?;
    let _netns = Netns::fresh()?;
    setrlimit(Resource::RLIMIT_NOFILE, 2 * FAR as u64, 2 * FAR as u64)?;
    let listen = |port: u16| TcpListener::bind(("127.0.0.1", port));
    let near: Vec<TcpListener> = (1000..1000 + LISTENERS)
        .map(listen)
        .collect::<Result<_, _>>()?;
    let null = File::open("/dev/null")?;
    let duplicate = |of: &dyn AsFd, at| fcntl(of.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(at));
    for nth in 0..FAR / 2 {
        duplicate(&null, FAR / 4 + nth)?;
    }
    let listener = listen(80)?;
    duplicate(&listener, FAR)?;
    drop(listener);
    let trace = cx.trace(&[])?;
    // Nobody accepts: only a look at the descriptors tells whose they are.
    let ports = [80, 1000, 1000 + LISTENERS / 2, 999 + LISTENERS];
    let attempts = ports.map(|port| Client::to(&format!("127.0.0.1:{port}"))?.open());
    let attempts = attempts.into_iter().collect::<Result<Vec<_>>>()?;
    let recorded = trace.finish()?;
    drop(near);
    if cx.ground_truth {
        return Ok(());
    }
    for (attempt, _) in &attempts {
        let event = recorded
            .events
            .iter()
            .find(|one| one.key() == attempt.key());
        let event = event.with_context(|| format!("no event of {attempt:?}"))?;
        let listener = event.listener.as_ref().context("nobody listens")?;
        let owners: Vec<u32> = listener.owners.iter().map(|owner| owner.pid).collect();
        if owners != [std::process::id()] {
            bail!("this process holds it, and is not told: {event:?}");
        }
    }
    Ok(())
}
