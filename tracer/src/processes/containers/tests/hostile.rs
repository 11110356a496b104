//! Files of others who want more told than is right, or nothing more at all.

use std::os::unix::fs::symlink;

use nix::sys::stat::Mode;

use super::*;

#[test]
fn a_link_below_the_runtimes_directory_is_not_followed() {
    let root = Root::new("links");
    let containers = "var/lib/docker/containers";
    root.write(
        &format!("{containers}/{OTHER}/config.v2.json"),
        docker("/other", ""),
    );
    let link = root.at(&format!("{containers}/{ID}"));
    symlink(root.at(&format!("{containers}/{OTHER}")), &link).expect("a link");
    assert_eq!(root.tell(&asked(ID)), Told::default());
    fs::remove_file(&link).expect("it is there");
    let link = root.at(&format!("{containers}/{ID}/config.v2.json"));
    let real = root.at(&format!("{containers}/{OTHER}/config.v2.json"));
    symlink(real, link).expect("a link");
    assert_eq!(root.tell(&asked(ID)), Told::default());
    assert_eq!(root.tell(&asked(OTHER)), named("other"));
}

#[test]
fn the_administrator_may_have_the_directory_elsewhere() {
    let root = Root::new("elsewhere");
    root.write(
        &format!("data/docker/containers/{ID}/config.v2.json"),
        docker("/web", ""),
    );
    symlink(root.at("data/docker"), root.at("var/lib/docker")).expect("a link");
    assert_eq!(root.tell(&asked(ID)), named("web"));
}

#[test]
fn a_user_cannot_have_the_name_of_another_container_told() {
    let root = Root::new("users");
    root.write(
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        docker("/web", ""),
    );
    root.write(&format!("var/log/containers/web-1_shop_web-{ID}.log"), "");
    let mut containers = root.containers();
    let now = Instant::now();
    // His cgroup bears the id of one that he does not run, and which is known.
    assert_eq!(containers.tell(&asked(ID), now), named("web"));
    let of_his = containers.tell(&of_user(ID, 1000), now);
    assert_eq!(of_his, Told::default());
}

#[test]
fn another_pod_than_that_of_the_cgroup_is_not_believed() {
    let root = Root::new("pods");
    let other = UID.replace('5', "6");
    let annotations = containerds().replace(UID, &other);
    let file = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
    root.write(&file, bundle(&annotations));
    assert_eq!(root.tell(&in_pod(ID)), pod_alone());
}

#[test]
fn what_is_no_file_or_too_large_is_not_read() {
    let root = Root::new("kinds");
    let path = format!("var/lib/docker/containers/{ID}/config.v2.json");
    // Nobody writes to it, and nobody waits.
    nix::unistd::mkfifo(&root.at(&path), Mode::S_IRUSR).expect("a pipe");
    assert_eq!(root.tell(&asked(ID)), Told::default());
    fs::remove_file(root.at(&path)).expect("it is there");
    fs::create_dir(root.at(&path)).expect("a directory");
    assert_eq!(root.tell(&asked(ID)), Told::default());
    fs::remove_dir(root.at(&path)).expect("it is there");
    let mut large = docker("/web", "");
    root.write(&path, &large);
    assert_eq!(root.tell(&asked(ID)), named("web"));
    large.extend(std::iter::repeat_n(' ', 4 << 20));
    root.write(&path, &large);
    assert_eq!(root.tell(&asked(ID)), Told::default());
}

#[test]
fn what_is_no_name_is_not_told() {
    let root = Root::new("names");
    let path = format!("var/lib/docker/containers/{ID}/config.v2.json");
    let long = "a".repeat(254);
    for name in [
        "",
        "/",
        "a b",
        "a\\n1",
        "\\u001b[31m",
        "-web",
        "a/b",
        "wéb",
        &long,
    ] {
        root.write(&path, docker(name, ""));
        assert_eq!(root.tell(&asked(ID)), Told::default(), "{name}");
    }
    root.write(&path, docker(&long[1..], ""));
    assert_eq!(root.tell(&asked(ID)), named(&long[1..]));
    // A pod's name without its namespace names none.
    let labels = r#""io.kubernetes.pod.name":"web-1","io.kubernetes.pod.namespace":"a b",
        "io.kubernetes.pod.uid":"../../../etc""#;
    root.write(&path, docker("/web", labels));
    assert_eq!(root.tell(&asked(ID)), named("web"));
}

#[test]
fn a_deep_or_torn_file_tells_nothing() {
    let root = Root::new("torn");
    let path = format!("var/lib/docker/containers/{ID}/config.v2.json");
    let whole = docker("/web", "");
    let deep = "[".repeat(1 << 20);
    for text in [
        &deep,
        &format!(r#"{{"Name":{deep}"#),
        &whole[..whole.len() / 2],
    ] {
        root.write(&path, text);
        assert_eq!(root.tell(&asked(ID)), Told::default());
    }
}
