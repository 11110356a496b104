//! What is asked of a container, and what is told.

use crate::event::Pod;

/// Characters of a container's id.
const ID_LENGTH: usize = 64;

/// A container, by the cgroup that a process is in: what is above the container's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::processes) struct Asked {
    /// 64 hexadecimal digits.
    pub(in crate::processes) id: String,
    /// The user whose slice the cgroup is in. He may call cgroups in there as he likes, so only
    /// his own files say what they are called.
    pub(in crate::processes) user: Option<u32>,
    /// The pod whose cgroup it is in.
    pub(in crate::processes) pod_uid: Option<String>,
}

/// What a container is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::processes) struct Told {
    pub(in crate::processes) name: Option<String>,
    pub(in crate::processes) pod: Option<Pod>,
}

impl Told {
    /// With what the other one tells besides. Where the two tell of different pods, this one is
    /// right.
    pub(super) fn or(mut self, other: Self) -> Self {
        let mine = self.pod.as_ref().and_then(|pod| pod.uid.as_ref());
        let theirs = other.pod.as_ref().and_then(|pod| pod.uid.as_ref());
        if mine.is_some() && theirs.is_some() && mine != theirs {
            return self;
        }
        self.name = self.name.or(other.name);
        self.pod = match (self.pod, other.pod) {
            (Some(mine), Some(theirs)) => Some(Pod {
                namespace: mine.namespace.or(theirs.namespace),
                name: mine.name.or(theirs.name),
                uid: mine.uid.or(theirs.uid),
            }),
            (mine, theirs) => mine.or(theirs),
        };
        self
    }

    /// Whether nothing is left to be told of a container, `in_pod` or not.
    pub(super) fn is_whole(&self, in_pod: bool) -> bool {
        let pod = self.pod.as_ref().and_then(Pod::full_name);
        self.name.is_some() && (!in_pod || pod.is_some())
    }
}

/// Whether it is an id as runtimes give it. Such a text leads to no other directory.
pub(in crate::processes) fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether it is the uid of a pod: a UUID, or of a static pod the 32 hexadecimal digits of a hash.
pub(in crate::processes) fn is_pod_uid(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    matches!(lengths[..], [32] | [8, 4, 4, 4, 12]) && text.split('-').all(is_hex)
}
