//! What `sockpick daemon` does at its start with a configuration that is broken, half-written or
//! cannot be read: exit code 2 before anything is traced, and words that name the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PACKAGED: &str = include_str!("../../packaging/sockpick.toml");
const SECRET: &str = "s3cret";

/// A folder of a test's own, removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> io::Result<Self> {
        let name = format!("sockpick-configuration-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self, bytes: impl AsRef<[u8]>) -> io::Result<PathBuf> {
        let path = self.0.join("sockpick.toml");
        fs::write(&path, bytes)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn daemon(config: &Path, more: &[&str]) -> io::Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sockpick"));
    command.arg("daemon").arg("--config").arg(config);
    command.args(more).output()
}

/// What it says of a configuration that it refuses, when it starts and when it only checks.
fn refused(config: &Path) -> io::Result<String> {
    let mut all = Vec::new();
    for more in [&[][..], &["--check"]] {
        let output = daemon(config, more)?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {words}");
        assert!(output.stdout.is_empty(), "{more:?}");
        assert!(words.contains(&*config.to_string_lossy()), "{words}");
        all.push(words);
    }
    assert_eq!(all[0], all[1], "the check says what the start says");
    Ok(all.remove(0))
}

#[test]
fn what_is_broken_or_cannot_be_read_ends_it_before_it_begins() -> io::Result<()> {
    let folder = Folder::new("broken")?;
    for (bytes, why) in [
        (&b"[watch"[..], "line 1"),
        (&b"[watch]\nport = [80]\n"[..], "did you mean `ports`"),
        (&b"\xff\xfe[\0w\0"[..], "UTF-8"),
        (&vec![b'#'; 5 << 20][..], "longer than"),
    ] {
        let words = refused(&folder.file(bytes)?)?;
        assert!(words.contains(why), "{words}");
    }
    let words = refused(&folder.0)?;
    assert!(words.contains("cannot read"), "{words}");
    let words = refused(&folder.0.join("nothing.toml"))?;
    assert!(words.contains("cannot read"), "{words}");
    Ok(())
}

/// One that ends anywhere is refused with its place, or is a whole one: never half in force.
#[test]
fn what_is_half_written_is_refused_or_means_what_it_says() -> io::Result<()> {
    let folder = Folder::new("half")?;
    let (mut refused, mut taken) = (0, 0);
    for end in (0..PACKAGED.len()).step_by(7) {
        let output = daemon(&folder.file(&PACKAGED[..end])?, &["--check"])?;
        let words = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                taken += 1;
                // What it comes to is a configuration, and means the same.
                let again = daemon(&folder.file(&output.stdout)?, &["--check"])?;
                assert_eq!(again.stdout, output.stdout, "cut at {end}");
            }
            Some(2) => {
                refused += 1;
                assert!(words.contains("line "), "cut at {end}: {words}");
            }
            other => panic!("cut at {end}: {other:?}, {words}"),
        }
    }
    assert!(refused > 0 && taken > 0, "{refused} refused, {taken} taken");
    Ok(())
}

/// Secrets are in files that it names: their contents are in nothing that it prints, nor is a
/// secret that was written in the wrong place.
#[test]
fn no_secret_is_printed() -> io::Result<()> {
    let folder = Folder::new("secret")?;
    let shown = folder.0.display();
    fs::write(folder.0.join("token"), SECRET)?;
    let sink = "[[sink]]\ntype = 'webhook'\nurl = 'https://pager.example/'\n";
    let good = format!("{sink}bearer_file = '{shown}/token'\nsecret_file = '{shown}/token'\n");
    let output = daemon(&folder.file(good)?, &["--check"])?;
    let words = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        words.contains("/token") && !words.contains(SECRET),
        "{words}"
    );
    for wrong in [
        format!("{sink}bearer = '{SECRET}'\n"),
        format!("{sink}secret_file = '{SECRET}'\n"),
        sink.replace("pager", &format!("me:{SECRET}@pager")),
        sink.replace("example/", &format!("example/?key={SECRET}")),
    ] {
        let words = refused(&folder.file(wrong)?)?;
        assert!(!words.contains(SECRET), "{words}");
    }
    Ok(())
}
