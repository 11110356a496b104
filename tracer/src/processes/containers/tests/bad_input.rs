//! Damaged files of runtimes: names come out of them as names, or not at all.

use proptest::prelude::*;

use super::{
    super::{kubelet, parse},
    *,
};
use crate::damaged::damaged;

/// What has a meaning in these files.
const WORDS: [&str; 14] = [
    "\"",
    "{",
    "}",
    "[",
    "]",
    "null",
    "\\u0000",
    "\\ud800",
    "\"Name\":",
    "\"names\":[",
    "\"id\":",
    "_",
    ".log",
    "../",
];

fn files() -> Vec<Vec<u8>> {
    [
        docker("/web", &kubelets()),
        bundle(&containerds()),
        bundle(&kubelets()),
        list(&[(ID, r#""web""#), (OTHER, r#""db","x""#)]),
    ]
    .map(String::into_bytes)
    .into()
}

fn names() -> Vec<Vec<u8>> {
    [
        format!("web-1_shop_web-{ID}.log"),
        format!("shop_web-1_{UID}"),
    ]
    .map(String::into_bytes)
    .into()
}

fn is_name(text: &str) -> bool {
    parse::name(text.to_owned()).is_some()
}

fn is_sound(told: &Told) -> bool {
    let pod = told.pod.clone().unwrap_or_default();
    let names = [&told.name, &pod.name, &pod.namespace];
    names.into_iter().flatten().all(|name| is_name(name))
        && pod.name.is_some() == pod.namespace.is_some()
        && pod.uid.is_none_or(|uid| is_pod_uid(&uid))
}

proptest! {
    #[test]
    fn a_damaged_file_gives_names_or_nothing(bytes in damaged(files(), &WORDS)) {
        prop_assert!(is_sound(&parse::docker(&bytes)));
        prop_assert!(is_sound(&parse::bundle(&bytes)));
        for (id, name) in parse::list(&bytes) {
            prop_assert!(is_id(&id) && is_name(&name), "{} {}", id, name);
        }
    }

    #[test]
    fn a_damaged_name_of_a_log_gives_names_or_nothing(bytes in damaged(names(), &WORDS)) {
        let text = String::from_utf8_lossy(&bytes);
        for told in [kubelet::of_link(&text, ID), kubelet::of_directory(&text, UID)] {
            prop_assert!(told.is_none_or(|told| is_sound(&told) && told.pod.is_some()));
        }
    }
}
