//! Debian's package archive as a source of kernels, and of other packages that are unpacked and
//! not installed.
//!
//! The mirror that serves this machine's own release carries every other suite as well. A private
//! apt configuration reads them without touching the machine's package lists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{find_program, is_root, need_program, output};
use crate::{cache, kernels};

const SUITES: [&str; 6] = [
    "bullseye",
    "bookworm",
    "trixie",
    "trixie-backports",
    "sid",
    "experimental",
];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The flavour made for virtual machines: small, and with all that a guest here needs.
const FLAVOUR: &str = "-cloud-amd64";

/// Downloads the newest kernel of a version into `kernels/RELEASE` and returns that folder.
pub(crate) fn fetch(version: &str, kernels: &Path) -> Result<PathBuf> {
    let apt = Apt::prepare()
        .context("give a kernel of your own with `cargo xtask vm --image BZIMAGE --modules DIR`")?;
    let names = apt.package_names()?;
    let wanted = |kind: &str| -> Vec<String> {
        let releases = names
            .iter()
            .filter_map(|name| name.strip_prefix(kind))
            .filter(|release| release.ends_with(FLAVOUR));
        releases
            .filter(|release| kernels::is_release_of(release, version))
            .map(ToOwned::to_owned)
            .collect()
    };
    let releases = [wanted("linux-image-"), wanted("linux-binary-")].concat();
    let Some(release) = kernels::newest(releases.into_iter()) else {
        bail!(
            "no suite of {} has a package linux-image-{version}*{FLAVOUR} ({}); a kernel of your \
             own can be given with `cargo xtask vm --image`",
            apt.mirror,
            SUITES.join(", ")
        );
    };
    let folder = kernels.join(&release);
    if folder.exists() {
        return Ok(folder);
    }
    eprintln!("fetching kernel {release}");
    // Newer kernels are split over several packages; older ones have only the first.
    let packages = ["image", "binary", "modules", "base"]
        .map(|kind| format!("linux-{kind}-{release}"))
        .into_iter()
        .filter(|name| names.contains(name))
        .collect::<Vec<_>>();
    // Aside first: an interrupted run leaves no half kernel.
    let work = aside(kernels)?;
    let root = apt.unpack(&packages, work.path())?;
    let tidy = work.path().join("tidy");
    arrange(&root, &release, &tidy)?;
    fs::rename(&tidy, &folder)
        .with_context(|| format!("cannot move the kernel to {}", folder.display()))?;
    Ok(folder)
}

/// Whether packages can be had of this suite.
pub(crate) fn has_suite(suite: &str) -> bool {
    SUITES.contains(&suite)
}

/// Downloads packages of a suite and unpacks them into a folder that is not there yet.
pub(crate) fn unpack(packages: &[&str], suite: &str, folder: &Path) -> Result<()> {
    let parent = folder.parent().context("a folder has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let work = aside(parent)?;
    let packages: Vec<String> = packages.iter().map(|of| format!("{of}/{suite}")).collect();
    let root = Apt::prepare()?.unpack(&packages, work.path())?;
    fs::rename(&root, folder).with_context(|| format!("cannot write {}", folder.display()))
}

/// A folder to work in, on the file system of another and gone when dropped.
pub(crate) fn aside(folder: &Path) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(".unpacking-")
        .tempdir_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))
}

/// apt with the private configuration.
struct Apt {
    mirror: String,
    config: PathBuf,
}

impl Apt {
    /// Writes the configuration and brings the package lists up to date.
    fn prepare() -> Result<Self> {
        if find_program("apt-get").is_none() || !Path::new(KEYRING).exists() {
            bail!(
                "Debian's archive is read with apt-get and the package debian-archive-keyring, \
                 and this machine lacks one of them"
            );
        }
        let folder = cache::folder()?.join("apt");
        fs::create_dir_all(folder.join("lists/partial"))
            .and_then(|()| fs::create_dir_all(folder.join("cache/archives/partial")))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let mirror = mirror()?;
        let sources = SUITES
            .map(|suite| format!("deb [signed-by={KEYRING} arch=amd64] {mirror} {suite} main"));
        write(&folder.join("sources.list"), &(sources.join("\n") + "\n"))?;
        let config = folder.join("apt.conf");
        write(&config, &configuration(&folder))?;
        let apt = Self { mirror, config };
        output(apt.command("apt-get").arg("update"))
            .context("cannot read the package lists of Debian's archive")?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("--config-file").arg(&self.config);
        command
    }

