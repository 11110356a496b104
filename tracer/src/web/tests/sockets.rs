//! Where it listens: who may connect, what is replaced, and what is left behind.

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use tokio::net::UnixStream;

use super::*;

/// A folder of its own, removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("sockpick-web-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("metrics.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn bind(path: &Path) -> Result<Listening, String> {
    let listening = Listening::bind(&Listen::Unix(path.to_owned()));
    listening.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_unix_socket_serves_its_group_and_is_removed() {
    let folder = Folder::new("serves");
    let path = folder.socket();
    let listening = bind(&path).expect("a socket");
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o660);
    let server = tokio::spawn(serve(vec![Arc::new(listening)], Arc::new(Told::default())));
    let mut stream = UnixStream::connect(&path).await.expect("a connection");
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("Prometheus 1"), "{answer}");
    server.abort();
    let _ = server.await;
    assert!(!path.exists(), "left behind");
}

#[test]
fn a_unix_socket_is_gone_when_its_server_has_ended() {
    let folder = Folder::new("ended");
    let path = folder.socket();
    let runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        { runtime }.enable_all().build().expect("a runtime")
    };
    let (ours, theirs) = (runtime(), runtime());
    let handle = theirs.handle().clone();
    // Of another thread, as the daemon's: what is left to be done there is not waited for here.
    thread::spawn(move || theirs.block_on(std::future::pending::<()>()));
    for _ in 0..100 {
        let server = {
            let _inside = handle.enter();
            let listening = Arc::new(bind(&path).expect("a socket"));
            handle.spawn(serve(vec![listening], Arc::new(Told::default())))
        };
        std::os::unix::net::UnixStream::connect(&path).expect("a connection");
        server.abort();
        let _ = ours.block_on(server);
        assert!(!path.exists(), "left behind");
    }
}

#[tokio::test]
async fn a_socket_that_is_kept_is_served_by_the_next_server() {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let kept = Arc::new(Listening::bind(&Listen::Tcp(loopback)).expect("a socket"));
    let at = kept.address().expect("an address");
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    for _ in 0..3 {
        let server = serve(vec![Arc::clone(&kept)], Arc::new(Told::default()));
        let server = tokio::spawn(server);
        let mut stream = TcpStream::connect(at).await.expect("a connection");
        stream.write_all(request).await.expect("sent");
        assert!(rest(&mut stream).await.ends_with("Prometheus 1"));
        server.abort();
    }
}

#[tokio::test]
async fn the_socket_of_a_dead_process_is_replaced() {
    let folder = Folder::new("stale");
    let path = folder.socket();
    // Dropped without being removed, as when its process is killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let _listening = bind(&path).expect("the place of the dead one");
    UnixStream::connect(&path).await.expect("a connection");
}

#[tokio::test]
async fn a_living_socket_is_left_alone() {
    let folder = Folder::new("living");
    let path = folder.socket();
    let first = bind(&path).expect("a socket");
    let refused = bind(&path).err().expect("refused");
    assert!(
        refused.contains("another process listens there"),
        "{refused}"
    );
    UnixStream::connect(&path).await.expect("a connection");
    drop(first);
    bind(&path).expect("free again");
}

#[tokio::test]
async fn a_living_socket_that_takes_nobody_is_left_alone_at_once() {
    let folder = Folder::new("full");
    let path = folder.socket();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    let address = socket2::SockAddr::unix(&path).expect("an address");
    socket.bind(&address).expect("bound");
    socket.listen(0).expect("listening");
    let _waiting = UnixStream::connect(&path).await.expect("a connection");
    let refused = bind(&path).err().expect("refused");
    assert!(
        refused.contains("another process listens there"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_file_is_never_removed() {
    let folder = Folder::new("file");
    let path = folder.socket();
    fs::write(&path, "precious").expect("a file");
    let refused = bind(&path).err().expect("refused");
    assert!(
        refused.contains("a file that is no socket is there"),
        "{refused}"
    );
    let link = folder.0.join("link.sock");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    assert!(bind(&link).is_err());
    assert_eq!(fs::read_to_string(&path).expect("a file"), "precious");
}

#[tokio::test]
async fn the_successors_socket_is_not_removed() {
    let folder = Folder::new("successor");
    let path = folder.socket();
    let first = bind(&path).expect("a socket");
    fs::remove_file(&path).expect("removed by somebody");
    let _second = bind(&path).expect("a socket");
    drop(first);
    UnixStream::connect(&path).await.expect("the second one's");
}

#[tokio::test]
async fn a_taken_port_is_told() {
    let server = start(Told::default());
    let refused = Listening::bind(&Listen::Tcp(server.at));
    let refused = format!("{:#}", refused.err().expect("refused"));
    let port = format!("cannot listen at {} for metrics", server.at);
    assert!(refused.contains(&port), "{refused}");
    assert!(refused.contains("in use"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_dropped_closes_its_port() {
    let server = start(Told::default());
    let mut open = server.connect().await;
    settle().await;
    let at = server.at;
    drop(server);
    assert_eq!(rest(&mut open).await, "");
    settle().await;
    assert!(TcpStream::connect(at).await.is_err());
}

/// What systemd does: the socket is descriptor 3, and two variables tell of it.
fn activated(socket: impl Into<OwnedFd>) -> Command {
    let activate = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"";
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new("sh");
    command.args(["-c", activate, "sh"]).arg(program);
    let test = "web::tests::sockets::serves_what_is_passed";
    command.args(["--exact", "--ignored", "--nocapture", test]);
    command.stdin(Stdio::from(socket.into()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
#[ignore = "started by the two tests below, with a socket"]
async fn serves_what_is_passed() {
    let passed = Listening::passed().map_err(|error| format!("{error:#}"));
    let passed = passed.expect("sockets");
    if !passed.is_empty() {
        let passed = passed.into_iter().map(Arc::new).collect();
        serve(passed, Arc::new(Told::default())).await;
    }
}

#[tokio::test]
async fn a_socket_that_systemd_passes_is_served() {
    let folder = Folder::new("passed");
    let path = folder.socket();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let at = tcp.local_addr().expect("an address");
    let unix = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let mut by_tcp = activated(tcp).spawn().expect("started");
    let mut by_unix = activated(unix).spawn().expect("started");
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    let mut stream = TcpStream::connect(at).await.expect("a connection");
    stream.write_all(request).await.expect("sent");
    assert!(rest(&mut stream).await.ends_with("Prometheus 1"));
    let mut stream = UnixStream::connect(&path).await.expect("a connection");
    stream.write_all(request).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.ends_with("Prometheus 1"), "{answer}");
    for child in [&mut by_tcp, &mut by_unix] {
        child.kill().expect("ended");
        child.wait().expect("ended");
    }
    assert!(
        path.exists(),
        "systemd's socket is not sockpick's to remove"
    );
}

#[test]
fn what_is_no_listening_socket_is_refused() {
    let file = fs::File::open("/dev/null").expect("a file");
    let output = activated(file).output().expect("started");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("socket 0 of those that systemd passes"),
        "{said}"
    );
}
