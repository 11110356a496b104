//! Looks through the files in which container runtimes and the kubelet say what containers are
//! called. Where they are is each runtime's default; another place is found by a link in its
//! stead.

use std::{collections::HashMap, path::PathBuf, time::Instant};

use super::{
    files::{Files, Stamp},
    kubelet, parse,
    told::{Asked, Told},
    users,
};
use crate::event::Pod;

/// Most bytes of a file about one container.
const MOST_BYTES: u64 = 4 << 20;
/// Most bytes of a file about all containers of a store: some 8,000 of them.
const MOST_LIST_BYTES: u64 = 16 << 20;
/// Most lists that are kept; past that they are read again.
const MOST_LISTS: usize = 16;
/// Most namespaces of containerd that are looked into.
const MOST_NAMESPACES: usize = 64;

/// `data-root` of docker, below it `containers`.
const DOCKER: &str = "/var/lib/docker/containers";
/// `state` of containerd, below it the bundles of its shims by namespace; and of that in k3s.
const CONTAINERD: [&str; 2] = [
    "/run/containerd/io.containerd.runtime.v2.task",
    "/run/k3s/containerd/io.containerd.runtime.v2.task",
];
/// `runroot` and `graphroot` of containers/storage, which podman and CRI-O use.
const RUN_STORAGE: &str = "/run/containers/storage";
const STORAGE: &str = "/var/lib/containers/storage";
/// Storage drivers, by which directories of it are named.
const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];
/// Lists of containers: of those that last, and of those with `--rm` or in a transient store.
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];
/// The kubelet's: links by the id of a container, directories by the uid of a pod.
const LOG_LINKS: &str = "/var/log/containers";
const LOG_DIRECTORIES: &str = "/var/log/pods";
/// Below a user's home: `graphroot` of podman, `data-root` of docker.
const USERS_STORAGE: [&str; 4] = [".local", "share", "containers", "storage"];
const USERS_DOCKER: [&str; 4] = [".local", "share", "docker", "containers"];

/// A list as it was read.
struct List {
    stamp: Stamp,
    names: HashMap<String, String>,
    asked: Instant,
}

/// Where names are looked for.
pub(super) struct Look {
    files: Files,
    /// By path.
    lists: HashMap<String, List>,
}

impl Look {
    pub(super) fn under(root: PathBuf) -> Self {
        Self {
            files: Files::under(root),
            lists: HashMap::new(),
        }
    }

    /// What the files say of a container.
    pub(super) fn up(&mut self, asked: &Asked, now: Instant) -> Told {
        let in_pod = asked.pod_uid.is_some();
        // The cgroup is the kubelet's: of another pod nothing is believed.
        let mut told = Told {
            name: None,
            pod: asked.pod_uid.clone().map(|uid| Pod {
                uid: Some(uid),
                ..Pod::default()
            }),
        };
        let places: &[fn(&mut Self, &Asked, Instant) -> Told] = if asked.user.is_some() {
            &[Self::users]
        } else {
            &[
                Self::docker,
                Self::containerd,
                Self::crio,
                Self::storage,
                Self::kubelet,
            ]
        };
        for place in places {
            if told.is_whole(in_pod) {
                break;
            }
            told = told.or(place(self, asked, now));
        }
        told
    }

    /// Forgets lists that nobody asked for since.
    pub(super) fn forget_before(&mut self, since: Instant) {
        self.lists.retain(|_, list| list.asked >= since);
    }

