//! Who is not meant to gets nothing of the daemon: neither its files nor its socket nor, by
//! coming in numbers, its time; and secrets are nowhere but in their requests.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid, setgroups};

use super::verdicts::host;
use crate::attempt::all_answered;
use crate::client::connect;
use crate::context::Context;
use crate::daemon::{Daemon, folder};
use crate::listen::Listen;
use crate::netns::Netns;
use crate::receiver::{Answer, Receiver};
use crate::server::Server;

const CONNECTIONS: usize = 1_000;
/// A user who is nobody.
const NOBODY: u32 = 65_534;

/// Part of a token, of a key and of what is made of it.
const SECRETS: [&str; 2] = ["t0ken-of-nobody", "k3y-of-nobody"];

/// Alerts go to a receiver that refuses them and repeats what it got: the token is in no message,
/// no metric, no file and not in what `--check` prints. Another user gets at nothing that the
/// daemon wrote, nor at its socket.
pub(crate) fn daemon_secrets(cx: &Context) -> Result<()> {
    cx.need_one_of_all()?;
    let _netns = host()?;
    let folder = folder("secrets");
    fs::create_dir_all(&folder)?;
    let receiver = Receiver::start(0, Answer::Repeated)?;
    let settings = settings(&folder, &receiver)?;
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?)?;
    let daemon = cx.daemon(&folder, &settings)?;
    all_answered(&connect("6.6.6.6:80", 3)?, &["B"])?;
    let is_told = |told: &Vec<String>| told.iter().any(|text| text.contains(SECRETS[0]));
    daemon.until("a request", || Ok(receiver.requests()), is_told)?;
    let rejected = [("sink", "webhook"), ("result", "rejected")];
    daemon.metric("sockpick_sink_sends_total", &rejected, 1.0)?;
    daemon.until_said("401")?;
    daemon.lines(|lines| !lines.is_empty())?;
    let state = folder.join("state.json");
    daemon.until("the state", || Ok(state.exists()), |is_there| *is_there)?;

    let (_, metrics) = Daemon::get("/metrics")?;
    let check = Command::new(&cx.sockpick)
        .args(["daemon", "--check", "--config"])
        .arg(folder.join("sockpick.toml"))
        .output()?;
    let mut texts = vec![daemon.said().join("\n"), metrics];
    texts.extend([check.stdout, check.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into()));
    for name in ["alerts.jsonl", "hook.spool", "state.json"] {
        texts.push(fs::read_to_string(folder.join(name))?);
    }
    let is_open = |text: &&String| SECRETS.iter().any(|secret| text.contains(secret));
    if let Some(text) = texts.iter().find(is_open) {
        bail!("a secret is in it: {text}");
    }
    let other = folder.clone();
    let shut_out = std::thread::spawn(move || shut_out(&other)).join();
    shut_out.map_err(|_| anyhow::anyhow!("another user panicked"))??;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

fn settings(folder: &Path, receiver: &Receiver) -> Result<String> {
    for (name, secret) in ["token", "key"].into_iter().zip(SECRETS) {
        fs::write(folder.join(name), secret)?;
    }
    let (shown, at) = (folder.display(), receiver.address);
    Ok(format!(
        "[[service]]\nname = 'A'\nlisten = ['6.6.6.6:80']\n\
         [[sink]]\ntype = 'webhook'\nurl = 'http://{at}/alerts'\n\
         bearer_file = '{shown}/token'\nsecret_file = '{shown}/key'\n\
         spool = '{shown}/hook.spool'\n"
    ))
}

/// As another user, in a thread that ends with it: what the daemon wrote cannot be opened.
fn shut_out(folder: &Path) -> Result<()> {
    become_nobody()?;
    for name in ["state.json", "hook.spool", "alerts.jsonl"] {
        let opened = File::open(folder.join(name)).map(drop);
        is_denied(opened).with_context(|| name.to_owned())?;
        let written = File::options()
            .append(true)
            .open(folder.join(name))
            .map(drop);
        is_denied(written).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// For files and sockets of the file system, this thread is another user from now on.
fn become_nobody() -> Result<()> {
    setgroups(&[]).context("cannot leave the groups")?;
    setfsgid(Gid::from_raw(NOBODY));
    setfsuid(Uid::from_raw(NOBODY));
    // It answers with the user before, who is nobody by now.
    let now = setfsuid(Uid::from_raw(NOBODY));
    ensure!(now.as_raw() == NOBODY, "still {now}");
    Ok(())
}

fn is_denied(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
        other => bail!("not denied but {other:?}"),
    }
}

/// The metrics are at a Unix socket, which another user cannot connect to; the group may.
pub(crate) fn daemon_unix_socket(cx: &Context) -> Result<()> {
    cx.need_one_of_all()?;
    let _netns = Netns::fresh()?;
    let folder = folder("socket");
    let daemon = cx.daemon(&folder, "")?;
    let socket = folder.join("metrics.sock");
    let text = fs::read_to_string(folder.join("sockpick.toml"))?;
    let listen = format!("listen = 'unix:{}'", socket.display());
    let text = text.replace("listen = '127.0.0.1:9464'", &listen);
    fs::write(folder.join("sockpick.toml"), text)?;
    daemon.signal(nix::sys::signal::Signal::SIGHUP)?;
    daemon.until("a socket", || Ok(socket.exists()), |is_there| *is_there)?;
    let connects = || UnixStream::connect(&socket).map(drop);
    connects().context("as root")?;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            become_nobody()?;
            is_denied(connects())
        });
        other.join()
    })
    .map_err(|_| anyhow::anyhow!("another user panicked"))??;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}

/// A thousand clients connect and say nothing. SYNs are counted and alerts told as ever, and who
/// asks once they are gone is answered.
pub(crate) fn daemon_crowded(cx: &Context) -> Result<()> {
    cx.need_one_of_all()?;
    let _netns = host()?;
    setrlimit(Resource::RLIMIT_NOFILE, 4096, 4096)?;
    let folder = folder("crowded");
    let settings = "[[service]]\nname = 'A'\nlisten = ['6.6.6.6:80']\n";
    let _b = Server::start(Listen::new("B", "0.0.0.0:80")?)?;
    let daemon = cx.daemon(&folder, settings)?;
    let crowd: Vec<TcpStream> = Netns::host()?.inside(|| {
        let clients = (0..CONNECTIONS).map(|_| TcpStream::connect("127.0.0.1:9464"));
        Ok(clients.collect::<Result<_, _>>()?)
    })?;
    all_answered(&connect("6.6.6.6:80", 5)?, &["B"])?;
    daemon.lines(|lines| lines.iter().any(|line| line["alert"] == "began"))?;
    drop(crowd);
    daemon.metric("sockpick_syn_total", &[("listener", "*:80")], 5.0)?;
    daemon.until_said("512 more were closed")?;
    daemon.finish()?;
    Ok(fs::remove_dir_all(folder)?)
}
