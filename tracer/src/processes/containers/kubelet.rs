//! Names of pods and containers in those that the kubelet gives files of logs. Pure. None of the
//! names has an underscore, which stands between them.

use super::{parse::name, told::Told};
use crate::event::Pod;

/// A link in `/var/log/containers`, `POD_NAMESPACE_CONTAINER-ID.log`, if it is of the container.
/// The kubelet cuts it at 255 characters; then the id is not whole, and it tells nothing.
pub(super) fn of_link(link: &str, id: &str) -> Option<Told> {
    let names = link.strip_suffix(".log")?.strip_suffix(id)?;
    let parts: Vec<&str> = names.strip_suffix('-')?.split('_').collect();
    let [pod, namespace, container] = parts[..] else {
        return None;
    };
    Some(Told {
        name: Some(name(container.to_owned())?),
        pod: Some(of(namespace, pod)?),
    })
}

/// A directory in `/var/log/pods`, `NAMESPACE_POD_UID`, if it is of the pod.
pub(super) fn of_directory(directory: &str, uid: &str) -> Option<Told> {
    let names = directory.strip_suffix(uid)?.strip_suffix('_')?;
    let (namespace, pod) = names.split_once('_')?;
    let pod = Pod {
        uid: Some(uid.to_owned()),
        ..of(namespace, pod)?
    };
    Some(Told {
        name: None,
        pod: Some(pod),
    })
}

fn of(namespace: &str, pod: &str) -> Option<Pod> {
    let is_kubernetes = |text: &&str| !text.contains('_');
    let checked = |text: &str| {
        Some(text)
            .filter(is_kubernetes)
            .and_then(|text| name(text.into()))
    };
    Some(Pod {
        namespace: Some(checked(namespace)?),
        name: Some(checked(pod)?),
        uid: None,
    })
}