    fn package_names(&self) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", "linux-"]))?;
        Ok(names.lines().map(ToOwned::to_owned).collect())
    }

    /// Downloads packages into a folder and unpacks them all below it; returns where.
    fn unpack(&self, packages: &[String], work: &Path) -> Result<PathBuf> {
        let mut download = self.command("apt-get");
        download.args(["download", "--quiet"]).args(packages);
        output(download.current_dir(work))?;
        let root = work.join("root");
        for entry in fs::read_dir(work)? {
            let package = entry?.path();
            if package
                .extension()
                .is_some_and(|extension| extension == "deb")
            {
                output(
                    Command::new(need_program("dpkg-deb")?)
                        .arg("--extract")
                        .args([&package, &root]),
                )?;
            }
        }
        Ok(root)
    }
}

/// From any of the package layouts to the cache's own: `vmlinuz`, `config`, `lib/modules/RELEASE`.
fn arrange(root: &Path, release: &str, tidy: &Path) -> Result<()> {
    fs::create_dir_all(tidy.join("lib/modules"))?;
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path).join(release));
    let move_first = |candidates: &[PathBuf], to: &str| -> Result<bool> {
        let Some(from) = candidates.iter().find(|path| path.exists()) else {
            return Ok(false);
        };
        fs::rename(from, tidy.join(to))
            .with_context(|| format!("cannot move {}", from.display()))?;
        Ok(true)
    };
    let boot = root.join("boot");
    let images = [
        boot.join(format!("vmlinuz-{release}")),
        modules[0].join("vmlinuz"),
        modules[1].join("vmlinuz"),
    ];
    if !move_first(&images, "vmlinuz")? {
        bail!(
            "the packages of {release} hold no kernel image where one is known to be (boot/vmlinuz-*, lib/modules/*/vmlinuz)"
        );
    }
    let configs = [
        boot.join(format!("config-{release}")),
        modules[0].join("config"),
        modules[1].join("config"),
    ];
    move_first(&configs, "config")?;
    // Without the `kernel` folder there are lists of modules but no modules.
    let with_modules = modules.map(|folder| {
        if folder.join("kernel").is_dir() {
            folder
        } else {
            PathBuf::new()
        }
    });
    if !move_first(&with_modules, &format!("lib/modules/{release}"))? {
        eprintln!("kernel {release} comes without modules: the archive has none for it");
    }
    Ok(())
}

/// The machine's own mirror, without the suites that live elsewhere (security) or are partial.
fn mirror() -> Result<String> {
    let targets = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME)",
        "Created-By: Packages",
    ]))?;
    let found = targets.lines().find_map(|line| {
        let (mirror, codename) = line.split_once(' ')?;
        (!codename.contains('-')).then(|| mirror.to_owned())
    });
    found.context(
        "apt knows no package mirror (`apt-get indextargets` lists none); run `apt-get update`",
    )
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    // Images made for containers run a hook after every update that empties the system's own
    // package cache, from under an apt that may be installing at that moment.
    let mut text = format!(
        "#clear APT::Update::Pre-Invoke;\n\
         #clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         Dir::Etc::sourcelist \"{folder}/sources.list\";\n\
         Dir::Etc::sourceparts \"/dev/null\";\n\
         Dir::State::lists \"{folder}/lists\";\n\
         Dir::Cache \"{folder}/cache\";\n\
         Dir::Cache::pkgcache \"pkgcache.bin\";\n\
         Acquire::Languages \"none\";\n"
    );
    // apt as root downloads as a user of its own, who cannot write in root's cache folder.
    if is_root() {
        text.push_str("APT::Sandbox::User \"root\";\n");
    }
    text
}

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
