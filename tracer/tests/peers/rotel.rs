//! rotel, a collector of OpenTelemetry that prints what it takes. Also for the tests beside the
//! code, which include this file.

use std::{
    env,
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What is waited for may take so long; it takes a second or two.
const PATIENCE: Duration = Duration::from_mins(1);

/// An address of loopback's where nobody else takes ports: one that was free stays so.
const HOST: &str = "127.0.43.18";

/// The program that `SOCKPICK_ROTEL` names, as `cargo xtask test` does. Without, says why the test
/// does nothing.
pub(crate) fn program() -> Option<PathBuf> {
    let program = env::var_os("SOCKPICK_ROTEL").map(PathBuf::from);
    if program.is_none() {
        eprintln!(
            "nothing is tested: SOCKPICK_ROTEL names no rotel-agent; \
             `cargo xtask test --host-only` fetches one"
        );
    }
    program
}

/// One that runs; killed when dropped.
pub(crate) struct Collector {
    child: Child,
    log: PathBuf,
    pub(crate) at: SocketAddr,
}

impl Collector {
    /// Starts one that prints all that it takes, and passes nothing on.
    pub(crate) fn start(program: &Path) -> Self {
        let [at, unused] = free();
        let log = env::temp_dir().join(format!("sockpick-rotel-{}", std::process::id()));
        let said = File::create(&log).expect("a log");
        let child = Command::new(program)
            .args(["start", "--exporter", "blackhole"])
            .args(["--debug-log", "logs", "--debug-log", "metrics"])
            .args(["--debug-log-verbosity", "detailed"])
            .args(["--otlp-http-endpoint", &at.to_string()])
            .args(["--otlp-grpc-endpoint", &unused.to_string()])
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a log"))
            .stderr(said)
            .spawn()
            .expect("a program");
        let mut collector = Self { child, log, at };
        collector.until_it_listens();
        collector
    }

    fn until_it_listens(&mut self) {
        let began = Instant::now();
        while TcpStream::connect(self.at).is_err() {
            let ended = self.child.try_wait().expect("its state");
            let goes_on = ended.is_none() && began.elapsed() < PATIENCE;
            assert!(goes_on, "rotel does not listen: {}", self.said());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until what it has printed has something in it.
    pub(crate) fn until<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let said = self.said();
            if let Some(found) = find(&said) {
                return found;
            }
            let goes_on = began.elapsed() < PATIENCE;
            assert!(goes_on, "rotel did not print {what}: {said}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Two ports that nobody has.
fn free() -> [SocketAddr; 2] {
    let bound = [0; 2].map(|port| TcpListener::bind((HOST, port)).expect("a port"));
    bound.map(|listener| listener.local_addr().expect("its address"))
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may be gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
    }
}
