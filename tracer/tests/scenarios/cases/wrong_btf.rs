//! A BTF file that is not this kernel's: the self-check must notice, whichever field it is.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::surroundings::Ended;
use crate::btf::shifted;
use crate::compare::verdict;
use crate::context::Context;
use crate::kernel::{BTF, need_btf};
use crate::trace::{Recorded, spawn, wait};

/// Structure, member, and words of which the message must have one.
const WRONG: [(&str, &str, &[&str]); 8] = [
    (
        "sock_common",
        "skc_rcv_saddr",
        &["address", "skc_rcv_saddr"],
    ),
    ("sock_common", "skc_num", &["port", "skc_num"]),
    ("sock_common", "skc_family", &["family"]),
    ("sock", "sk_reuseport_cb", &["reuseport", "group", "member"]),
    (
        "sock_reuseport",
        "num_socks",
        &["size", "num_socks", "member"],
    ),
    ("sock", "sk_max_ack_backlog", &["queue", "backlog"]),
    (
        "sk_buff",
        "head",
        &["SYN", "client", "destination", "address", "head"],
    ),
    ("ns_common", "inum", &["netns", "namespace", "inum"]),
];

/// By fentry the verifier may notice first, as it holds each load of a field against the type.
const REFUSED: [&str; 2] = ["cannot access ptr member", "access beyond"];

/// One member moved by 8 bytes in each file.
pub(crate) fn wrong_btf(cx: &Context) -> Result<()> {
    need_btf()?;
    let btf = std::fs::read(BTF).context("no BTF")?;
    let folder = std::env::temp_dir().join(format!("wrong-btf-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = all(cx, &btf, &folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn all(cx: &Context, btf: &[u8], folder: &Path) -> Result<()> {
    let mut problems = Vec::new();
    // Two at a time: as many processors as a guest has.
    for some in WRONG.chunks(2) {
        let mut running = Vec::new();
        for (structure, member, words) in some {
            let file = folder.join(format!("{structure}.{member}"));
            std::fs::write(&file, shifted(btf, structure, member)?)?;
            if cx.ground_truth {
                println!("{structure}.{member} moved");
                continue;
            }
            running.push((member, words, start(cx, &file)?, file));
        }
        for (member, words, child, file) in running {
            let words = [*words, &REFUSED].concat();
            let wrong = finish(child)?.wrong(3, &words);
            problems.extend(wrong.map(|wrong| format!("{member}: {wrong}")));
            std::fs::remove_file(file)?;
        }
    }
    verdict(problems, &Recorded::default(), 0)
}

fn start(cx: &Context, file: &PathBuf) -> Result<Child> {
    let mut command = cx.trace_command(&["--btf"]);
    command
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(&mut command)
}

fn finish(mut child: Child) -> Result<Ended> {
    if wait(&mut child, Duration::from_mins(1)).is_err() {
        child.kill()?;
    }
    let code = child.wait()?.code();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let (out, err) = (child.stdout.as_mut(), child.stderr.as_mut());
    out.context("no pipe")?.read_to_string(&mut stdout)?;
    err.context("no pipe")?.read_to_string(&mut stderr)?;
    Ok(Ended {
        code,
        stdout,
        stderr,
    })
}
