//! A server in a process of its own: this test program, started again for [`serve`].

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use socket2::{Domain, Socket, Type};

const VARIABLE: &str = "SOCKPICK_TEST_SERVE";
const PATIENCE: Duration = Duration::from_secs(10);

/// A running server; ends with this value.
pub(crate) struct Server {
    child: Child,
    address: IpAddr,
    pub(crate) port: u16,
}

impl Server {
    /// Listens with `SO_REUSEPORT`. Options: `sockets=N`, `backlog=N`, `device=NAME`,
    /// `accept=no`. Port 0: one that the kernel chooses.
    pub(crate) fn start(address: &str, port: u16, options: &[&str]) -> Self {
        Self::spawn(&mut command(address, port, options), address)
    }

    /// The same in a network namespace of its own; needs root.
    pub(crate) fn start_apart(address: &str, port: u16, options: &[&str]) -> Self {
        let mut command = command(address, port, options);
        // SAFETY: unshare() is one system call, which may be made between fork and exec.
        let command =
            unsafe { command.pre_exec(|| unshare(CloneFlags::CLONE_NEWNET).map_err(Into::into)) };
        Self::spawn(command, address)
    }

    fn spawn(command: &mut Command, address: &str) -> Self {
        let mut child = command.spawn().expect("the server starts");
        let output = child.stdout.take().expect("its output");
        // The test harness says something, too.
        let port = BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("listening on ")?.1.parse().ok())
            .expect("the server listens");
        Self {
            child,
            address: address.parse().expect("an address"),
            port,
        }
    }

    pub(crate) fn pid(&self) -> u64 {
        self.child.id().into()
    }

    /// A connection that may never be accepted.
    pub(crate) fn connect(&self) -> TcpStream {
        connect((self.address, self.port).into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects; the process that accepted says who it is.
pub(crate) fn client(address: &str, port: u16) -> (TcpStream, u64) {
    let address: IpAddr = address.parse().expect("an address");
    let mut stream = connect((address, port).into());
    let mut pid = [0; 8];
    stream.read_exact(&mut pid).expect("the server's number");
    (stream, u64::from_ne_bytes(pid))
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn command(address: &str, port: u16, options: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "server::serve", "--nocapture"])
        .env(VARIABLE, format!("{address} {port} {}", options.join(" ")))
        // Its end tells the server that the test is gone, however it went.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// By itself it tests the server; with the variable it is one.
#[test]
fn serve() {
    let Ok(wish) = std::env::var(VARIABLE) else {
        let server = Server::start("127.0.0.4", 0, &[]);
        let (_stream, accepted) = client("127.0.0.4", server.port);
        assert_eq!(accepted, server.pid());
        return;
    };
    listen(&wish);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}

fn listen(wish: &str) {
    let mut words = wish.split(' ');
    let address: IpAddr = words
        .next()
        .and_then(|word| word.parse().ok())
        .expect("an address");
    let mut port: u16 = words
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a port");
    let options: Vec<_> = words.filter_map(|word| word.split_once('=')).collect();
    let option = |name| {
        options
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
    };
    let number =
        |name, default| option(name).map_or(default, |value| value.parse().expect("a number"));
    let mut sockets = Vec::new();
    for _ in 0..number("sockets", 1) {
        let to = SocketAddr::from((address, port));
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("SO_REUSEPORT");
        if let Some(device) = option("device") {
            socket
                .bind_device(Some(device.as_bytes()))
                .expect("SO_BINDTODEVICE: Linux 5.7, or root");
        }
        socket.bind(&to.into()).expect("the address is free");
        socket.listen(number("backlog", 16)).expect("it listens");
        port = socket
            .local_addr()
            .ok()
            .and_then(|at| at.as_socket())
            .map_or(0, |at| at.port());
        sockets.push(socket);
    }
    println!("\nlistening on {port}");
    if option("accept") != Some("no") {
        for socket in sockets.drain(..) {
            thread::spawn(move || accept(&socket));
        }
    }
    // Those that nobody accepts from stay open with the process.
    std::mem::forget(sockets);
}

fn accept(socket: &Socket) {
    while let Ok((connection, _)) = socket.accept() {
        thread::spawn(move || {
            let mut stream = TcpStream::from(connection);
            let _ = stream.write_all(&u64::from(std::process::id()).to_ne_bytes());
            // Until the client goes.
            let _ = stream.read_to_end(&mut Vec::new());
        });
    }
}
