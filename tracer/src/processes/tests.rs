//! A walk that goes on while others ask.

use std::{
    io,
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{scan::Pass, walk::Walk, *};

static MAY_GO: AtomicBool = AtomicBool::new(false);

fn slow(wanted: &HashSet<u64>, containers: &mut Containers) -> Pass {
    while !MAY_GO.load(Ordering::Acquire) {
        thread::yield_now();
    }
    Pass::walked(wanted, containers)
}

fn listener() -> io::Result<(TcpListener, u64)> {
    use std::os::{fd::AsRawFd as _, linux::fs::MetadataExt as _};
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let path = format!("/proc/self/fd/{}", listener.as_raw_fd());
    let inode = std::fs::metadata(path)?.st_ino();
    Ok((listener, inode))
}

#[test]
fn who_asks_does_not_wait_for_a_walk_that_takes_long() -> io::Result<()> {
    let [(_one, asked), (_other, later), (closed, gone)] = [listener()?, listener()?, listener()?];
    let mut processes = Processes::hurried();
    for inode in [asked, gone] {
        processes.held.insert(inode, Held::new());
    }
    let wanted = HashSet::from([asked, gone]);
    processes
        .scans
        .walk_on(Walk::begin(wanted, Containers::default(), slow));
    let ask = |processes: &mut Processes, inode| {
        let owners = processes.living(inode, WALKED_AGE);
        owners.iter().map(|owner| owner.pid).collect::<Vec<_>>()
    };
    // Each would never return if it waited.
    assert!(ask(&mut processes, asked).is_empty());
    assert!(ask(&mut processes, later).is_empty());
    assert_eq!(processes.nobody_since(asked), None);
    processes.forget(gone);
    processes.held.insert(gone, Held::new());
    drop(closed);
    MAY_GO.store(true, Ordering::Release);
    let own = [std::process::id()];
    while ask(&mut processes, asked) != own {
        thread::yield_now();
    }
    assert!(!processes.held[&gone].scanned, "that is another socket");
    assert_eq!(processes.nobody_since(later), None);
    assert_eq!(ask(&mut processes, later), own);
    Ok(())
}
