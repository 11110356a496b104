//! Reads what container runtimes write down of their containers. Pure.
//!
//! Whoever may start a container chooses most of it: what is no name by the rules of the runtimes
//! and of Kubernetes is left out, so that no name has a character that means something elsewhere.

use std::{collections::HashMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use super::told::{Told, is_id, is_pod_uid};
use crate::event::Pod;

/// Most characters of a name: a pod's may have that many (a DNS subdomain).
const LONGEST_NAME: usize = 253;
/// Most containers of one list that are kept.
const MOST_LISTED: usize = 16_384;

/// What docker keeps of a container: `config.v2.json`.
#[derive(Deserialize)]
struct Docker {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerConfig>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Labels")]
    labels: Option<Labels>,
}

/// An OCI runtime's configuration: `config.json` of a bundle.
#[derive(Deserialize)]
struct Bundle {
    annotations: Option<Labels>,
}

/// Labels of docker, annotations of an OCI bundle: by the kubelet, which docker and CRI-O keep as
/// it gives them; by containerd's CRI plugin; and by nerdctl, which passes its labels on.
#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "io.kubernetes.container.name")]
    container: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    namespace: Option<String>,
    #[serde(rename = "io.kubernetes.pod.uid")]
    uid: Option<String>,
    #[serde(rename = "io.kubernetes.cri.container-name")]
    cri_container: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    cri_pod: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    cri_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-uid")]
    cri_uid: Option<String>,
    #[serde(rename = "nerdctl/name")]
    nerdctl: Option<String>,
}

impl Labels {
    fn told(self) -> Told {
        let container = self.container.or(self.cri_container).or(self.nerdctl);
        let uid = self.uid.or(self.cri_uid).filter(|uid| is_pod_uid(uid));
        Told {
            name: container.and_then(name),
            pod: pod(
                self.namespace.or(self.cri_namespace),
                self.pod.or(self.cri_pod),
                uid,
            ),
        }
    }
}

/// A pod with a name, or a uid; a name without its namespace is none.
fn pod(namespace: Option<String>, pod: Option<String>, uid: Option<String>) -> Option<Pod> {
    let full = namespace.and_then(name).zip(pod.and_then(name));
    let (namespace, name) = full.unzip();
    let is_told = name.is_some() || uid.is_some();
    is_told.then_some(Pod {
        namespace,
        name,
        uid,
    })
}

/// A text, if it is a name of a container, a pod or a namespace.
pub(super) fn name(text: String) -> Option<String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let begins = text.bytes().next()?.is_ascii_alphanumeric();
    (begins && text.len() <= LONGEST_NAME && text.bytes().all(is_part)).then_some(text)
}

/// `containers/ID/config.v2.json` of docker.
pub(super) fn docker(bytes: &[u8]) -> Told {
    let Ok(Docker { name: own, config }) = serde_json::from_slice(bytes) else {
        return Told::default();
    };
    let labels = config.and_then(|config| config.labels);
    let told = labels.map(Labels::told).unwrap_or_default();
    let own = own.map(|own| own.trim_start_matches('/').to_owned());
    Told {
        name: told.name.or_else(|| name(own?)),
        pod: told.pod,
    }
}

/// `config.json` of an OCI bundle, as containerd and CRI-O write it.
pub(super) fn bundle(bytes: &[u8]) -> Told {
    let bundle: Option<Bundle> = serde_json::from_slice(bytes).ok();
    let labels = bundle.and_then(|bundle| bundle.annotations);
    labels.map(Labels::told).unwrap_or_default()
}

/// `containers.json` of containers/storage, which podman and CRI-O use: first names by id.
/// Nothing if it is none.
pub(super) fn list(bytes: &[u8]) -> HashMap<String, String> {
    let list: Option<List> = serde_json::from_slice(bytes).ok();
    list.map(|list| list.0).unwrap_or_default()
}

/// Taken in one by one: a list of nothing takes no memory.
struct List(HashMap<String, String>);

#[derive(Deserialize)]
struct Listed {
    id: Option<String>,
    names: Option<First>,
}

/// The first of some texts.
struct First(Option<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor)
    }
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(FirstVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of containers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<List, A::Error> {
        let mut names = HashMap::new();
        while let Some(Listed { id, names: own }) = all.next_element()? {
            let id = id.filter(|id| is_id(id));
            let own = own.and_then(|First(first)| name(first?));
            if let Some((id, own)) = id.zip(own)
                && names.len() < MOST_LISTED
            {
                names.insert(id, own);
            }
        }
        Ok(List(names))
    }
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<First, A::Error> {
        let first = all.next_element()?;
        while all.next_element::<IgnoredAny>()?.is_some() {}
        Ok(First(first))
    }
}
