//! Children of processes that hold sockets: who forks hands its descriptors on.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// Most parents whose children are remembered; past that memory starts afresh, which costs looks.
const MOST_KEPT: usize = 4096;

/// Children by parent, as they were when last asked.
#[derive(Debug, Default)]
pub(super) struct Children {
    seen: HashMap<u32, HashSet<u32>>,
}

impl Children {
    /// Children of the process's first thread that were not there the last time; all of them at
    /// first. None on a kernel without `CONFIG_PROC_CHILDREN`.
    pub(super) fn born(&mut self, parent: u32) -> Vec<u32> {
        let path = format!("/proc/{parent}/task/{parent}/children");
        let now = parse(&fs::read_to_string(path).unwrap_or_default());
        if self.seen.len() >= MOST_KEPT {
            self.seen.clear();
        }
        let before = self.seen.entry(parent).or_default();
        let born = now.difference(before).copied().collect();
        *before = now;
        born
    }

    /// Forgets all: everybody was looked at.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }
}

fn parse(text: &str) -> HashSet<u32> {
    let pids = text.split_ascii_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_is_born_once() {
        let own = std::process::id();
        if !std::path::Path::new(&format!("/proc/{own}/task/{own}/children")).exists() {
            return;
        }
        assert_eq!(parse("17 18 "), HashSet::from([17, 18]));
        let mut children = Children::default();
        // A shell's first thread forks; this test runs in another than the first.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 60 & echo $!; read line; kill $!"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = shell.stdout.take().expect("its output");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)
            .expect("a line");
        let child: u32 = line.trim().parse().expect("a number");
        assert_eq!(children.born(shell.id()), [child]);
        assert!(children.born(shell.id()).is_empty());
        children.clear();
        assert_eq!(children.born(shell.id()), [child]);
        drop(shell.stdin.take());
        shell.wait().expect("the shell ends");
    }
}
