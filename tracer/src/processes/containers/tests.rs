//! A file system of each runtime, made by hand after what it writes.

mod bad_input;
mod cached;
mod hostile;
mod runtimes;

use std::{fs, path::PathBuf};

use super::*;
use crate::event::Pod;

/// Ids of containers.
const ID: &str = "438e2ba9d5970597608a7df68ae72f6085a1460f976f964ed5f369c793eaa4fe";
const OTHER: &str = "7be7ca56452ce0f69575654683e3b8cdc61d8898d06caf92fbf5ffffcd856bd7";
/// Uid of a pod.
const UID: &str = "5b5e07db-f1b9-4530-81ef-b7d04d66b83e";

/// A directory in the place of `/`; removed when dropped.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let name = format!("sockpick-containers-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a directory for the test");
        Self(path)
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        let above = path.parent().expect("it is below the root");
        fs::create_dir_all(above).expect("a directory");
        path
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        fs::write(self.at(path), text).expect("a file");
    }

    fn containers(&self) -> Containers {
        Containers::under(self.0.clone())
    }

    /// What is told of a container, asked for once.
    fn tell(&self, asked: &Asked) -> Told {
        self.containers().tell(asked, Instant::now())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // What is left is in a directory for what may be lost.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn asked(id: &str) -> Asked {
    Asked {
        id: id.to_owned(),
        user: None,
        pod_uid: None,
    }
}

fn in_pod(id: &str) -> Asked {
    Asked {
        pod_uid: Some(UID.to_owned()),
        ..asked(id)
    }
}

fn of_user(id: &str, uid: u32) -> Asked {
    Asked {
        user: Some(uid),
        ..asked(id)
    }
}

fn named(name: &str) -> Told {
    Told {
        name: Some(name.to_owned()),
        pod: None,
    }
}

/// The container `web` of the pod `web-1` in `shop`, by what all runtimes tell.
fn web() -> Told {
    Told {
        name: Some("web".to_owned()),
        pod: Some(Pod {
            namespace: Some("shop".to_owned()),
            name: Some("web-1".to_owned()),
            uid: Some(UID.to_owned()),
        }),
    }
}

/// Only that it is of a pod.
fn pod_alone() -> Told {
    Told {
        name: None,
        pod: Some(Pod {
            uid: Some(UID.to_owned()),
            ..Pod::default()
        }),
    }
}

/// As docker writes it, in short.
fn docker(name: &str, labels: &str) -> String {
    format!(
        r#"{{"StreamConfig":{{}},"State":{{"Running":true,"Pid":4711}},"ID":"{ID}",
        "Config":{{"Hostname":"438e2ba9d597","Env":["PATH=/bin"],"Labels":{{{labels}}}}},
        "Image":"sha256:0","Name":"{name}","Driver":"overlay2","RestartCount":0}}"#
    )
}

/// A bundle's configuration with these annotations, in short.
fn bundle(annotations: &str) -> String {
    format!(
        r#"{{"ociVersion":"1.1.0","process":{{"args":["nginx"],"env":["SECRET=1"]}},
        "root":{{"path":"rootfs"}},"annotations":{{{annotations}}},
        "linux":{{"cgroupsPath":"kubepods"}}}}"#
    )
}

/// As containers/storage writes it, in short.
fn list(entries: &[(&str, &str)]) -> String {
    let entries = entries.iter().map(|(id, names)| {
        format!(
            r#"{{"id":"{id}","names":[{names}],"image":"0","layer":"1",
            "metadata":"{{\"image-name\":\"nginx\"}}","created":"2026-11-26T09:00:00Z"}}"#
        )
    });
    format!("[{}]", entries.collect::<Vec<_>>().join(","))
}

fn kubelets() -> String {
    format!(
        r#""io.kubernetes.container.name":"web","io.kubernetes.pod.name":"web-1",
        "io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{UID}""#
    )
}

fn containerds() -> String {
    format!(
        r#""io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"web",
        "io.kubernetes.cri.sandbox-id":"{OTHER}","io.kubernetes.cri.sandbox-name":"web-1",
        "io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"{UID}""#
    )
}
