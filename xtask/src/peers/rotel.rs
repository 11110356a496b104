//! rotel, a collector of OpenTelemetry in one program, from Python's packages. It is unpacked into
//! the cache with the libraries that it was built with, and not installed.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::USUAL_SUITE;
use crate::process::{need_program, output};
use crate::{archive, cache};

/// Tells tests, and this command, which program it is.
pub(crate) const VARIABLE: &str = "SOCKPICK_ROTEL";

/// The version, and what pip has to find in the file: what runs here is what was tried.
const REQUIREMENT: &str = "rotel==0.0.1a15 \
    --hash=sha256:2f4117e58410c933e0dc042a268ef738dab2e3a5d63b5831209acdac2a6ddcb7\n";
const FOLDER: &str = "rotel-0.0.1a15";

/// For which Python, on which machine. None runs: the program only wants its library.
const BUILT_FOR: [&str; 8] = [
    "--platform",
    "manylinux_2_34_x86_64",
    "--implementation",
    "cp",
    "--python-version",
    "3.11",
    "--abi",
    "cp311",
];

/// Debian's packages with the libraries, which a machine may not have.
const LIBRARIES: [&str; 3] = ["libpython3.11", "libexpat1", "zlib1g"];

const PROGRAM: &str = "usr/bin/rotel-agent";

/// Starts the program with the libraries beside it.
const LAUNCHER: &str = "\
#!/bin/sh
here=${0%/*}
export LD_LIBRARY_PATH=\"$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu\"
exec \"$here/usr/bin/rotel-agent\" \"$@\"
";

/// The program: the one that the user names, else the cache's.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE) {
        // Tests run in other folders than this.
        let given = Path::new(&given).canonicalize();
        let given = given.with_context(|| format!("{VARIABLE} names no program"))?;
        ensure!(given.is_file(), "{VARIABLE} names no program, but a folder");
        return Ok(given);
    }
    let _lock = cache::lock()?;
    let folder = cache::folder()?.join("peers").join(FOLDER);
    if !folder.exists() {
        eprintln!("fetching {FOLDER}");
        fetch(&folder).with_context(|| {
            format!(
                "rotel, the collector that tests tell of alerts and metrics, cannot be fetched; \
                 see that `python3 -m pip download rotel` works (Debian's package python3-pip), \
                 or set {VARIABLE} to a rotel-agent of your own"
            )
        })?;
    }
    Ok(folder.join("rotel"))
}

fn fetch(folder: &Path) -> Result<()> {
    let parent = folder.parent().context("a folder has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let work = archive::aside(parent)?;
    let root = work.path().join("root");
    let wheel = download(work.path())?;
    archive::unpack(&LIBRARIES, USUAL_SUITE, &root)?;
    let unpacked = work.path().join("wheel");
    unzip(&wheel, &unpacked)?;
    place(&unpacked, &root)?;
    fs::rename(&root, folder).with_context(|| format!("cannot write {}", folder.display()))
}

/// Has pip, as it is set up on this machine, bring the file.
fn download(work: &Path) -> Result<PathBuf> {
    let wanted = work.join("requirements.txt");
    fs::write(&wanted, REQUIREMENT)
        .with_context(|| format!("cannot write {}", wanted.display()))?;
    let to = work.join("downloaded");
    let mut pip = Command::new(need_program("python3")?);
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes"])
        .args(BUILT_FOR)
        .args(["--dest".as_ref(), to.as_os_str()])
        .args(["--requirement".as_ref(), wanted.as_os_str()]);
    output(&mut pip)?;
    let found = fs::read_dir(&to)
        .with_context(|| format!("cannot read {}", to.display()))?
        .next();
    Ok(found.context("pip downloaded nothing")??.path())
}

fn unzip(wheel: &Path, to: &Path) -> Result<()> {
    let mut zip = Command::new(need_program("python3")?);
    zip.args(["-m", "zipfile", "--extract"]).args([wheel, to]);
    output(&mut zip).map(drop)
}

/// Puts the program beside its libraries, and what starts it with them.
fn place(unpacked: &Path, root: &Path) -> Result<()> {
    let program = root.join(PROGRAM);
    let bin = program.parent().context("a program is in a folder")?;
    fs::create_dir_all(bin).with_context(|| format!("cannot create {}", bin.display()))?;
    fs::rename(unpacked.join("rotel/rotel-agent"), &program)
        .context("what pip downloaded has no rotel/rotel-agent")?;
    let launcher = root.join("rotel");
    fs::write(&launcher, LAUNCHER)
        .with_context(|| format!("cannot write {}", launcher.display()))?;
    [program, launcher].iter().try_for_each(|path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} a program", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_started_with_the_libraries_beside_it() -> Result<()> {
        let work = tempfile::tempdir()?;
        let unpacked = work.path().join("wheel");
        fs::create_dir_all(unpacked.join("rotel"))?;
        let agent = "#!/bin/sh\necho \"$1 $LD_LIBRARY_PATH\"\n";
        fs::write(unpacked.join("rotel/rotel-agent"), agent)?;
        let root = work.path().join("root");
        place(&unpacked, &root)?;
        let said = output(Command::new(root.join("rotel")).arg("start"))?;
        let folder = root.join("usr/lib/x86_64-linux-gnu");
        assert!(
            said.starts_with(&format!("start {}:", folder.display())),
            "{said}"
        );
        Ok(())
    }
}
