//! A server of others, while a test wants it.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::http::until;

/// A folder of a test's own; removed when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("sockpick-peers-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).expect("written");
        self.path(name)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is in a folder for what may be lost.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) at: SocketAddr,
}

impl Server {
    /// Starts it at a port that the kernel chooses, and waits until it listens there.
    pub(crate) fn start(peers: &Path, program: &str, folder: &Folder, options: &[&str]) -> Self {
        let log = folder.0.join(format!("{program}.log"));
        let stderr = File::create(&log).expect("a log");
        let mut child = unpacked(peers, program)
            .args(options)
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("unshare, of Debian's package util-linux");
        let at = until(&format!("{program} to listen"), || {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("its state");
            assert!(ended.is_none(), "{program} ended: {said}");
            listening(&said).ok_or(said)
        });
        Self { child, at }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program as if its package was installed: Alertmanager has the path of its templates built
/// in. What is mounted is seen by itself alone.
fn unpacked(peers: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = "if [ -d \"$0/usr/share\" ]; then mount --bind \"$0/usr/share\" /usr/share; fi \
                  && exec \"$0/usr/bin/$@\"";
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command.arg(peers).arg(program);
    command
}

/// The address that it says it listens at.
fn listening(said: &str) -> Option<SocketAddr> {
    let line = said.lines().find(|line| line.contains("Listening on"))?;
    let (_, address) = line.split_once(" address=")?;
    address.split_whitespace().next()?.parse().ok()
}
