//! systemd's journal, by its native protocol: one datagram an entry.

use std::{
    fs::File,
    io::{self, IoSlice, Write},
    os::{
        fd::{AsRawFd as _, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::{
        memfd::{MFdFlags, memfd_create},
        socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg},
    },
};

use crate::{
    alerts::{Alert, Notice, Sample},
    delivery::{
        attempt::{Attempt, Failure},
        json::word,
        queue::{Message, notices},
        told::{kind, over, resolution, words},
        worker::Send,
    },
    words::located,
};

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// `MESSAGE_ID` of an alert that began.
const FIRING: &str = "cd68921433a942a19b855ebdf2b9eb85";

/// `MESSAGE_ID` of an alert that is over.
const RESOLVED: &str = "564f4dc936ea4c9bbf1018620350e27e";

/// `MESSAGE_ID` of what says that notices for the journal were lost.
const LOST: &str = "c62a9d97ce3a4e8ea8f880450ef23ff2";

/// Priorities as in syslog.
const CRITICAL: &str = "2";
const WARNING: &str = "4";
const NOTICE: &str = "5";

/// The journal of this host.
pub(in crate::delivery) struct Journald {
    path: PathBuf,
}

impl Journald {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// At once or not at all: that there is room in the queue of a journal that stands still is
    /// told to nobody.
    fn write(&self, entry: &[u8]) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        match socket.send_to(entry, &self.path) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                let file = sealed(entry)?;
                let address = UnixAddr::new(&self.path)?;
                Ok(pass(socket.as_raw_fd(), &file, &address)?)
            }
            sent => sent.map(|_| ()),
        }
    }

    fn write_all(&self, notices: &[&Notice]) -> Attempt {
        for (done, notice) in notices.iter().enumerate() {
            if let Err(error) = self.write(&entry(notice)) {
                return Attempt::failed_after(done, self.failure(&error));
            }
        }
        Attempt::accepted(notices.len())
    }

    fn failure(&self, error: &io::Error) -> Failure {
        let path = self.path.display();
        Failure::new(format!("cannot write to the journal at {path}: {error}"))
    }
}

impl Send for Journald {
    const BATCH: usize = 64;

    async fn send(&mut self, batch: &[Message], lost: u64) -> Attempt {
        if lost > 0
            && let Err(error) = self.write(&loss(lost))
        {
            return Attempt::failed(self.failure(&error));
        }
        Attempt {
            told_losses: lost > 0,
            ..self.write_all(&notices(batch))
        }
    }
}

/// A file in memory that nobody can change any more: what the protocol asks for where an entry
/// is too large for a datagram.
fn sealed(entry: &[u8]) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC;
    let mut file = File::from(memfd_create(c"sockpick-journal", flags)?);
    file.write_all(entry)?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

fn pass(socket: RawFd, file: &OwnedFd, address: &UnixAddr) -> Result<(), Errno> {
    let files = [file.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&files)];
    let nothing = [IoSlice::new(&[])];
    sendmsg(socket, &nothing, &control, MsgFlags::empty(), Some(address)).map(|_| ())
}

fn loss(lost: u64) -> Vec<u8> {
    let text = format!("{lost} notices of alerts were lost before they were written here");
    fields([
        ("MESSAGE", text),
        ("MESSAGE_ID", LOST.to_owned()),
        ("PRIORITY", WARNING.to_owned()),
        ("SOCKPICK_LOST", lost.to_string()),
    ])
}

fn entry(notice: &Notice) -> Vec<u8> {
    let alert = &notice.alert;
    let (kind, words) = (kind(alert), words(alert));
    let (id, priority) = match over(alert) {
        Some(_) => (RESOLVED, NOTICE),
        None if kind.is_critical => (FIRING, CRITICAL),
        None => (FIRING, WARNING),
    };
    let mut all = vec![
        ("MESSAGE", words.title),
        ("MESSAGE_ID", id.to_owned()),
        ("PRIORITY", priority.to_owned()),
        ("SOCKPICK_ALERT", word(notice.occasion).to_owned()),
        ("SOCKPICK_DESCRIPTION", words.text),
    ];
    all.extend(alert.sample().into_iter().flat_map(of_syn));
    all.extend(course(alert));
    let pairs = kind.about.pairs();
    let pairs = pairs.map(|(key, value)| (format!("SOCKPICK_{}", key.to_uppercase()), value));
    let mut entry = fields(all);
    entry.extend(pairs.flat_map(|(key, value)| field(&key, value)));
    entry
}

/// To whom.
fn of_syn(sample: &Sample) -> [(&'static str, String); 3] {
    [
        ("SOCKPICK_CLIENT", sample.client.to_string()),
        ("SOCKPICK_DESTINATION", sample.destination.to_string()),
        ("SOCKPICK_OWNERS", located(&sample.owners)),
    ]
}

/// Since when, how often, and what became of it.
fn course(alert: &Alert) -> [(&'static str, String); 3] {
    let resolution = over(alert).map_or("", |(_, why)| resolution(why));
    [
        ("SOCKPICK_COUNT", alert.count.to_string()),
        ("SOCKPICK_SINCE", alert.since.to_string()),
        ("SOCKPICK_RESOLUTION", resolution.to_owned()),
    ]
}

/// An entry with these fields; empty ones are left out.
fn fields(fields: impl IntoIterator<Item = (&'static str, String)>) -> Vec<u8> {
    let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let mut out = b"SYSLOG_IDENTIFIER=sockpick\n".to_vec();
    out.extend(fields.flat_map(|(key, value)| field(key, &value)));
    out
}

/// As the protocol has it: `KEY=value` a line; a value with a newline has its length before it.
fn field(key: &str, value: &str) -> Vec<u8> {
    let mut out = key.as_bytes().to_vec();
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests;