    /// How many lists are kept.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.lists.len()
    }

    fn docker(&mut self, asked: &Asked, _: Instant) -> Told {
        let file = [&*asked.id, "config.v2.json"];
        let bytes = self.files.read(DOCKER, &file, MOST_BYTES);
        bytes.map(|bytes| parse::docker(&bytes)).unwrap_or_default()
    }

    fn containerd(&mut self, asked: &Asked, _: Instant) -> Told {
        for base in CONTAINERD {
            for namespace in self.files.names(base).iter().take(MOST_NAMESPACES) {
                let file = [&**namespace, &*asked.id, "config.json"];
                if let Some(bytes) = self.files.read(base, &file, MOST_BYTES) {
                    return parse::bundle(&bytes);
                }
            }
        }
        Told::default()
    }

    /// Podman has such files, too, but its names are only in the lists.
    fn crio(&mut self, asked: &Asked, _: Instant) -> Told {
        let directories = DRIVERS.map(containers_of);
        let found = directories.iter().find_map(|directory| {
            let file = [&**directory, &*asked.id, "userdata", "config.json"];
            self.files.read(RUN_STORAGE, &file, MOST_BYTES)
        });
        found.map(|bytes| parse::bundle(&bytes)).unwrap_or_default()
    }

    fn storage(&mut self, asked: &Asked, now: Instant) -> Told {
        let mut name = None;
        for base in [STORAGE, RUN_STORAGE] {
            name = name.or_else(|| self.listed(base, &[], asked, now));
        }
        Told { name, pod: None }
    }

    fn kubelet(&mut self, asked: &Asked, _: Instant) -> Told {
        let links = self.files.names(LOG_LINKS);
        let mut links = links.iter();
        let link = links.find_map(|link| kubelet::of_link(link, &asked.id));
        let of_link = link.unwrap_or_default();
        let Some(uid) = &asked.pod_uid else {
            return of_link;
        };
        let directories = self.files.names(LOG_DIRECTORIES);
        let mut directories = directories.iter();
        let pod = directories.find_map(|directory| kubelet::of_directory(directory, uid));
        // By the uid comes first: names are used again.
        pod.unwrap_or_default().or(of_link)
    }

    /// Of a user's own runtimes, by files that are his and that nobody has to be waited for.
    fn users(&mut self, asked: &Asked, now: Instant) -> Told {
        let home = asked.user.and_then(|uid| users::home(&self.files, uid));
        let Some(home) = home else {
            return Told::default();
        };
        let below = |parts: &[&'static str]| -> Vec<String> {
            let parts = parts.iter().map(ToString::to_string);
            home.iter().cloned().chain(parts).collect()
        };
        let docker = below(&USERS_DOCKER);
        let mut file: Vec<&str> = docker.iter().map(String::as_str).collect();
        file.extend([&*asked.id, "config.v2.json"]);
        let of_docker = users::is_local(&self.files, &file)
            .then(|| self.files.open("/", &file))
            .flatten()
            .filter(|file| Some(file.uid) == asked.user)
            .and_then(|file| file.read(MOST_BYTES));
        if let Some(bytes) = of_docker {
            return parse::docker(&bytes);
        }
        let storage = below(&USERS_STORAGE);
        let storage: Vec<&str> = storage.iter().map(String::as_str).collect();
        Told {
            name: self.listed("/", &storage, asked, now),
            pod: None,
        }
    }

    /// The container's name by a list below a store of containers/storage.
    fn listed(
        &mut self,
        base: &str,
        store: &[&str],
        asked: &Asked,
        now: Instant,
    ) -> Option<String> {
        DRIVERS.map(containers_of).iter().find_map(|directory| {
            let mut file = [store, &[directory, ""]].concat();
            LISTS.iter().find_map(|list| {
                *file.last_mut()? = *list;
                self.in_list(base, &file, asked, now)
            })
        })
    }

    fn in_list(
        &mut self,
        base: &str,
        file: &[&str],
        asked: &Asked,
        now: Instant,
    ) -> Option<String> {
        if asked.user.is_some() && !users::is_local(&self.files, file) {
            return None;
        }
        let opened = self.files.open(base, file)?;
        if asked.user.is_some_and(|uid| uid != opened.uid) {
            return None;
        }
        let path = format!("{base}/{}", file.join("/"));
        let stamp = opened.stamp;
        let is_new = self.lists.get(&path).is_none_or(|list| list.stamp != stamp);
        if is_new {
            let names = parse::list(&opened.read(MOST_LIST_BYTES)?);
            if self.lists.len() >= MOST_LISTS {
                self.lists.clear();
            }
            let list = List {
                stamp,
                names,
                asked: now,
            };
            self.lists.insert(path.clone(), list);
        }
        let list = self.lists.get_mut(&path)?;
        list.asked = now;
        list.names.get(&asked.id).cloned()
    }
}

/// Where a storage driver keeps containers.
fn containers_of(driver: &str) -> String {
    format!("{driver}-containers")
}
