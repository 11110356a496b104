//! Each runtime's own files.

use super::*;

#[test]
fn docker_tells_a_name_or_with_kubernetes_the_pod() {
    let root = Root::new("docker");
    let file = format!("var/lib/docker/containers/{ID}/config.v2.json");
    root.write(&file, docker("/shop-web-1", r#""maintainer":"x""#));
    assert_eq!(root.tell(&asked(ID)), named("shop-web-1"));
    assert_eq!(root.tell(&asked(OTHER)), Told::default());
    root.write(&file, docker("/k8s_web_web-1_shop_0_0", &kubelets()));
    assert_eq!(root.tell(&in_pod(ID)), web());
    assert_eq!(root.tell(&asked(ID)), web());
}

#[test]
fn containerd_tells_pods_and_what_nerdctl_named() {
    let root = Root::new("containerd");
    let bundles = "run/containerd/io.containerd.runtime.v2.task";
    let file = format!("{bundles}/k8s.io/{ID}/config.json");
    root.write(&file, bundle(&containerds()));
    let file = format!("{bundles}/default/{OTHER}/config.json");
    root.write(
        &file,
        bundle(r#""nerdctl/name":"web-7","nerdctl/namespace":"default""#),
    );
    assert_eq!(root.tell(&in_pod(ID)), web());
    assert_eq!(root.tell(&asked(OTHER)), named("web-7"));
}

#[test]
fn k3s_has_a_containerd_of_its_own() {
    let root = Root::new("k3s");
    let bundles = "run/k3s/containerd/io.containerd.runtime.v2.task";
    let file = format!("{bundles}/k8s.io/{ID}/config.json");
    root.write(&file, bundle(&containerds()));
    assert_eq!(root.tell(&in_pod(ID)), web());
}

#[test]
fn the_uid_before_containerd_told_it_is_that_of_the_cgroup() {
    let root = Root::new("uid");
    let annotations = containerds();
    let (before, _) = annotations.rsplit_once(',').expect("the uid is last");
    let file = format!("run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}/config.json");
    root.write(&file, bundle(before));
    assert_eq!(root.tell(&in_pod(ID)), web());
}

#[test]
fn crio_tells_pods() {
    let root = Root::new("crio");
    let file = format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json");
    let annotations = format!(r#""io.container.manager":"cri-o",{}"#, kubelets());
    root.write(&file, bundle(&annotations));
    assert_eq!(root.tell(&in_pod(ID)), web());
}

#[test]
fn podman_tells_names_of_containers_that_last_and_that_do_not() {
    let root = Root::new("podman");
    let file = format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json");
    root.write(&file, bundle(r#""io.container.manager":"libpod""#));
    let store = "var/lib/containers/storage/overlay-containers";
    let lasts = list(&[(OTHER, r#""db""#), (ID, r#""web","also-web""#)]);
    root.write(&format!("{store}/containers.json"), lasts);
    assert_eq!(root.tell(&asked(ID)), named("web"));
    let removed = "0".repeat(64);
    let volatile = list(&[(&removed, r#""once""#)]);
    root.write(&format!("{store}/volatile-containers.json"), volatile);
    assert_eq!(root.tell(&asked(&removed)), named("once"));
    let transient = "f".repeat(64);
    let file = "run/containers/storage/vfs-containers/volatile-containers.json";
    root.write(file, list(&[(&transient, r#""passing""#)]));
    assert_eq!(root.tell(&asked(&transient)), named("passing"));
}

/// What a user's own runtimes need besides.
fn home(root: &Root, uid: u32) {
    let passwd =
        format!("x:y\nann:x:{uid}:{uid}:Ann:/home/ann:/bin/sh\nroot:x:0:0::/root:/bin/sh\n");
    root.write("etc/passwd", passwd);
    let mounts = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";
    root.write("proc/self/mountinfo", mounts);
}

#[test]
fn rootless_runtimes_tell_by_the_files_in_the_home() {
    let root = Root::new("rootless");
    let own = nix::unistd::geteuid().as_raw();
    home(&root, own);
    let store = "home/ann/.local/share/containers/storage/overlay-containers";
    root.write(
        &format!("{store}/containers.json"),
        list(&[(ID, r#""web""#)]),
    );
    assert_eq!(root.tell(&of_user(ID, own)), named("web"));
    let file = format!("home/ann/.local/share/docker/containers/{OTHER}/config.v2.json");
    root.write(&file, docker("/front", ""));
    assert_eq!(root.tell(&of_user(OTHER, own)), named("front"));
    // On a file server, they are not looked at.
    let far = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:9 / /home rw - nfs4 far:/ rw\n";
    root.write("proc/self/mountinfo", far);
    for id in [ID, OTHER] {
        assert_eq!(root.tell(&of_user(id, own)), Told::default());
    }
}

#[test]
fn a_users_files_are_his_and_where_the_table_of_users_says() {
    let root = Root::new("whose");
    let own = nix::unistd::geteuid().as_raw();
    home(&root, own.wrapping_add(1));
    let store = "home/ann/.local/share/containers/storage/overlay-containers";
    root.write(
        &format!("{store}/containers.json"),
        list(&[(ID, r#""web""#)]),
    );
    let told = |uid| root.tell(&of_user(ID, uid));
    // Another's file in his home; and nobody's home.
    assert_eq!(told(own.wrapping_add(1)), Told::default());
    assert_eq!(told(own.wrapping_add(2)), Told::default());
    for home in [
        "",
        "relative",
        "/",
        "/home/../home/ann",
        "/home/./ann",
        "/home/a nn",
    ] {
        root.write("etc/passwd", format!("ann:x:{own}:0::{home}:/bin/sh\n"));
        assert_eq!(told(own), Told::default(), "{home}");
    }
    root.write(
        "etc/passwd",
        format!("ann:x:{own}:0::/home//ann/:/bin/sh\n"),
    );
    assert_eq!(told(own), named("web"));
}

#[test]
fn the_kubelets_logs_tell_where_nothing_else_does() {
    let root = Root::new("kubelet");
    root.write(&format!("var/log/pods/shop_web-1_{UID}/web/0.log"), "");
    let whole = web();
    let mut nameless = whole.clone();
    nameless.name = None;
    assert_eq!(root.tell(&in_pod(ID)), nameless);
    assert_eq!(root.tell(&asked(ID)), Told::default());
    let links = [
        format!("web-1_shop_web-{ID}.log"),
        format!("db-0_shop_db-{OTHER}.log"),
        "README".to_owned(),
    ];
    for link in links {
        root.write(&format!("var/log/containers/{link}"), "");
    }
    assert_eq!(root.tell(&in_pod(ID)), whole);
    let db = root.tell(&asked(OTHER));
    let pod = db.pod.expect("a pod");
    assert_eq!(pod.full_name().as_deref(), Some("shop/db-0"));
    assert_eq!((db.name.as_deref(), pod.uid), (Some("db"), None));
}

#[test]
fn where_no_file_is_nothing_is_told() {
    let root = Root::new("nothing");
    assert_eq!(root.tell(&asked(ID)), Told::default());
    assert_eq!(root.tell(&in_pod(ID)), pod_alone());
    assert_eq!(root.tell(&of_user(ID, 1000)), Told::default());
}
