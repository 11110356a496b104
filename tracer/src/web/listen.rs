//! Where the endpoints are: an address, a socket in the file system, or one that systemd passes.

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use listenfd::ListenFd;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
};

use crate::settings::feed::Listen;

/// Who may connect to a socket in the file system: its owner and group.
const MODE: u32 = 0o660;
/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// A socket that listens. One that was made in the file system is removed with it.
pub struct Listening {
    socket: ListeningSocket,
    /// Removes it.
    _made: Option<Made>,
}

enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Listening {
    /// Listens there. To be called within the runtime.
    ///
    /// # Errors
    /// If that is not possible, with what is in the way. A socket of a process that is gone is
    /// replaced; any other file is not.
    pub fn bind(listen: &Listen) -> Result<Self> {
        match listen {
            Listen::Tcp(address) => tcp(*address),
            Listen::Unix(path) => unix(path),
        }
    }

    /// The sockets that systemd passes (`LISTEN_FDS`); none if it passes none. To be called once,
    /// within the runtime.
    ///
    /// # Errors
    /// If one of them is no listening stream socket.
    pub fn passed() -> Result<Vec<Self>> {
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).map(|index| {
            inherited(&mut passed, index).with_context(|| {
                format!(
                    "socket {index} of those that systemd passes is of no use for metrics; the \
                     socket unit needs ListenStream="
                )
            })
        });
        sockets.filter_map(Result::transpose).collect()
    }

    /// The address it listens at; `None` for a socket in the file system.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            ListeningSocket::Tcp(listener) => listener.local_addr().ok(),
            ListeningSocket::Unix(_) => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.socket {
            ListeningSocket::Tcp(listener) => Box::new(listener.accept().await?.0),
            ListeningSocket::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

impl From<ListeningSocket> for Listening {
    fn from(socket: ListeningSocket) -> Self {
        Self {
            socket,
            _made: None,
        }
    }
}

fn tcp(address: SocketAddr) -> Result<Listening> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // A restart is not to wait for old connections.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    let listener = listen().with_context(|| {
        format!("cannot listen at {address} for metrics: choose another `listen` in [metrics]")
    })?;
    Ok(ListeningSocket::Tcp(listener).into())
}

fn unix(path: &Path) -> Result<Listening> {
    clear_the_way(path)?;
    let listen = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // The file takes the socket's mode, less the umask: at no time may others connect.
        fchmod(&socket, Mode::from_bits_truncate(MODE))?;
        socket.bind(&SockAddr::unix(path)?)?;
        let made = Made::at(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from_std(socket.into())?;
        Ok::<_, io::Error>((listener, made))
    };
    let (listener, made) = listen()
        .with_context(|| format!("cannot listen at unix:{} for metrics", path.display()))?;
    Ok(Listening {
        socket: ListeningSocket::Unix(listener),
        _made: Some(made),
    })
}

/// Removes a socket that nobody listens at any more, and nothing else.
fn clear_the_way(path: &Path) -> Result<()> {
    let shown = path.display();
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot look at {shown}")),
    };
    if !there.file_type().is_socket() {
        bail!(
            "cannot listen at unix:{shown} for metrics: a file that is no socket is there; remove \
             it or choose another path"
        );
    }
    match is_alive(path) {
        Ok(true) => bail!(
            "cannot listen at unix:{shown} for metrics: another process listens there, perhaps \
             another sockpick; end it or choose another path"
        ),
        Ok(false) => fs::remove_file(path)
            .with_context(|| format!("cannot remove {shown}, which nobody listens at")),
        Err(error) => Err(error).with_context(|| {
            format!("cannot tell whether anybody listens at {shown}; remove it if nobody does")
        }),
    }
}

/// Whether somebody listens at a socket.
fn is_alive(path: &Path) -> io::Result<bool> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One whose queue is full is not waited for.
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(true),
    }
}

fn inherited(passed: &mut ListenFd, index: usize) -> Result<Option<Listening>> {
    let Ok(socket) = passed.take_unix_listener(index) else {
        let Some(socket) = passed.take_tcp_listener(index)? else {
            return Ok(None);
        };
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        return Ok(Some(ListeningSocket::Tcp(listener).into()));
    };
    let Some(socket) = socket else {
        return Ok(None);
    };
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket)?;
    Ok(Some(ListeningSocket::Unix(listener).into()))
}

/// A socket in the file system, removed with this unless another has its place.
struct Made {
    path: PathBuf,
    file: (u64, u64),
}

impl Made {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: identity(path)?,
        })
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Nothing can be done about it: the next one finds it and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}
