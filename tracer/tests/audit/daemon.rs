//! `sockpick daemon` on a machine that cannot be traced: as root it runs without the right to.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{NOBODY, is_root};

/// Much is asked of a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A daemon, its files and where it serves; it is killed, and they go, when this is dropped.
struct Daemon {
    child: Option<Child>,
    folder: PathBuf,
    /// It looks at this port alone.
    port: u16,
    metrics: String,
}

impl Daemon {
    fn new(port: u16) -> Self {
        let folder =
            std::env::temp_dir().join(format!("sockpick-untraced-{}-{port}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        // Whoever it runs as writes there.
        let everybody = fs::Permissions::from_mode(0o777);
        fs::set_permissions(&folder, everybody).expect("a folder of one's own");
        // Not everybody may go where the tests are built.
        let program = env!("CARGO_BIN_EXE_sockpick");
        // Not by this process: a child of another test may still have the copy open to write.
        let copied = Command::new("cp").arg(program).arg(&folder).status();
        assert!(copied.expect("cp is there").success());
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let metrics = free.local_addr().expect("an address").to_string();
        Self {
            child: None,
            folder,
            port,
            metrics,
        }
    }

    fn configure(&self, on_untraceable: &str) {
        let (folder, port, metrics) = (self.folder.display(), self.port, &self.metrics);
        let text = format!(
            "[watch]\nports = [{port}]\n\
             [alerts]\nstate = '{folder}/state.json'\n\
             [metrics]\nlisten = '{metrics}'\n\
             [[sink]]\ntype = 'file'\npath = '{folder}/alerts.jsonl'\n\
             [daemon]\naudit = '10s'\non_untraceable = '{on_untraceable}'\n"
        );
        fs::write(self.folder.join("sockpick.toml"), text).expect("a file");
    }

    fn start(&mut self) {
        let said = fs::File::create(self.folder.join("said")).expect("a file");
        let mut command = Command::new(self.folder.join("sockpick"));
        command.args(["daemon", "--config"]);
        command.arg(self.folder.join("sockpick.toml"));
        command.stdin(Stdio::null()).stderr(said);
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        self.child = Some(command.spawn().expect("it starts"));
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("it is there");
    }

    /// Its exit code, once it ended.
    fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ends").code()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.read("alerts.jsonl");
        let lines = text.lines().map(serde_json::from_str);
        // The last may be on its way.
        lines.map_while(Result::ok).collect()
    }

    /// How often its sink was told that an alert with this field began.
    fn began(&self, field: &str) -> usize {
        let lines = self.lines();
        let began = lines.iter().filter(|line| line["alert"] == "began");
        began.filter(|line| line.get(field).is_some()).count()
    }

    /// The answer with its head; empty while nobody answers.
    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(&self.metrics) {
            let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
            if stream.write_all(head.as_bytes()).is_ok() {
                let _ = stream.read_to_string(&mut answer);
            }
        }
        answer
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            let waited = start.elapsed();
            assert!(
                waited < PATIENCE,
                "{what}: {}\n{:#?}",
                self.read("said"),
                self.lines()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends it as systemd does.
    fn finish(&mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.ended(), Some(0), "{}", self.read("said"));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn where_it_cannot_trace_the_daemon_tells_what_the_audit_finds() {
    // Nobody accepts what waits there.
    let listener = TcpListener::bind("127.0.0.3:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let waits = TcpStream::connect(address).expect("a connection");
    let mut daemon = Daemon::new(address.port());
    daemon.configure("inventory");
    daemon.start();
    daemon.until("a finding", |it| it.began("finding") == 1);
    let lines = daemon.lines();
    let finding = lines.iter().find(|line| line.get("finding").is_some());
    let finding = finding.expect("it is told");
    assert_eq!(finding["rule"], "no_acceptor", "{finding}");
    assert_eq!(finding["severity"], "warning", "{finding}");
    let title = finding["title"].as_str().unwrap_or_default();
    assert!(title.contains(&address.to_string()), "{finding}");
    assert_eq!(daemon.began("untraced"), 1);
    let metrics = daemon.get("/metrics");
    for series in [
        "sockpick_tracing 0\n",
        "sockpick_findings{rule=\"no_acceptor\",severity=\"warning\"} 1\n",
        "sockpick_findings_timestamp_seconds ",
        "sockpick_alerts_active 2\n",
    ] {
        assert!(metrics.contains(series), "{series}{metrics}");
    }
    assert!(!metrics.contains("sockpick_self_check"), "{metrics}");
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200 "));
    let ready = daemon.get("/readyz");
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("this host is not traced: "), "{ready}");
    // What is found no more is found no more, and its alert lives two minutes.
    drop(waits);
    drop(listener);
    let none = "sockpick_findings{rule=\"no_acceptor\",severity=\"warning\"} 0\n";
    daemon.until("the next look", |it| it.get("/metrics").contains(none));
    let metrics = daemon.get("/metrics");
    assert!(metrics.contains("sockpick_alerts_active 2\n"), "{metrics}");
    daemon.finish();
}

#[test]
fn it_reads_its_configuration_again_and_its_alerts_outlive_it() {
    let listener = TcpListener::bind("127.0.0.4:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut daemon = Daemon::new(address.port());
    daemon.configure("inventory");
    daemon.start();
    let looked = |it: &Daemon| it.get("/metrics").contains("sockpick_findings{");
    daemon.until("a look", looked);
    daemon.configure("stay");
    daemon.signal(Signal::SIGHUP);
    daemon.until("a refusal", |it| it.read("said").contains("is neither"));
    let refused = "sockpick_config_last_reload_successful 0\n";
    daemon.until("the metric", |it| it.get("/metrics").contains(refused));
    daemon.configure("exit");
    daemon.signal(Signal::SIGHUP);
    let held = |it: &Daemon| it.read("said").contains("from the next start on");
    daemon.until("that it holds later", held);
    assert!(daemon.get("/metrics").contains("sockpick_tracing 0\n"));
    daemon.finish();
    daemon.start();
    assert_eq!(daemon.ended(), Some(3), "{}", daemon.read("said"));
    daemon.configure("inventory");
    daemon.start();
    daemon.until("a look", looked);
    assert!(
        daemon
            .get("/metrics")
            .contains("sockpick_alerts_active 1\n")
    );
    daemon.finish();
    assert_eq!(daemon.began("untraced"), 1, "{:#?}", daemon.lines());
}
