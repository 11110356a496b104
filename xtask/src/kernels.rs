//! The kernels the project is tested on, and where each of them is on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{archive, cache};

/// The columns of the test matrix, oldest first.
pub(crate) const MATRIX: [&str; 6] = ["5.10", "6.1", "6.12", "6.19", "7.2", "7.3"];

/// A kernel that can be booted.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// As the user calls it: a column of the matrix, or the image's file name.
    pub(crate) name: String,
    pub(crate) image: PathBuf,
    /// A `lib/modules/RELEASE` folder. A kernel may come without: everything it needs is built
    /// in, or its archive has lost the modules.
    pub(crate) modules: Option<PathBuf>,
    /// The configuration it was built with; the guest finds it in /boot.
    pub(crate) config: Option<PathBuf>,
    /// `uname -r`, where known.
    pub(crate) release: Option<String>,
}

impl Kernel {
    /// A kernel of the user's own.
    pub(crate) fn from_files(image: &Path, modules: Option<&Path>) -> Result<Self> {
        if !image.is_file() {
            bail!(
                "no kernel image at {}; --image takes a bzImage",
                image.display()
            );
        }
        let modules = modules.map(modules_folder).transpose()?;
        let release = modules.as_deref().and_then(file_name);
        Ok(Self {
            name: file_name(image).unwrap_or_default(),
            image: image.to_owned(),
            config: modules
                .as_deref()
                .map(|folder| folder.join("config"))
                .filter(|config| config.exists()),
            modules,
            release,
        })
    }

    fn from_cache(name: &str, folder: &Path) -> Self {
        let release = file_name(folder).unwrap_or_default();
        let existing = |path: PathBuf| path.exists().then_some(path);
        Self {
            name: name.to_owned(),
            image: folder.join("vmlinuz"),
            modules: existing(folder.join("lib/modules").join(&release)),
            config: existing(folder.join("config")),
            release: Some(release),
        }
    }
}

/// Finds a kernel by its matrix name or any other `MAJOR.MINOR`: in the cache, else downloaded.
/// With `refresh` the archive is asked again for a newer one.
pub(crate) fn find(name: &str, refresh: bool) -> Result<Kernel> {
    let plain = name.split('.').count() == 2
        && name
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if !plain {
        bail!(
            "`{name}` is no kernel version of the form 6.12; the matrix has {}",
            MATRIX.join(", ")
        );
    }
    let _lock = cache::lock()?;
    let kernels = cache::folder()?.join("kernels");
    fs::create_dir_all(&kernels).with_context(|| format!("cannot create {}", kernels.display()))?;
    let folder = match newest_cached(&kernels, name)? {
        Some(folder) if !refresh => folder,
        _ => archive::fetch(name, &kernels)
            .with_context(|| format!("kernel {name} cannot be fetched"))?,
    };
    Ok(Kernel::from_cache(name, &folder))
}

fn newest_cached(kernels: &Path, name: &str) -> Result<Option<PathBuf>> {
    let entries =
        fs::read_dir(kernels).with_context(|| format!("cannot read {}", kernels.display()))?;
    let releases = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|release| is_release_of(release, name));
    Ok(newest(releases).map(|release| kernels.join(release)))
}

/// Whether `release` ("6.1.0-50-cloud-amd64", "7.3-rc7-cloud-amd64") is of the version `name`.
pub(crate) fn is_release_of(release: &str, name: &str) -> bool {
    release
        .strip_prefix(name)
        .is_some_and(|rest| rest.starts_with(['.', '-']))
}

/// The newest of some releases: a release candidate only if there is nothing else, and numbers
/// compared as numbers.
pub(crate) fn newest(releases: impl Iterator<Item = String>) -> Option<String> {
    // "7.3-cloud-amd64" is how the archive calls the candidates of 7.3: no patch level.
    releases.max_by_key(|release| {
        let patch_level = release.split(['-', '+']).next().unwrap_or_default();
        (patch_level.matches('.').count() >= 2, numbers(release))
    })
}

/// Every run of digits in a text, as numbers.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Takes `DIR/lib/modules/RELEASE`, `DIR/RELEASE` or the folder itself.
fn modules_folder(given: &Path) -> Result<PathBuf> {
    if given.join("kernel").is_dir() {
        return given
            .canonicalize()
            .with_context(|| format!("cannot resolve {}", given.display()));
    }
    for below in ["lib/modules", "usr/lib/modules", ""] {
        let Ok(entries) = fs::read_dir(given.join(below)) else {
            continue;
        };
        let mut found = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.join("kernel").is_dir());
        if let Some(folder) = found.next() {
            return Ok(folder);
        }
    }
    bail!(
        "no kernel modules in {}; --modules takes a lib/modules/RELEASE folder, which has a folder \
         named `kernel`",
        given.display()
    )
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::{is_release_of, newest};

    #[test]
    fn a_version_is_not_the_prefix_of_another() {
        assert!(is_release_of("6.1.0-50-cloud-amd64", "6.1"));
        assert!(!is_release_of("6.12.107+deb13-cloud-amd64", "6.1"));
        assert!(is_release_of("7.3-rc7-cloud-amd64", "7.3"));
    }

    #[test]
    fn newest_counts_and_prefers_final_releases() {
        let pick = |names: &[&str]| newest(names.iter().map(ToString::to_string));
        assert_eq!(
            pick(&["6.12.94+deb13-cloud-amd64", "6.12.107+deb13-cloud-amd64"]).as_deref(),
            Some("6.12.107+deb13-cloud-amd64")
        );
        assert_eq!(
            pick(&["7.3-cloud-amd64", "7.3.4+deb13-cloud-amd64"]).as_deref(),
            Some("7.3.4+deb13-cloud-amd64")
        );
        assert_eq!(
            pick(&["7.3-rc7-cloud-amd64"]).as_deref(),
            Some("7.3-rc7-cloud-amd64")
        );
    }
}
