//! A running `sockpick explain -`: questions go in, answers come out, line by line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;

/// An ordinary user, who may not ask the kernel.
const NOBODY: u32 = 65534;

/// A running `sockpick explain -`, ended when dropped.
pub(crate) struct Explain {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What the tests look at in an answer.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    /// `kernel` or `rules`
    pub(crate) asked: String,
    /// Which socket it is is known.
    pub(crate) certain: bool,
    /// What decided.
    pub(crate) rule: String,
    /// What chose.
    pub(crate) via: String,
    /// How the socket fits.
    #[serde(rename = "match")]
    pub(crate) matched: String,
    /// Who gets it.
    pub(crate) listener: Option<Value>,
    /// Its group.
    pub(crate) reuseport: Option<Value>,
    /// All others.
    pub(crate) candidates: Vec<Value>,
    /// Interface it was answered for.
    pub(crate) ifname: String,
    /// Whether the destination is local.
    pub(crate) local: Option<bool>,
    /// The answers through other interfaces.
    #[serde(default)]
    pub(crate) otherwise: Vec<Value>,
    /// Rules of netfilter.
    #[serde(default)]
    pub(crate) translations: Vec<Value>,
    /// Remarks.
    pub(crate) notes: Vec<String>,
}

impl Answer {
    /// Inode number of the socket that gets it.
    pub(crate) fn inode(&self) -> Option<u64> {
        self.listener.as_ref()?.get("inode")?.as_u64()
    }

    /// Reads an answer.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line).with_context(|| format!("no answer: {line}"))
    }
}

impl Explain {
    /// Starts it in this thread's namespace.
    pub(crate) fn start(cx: &Context) -> Result<Self> {
        Self::spawn(&mut command(cx, &["-"]))
    }

    /// Starts it as an ordinary user.
    pub(crate) fn start_as_nobody(cx: &Context) -> Result<Self> {
        Self::spawn(command(cx, &["-"]).uid(NOBODY).gid(NOBODY))
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start sockpick")?;
        Ok(Self {
            questions: child.stdin.take().context("no pipe")?,
            answers: BufReader::new(child.stdout.take().context("no pipe")?),
            child,
        })
    }

    /// Puts a question.
    pub(crate) fn ask(&mut self, question: &str) -> Result<Answer> {
        writeln!(self.questions, "{question}").context("sockpick explain is gone")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("sockpick explain ended");
        }
        Answer::parse(&line)
    }
}

impl Drop for Explain {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `sockpick explain -o json`
pub(crate) fn command(cx: &Context, words: &[&str]) -> Command {
    let mut command = Command::new(&cx.sockpick);
    command.args(["explain", "-o", "json"]).args(words);
    command.stdin(Stdio::null());
    command
}
