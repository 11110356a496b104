//! The QEMU process and its two serial ports.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Guest;
use crate::process::{find_program, need_program};

/// A running QEMU; it is ended when this is dropped.
pub(crate) struct Machine {
    qemu: Child,
    messages: PathBuf,
    pub(crate) console: UnixStream,
    pub(crate) output: UnixStream,
}

impl Machine {
    pub(crate) fn start(guest: &Guest, initrd: &Path, work: &Path) -> Result<Self> {
        let ports = ["console", "output"].map(|name| work.join(name));
        let listeners = ports.each_ref().map(UnixListener::bind);
        let [console, output] = listeners;
        let (console, output) = (console?, output?);
        let messages = work.join("messages");
        let mut command = command(guest, initrd, &ports)?;
        let mut qemu = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&messages)?)
            .spawn()
            .context("cannot start QEMU")?;
        let connected = accept(&console, &mut qemu, &messages)
            .and_then(|console| Ok((console, accept(&output, &mut qemu, &messages)?)));
        match connected {
            Ok((console, output)) => Ok(Self {
                qemu,
                messages,
                console,
                output,
            }),
            Err(error) => {
                end(&mut qemu);
                Err(error)
            }
        }
    }

    /// What QEMU itself said, for errors.
    pub(crate) fn said(&self) -> String {
        said(&self.messages)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        end(&mut self.qemu);
    }
}

/// Nothing in a guest is worth a shutdown.
fn end(qemu: &mut Child) {
    // Either it is gone already or it cannot resist; there is nothing to do about an error.
    let _ = qemu.kill();
    let _ = qemu.wait();
}

fn command(guest: &Guest, initrd: &Path, ports: &[PathBuf]) -> Result<Command> {
    let qemu = need_program("qemu-system-x86_64")?;
    // A guest must not outlive us, however we end.
    let mut command = match find_program("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
            command
        }
        None => Command::new(qemu),
    };
    // On a busy machine the kernel's test of its timer may fail, which it takes for the end.
    let mut cmdline = String::from(
        "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic no_timer_check rdinit=/init",
    );
    // One emulating thread for all processors: with several, a processor may still run code that
    // another one has just patched ("Oops: int3" in one boot of twenty). Without CMPXCHG16B: QEMU
    // 7.2 can corrupt the flags in it, which broke one boot of four on 6.12.
    command.args(["-cpu", "max,-cx16"]);
    command.args(["-accel", "tcg,thread=single"]);
    if guest.icount {
        command.args(["-icount", "shift=0,sleep=off", "-smp", "1"]);
    } else {
        command.args(["-smp", &guest.cpus.to_string()]);
    }
    if let Some(seed) = guest.seed {
        command.args(["-seed", &seed.to_string()]);
        command.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
    }
    if !guest.append.is_empty() {
        cmdline.push(' ');
        cmdline.push_str(&guest.append);
    }
    command.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    command.args(["-display", "none", "-vga", "none", "-nic", "none"]);
    command.args(["-m", &format!("{}M", guest.memory_mb)]);
    command.arg("-kernel").arg(&guest.kernel.image);
    command.arg("-initrd").arg(initrd);
    command.args(["-append", &cmdline]);
    for (index, port) in ports.iter().enumerate() {
        let path = port.to_string_lossy();
        command.args(["-chardev", &format!("socket,id=port{index},path={path}")]);
        command.args(["-serial", &format!("chardev:port{index}")]);
    }
    Ok(command)
}

/// Waits for QEMU to connect a serial port, or to give up.
fn accept(listener: &UnixListener, qemu: &mut Child, messages: &Path) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU did not start ({status}): {}", said(messages));
        }
        if Instant::now() > deadline {
            bail!("QEMU did not open its serial ports within 30 s");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn said(messages: &Path) -> String {
    let mut text = String::new();
    if let Ok(mut file) = File::open(messages) {
        // What is there is better than nothing.
        let _ = file.read_to_string(&mut text);
    }
    text.trim().to_owned()
}
