//! The filters that trace has in the kernel, over a recording.

use std::net::SocketAddr;

use crate::{
    decode::Record,
    event::Netns,
    failure::Failure,
    host::recorded::Recorded,
    judge::{self, netns::NetnsName},
    settings::Watch,
};

/// Whether the kernel would have told of it. Listeners come and go past the filters.
pub(crate) fn passes(watch: &Watch, record: &Record, host: &Recorded) -> bool {
    if watch.is_everything() {
        return true;
    }
    let (netns, cookie, family, client, destination, port_be) = match record {
        Record::Listen(_) | Record::Close(_) => return true,
        Record::Syn(syn) => (
            syn.netns,
            syn.netns_cookie,
            syn.family,
            syn.client,
            syn.destination,
            syn.destination_port_be,
        ),
        Record::Handover(one) => (
            one.netns,
            one.netns_cookie,
            one.family,
            one.client,
            one.destination,
            one.destination_port_be,
        ),
    };
    let client = judge::packet_address(client, family);
    let destination = judge::packet_address(destination, family);
    let named = || Netns {
        inode: netns,
        cookie: None,
        name: host.netns_name(netns, cookie),
    };
    watch.fits(client, SocketAddr::new(destination, u16::from_be(port_be)))
        && (watch.netns.is_empty() || watch.fits_netns(&named()))
}

/// What a recording knows of a namespace: its name and its inode number.
pub(crate) fn as_recorded(name: &NetnsName) -> Result<NetnsName, Failure> {
    match name {
        NetnsName::Name(_) | NetnsName::Inode(_) => Ok(name.clone()),
        NetnsName::Path(_) | NetnsName::Pid(_) => Err(Failure::usage(format!(
            "a recording does not say which network namespace {name} was; write it as the name \
             that ip netns had for it, or as its inode number"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use sockpick_ebpf::abi::SynRecord;

    use super::*;
    use crate::host::answers::{Key, Value};

    #[test]
    fn a_namespace_is_meant_by_the_name_that_it_had_when_it_was_recorded() {
        let host = Recorded::default();
        let name = |inode, name: &str| {
            let value = Value::Name(Some(name.to_owned()));
            (Key::Netns(inode, 1), 0, value)
        };
        host.begin(false, vec![name(7, "web"), name(8, "db")]);
        let syn = |netns| {
            Record::Syn(SynRecord {
                netns,
                netns_cookie: 1,
                family: libc::AF_INET as u16,
                ..SynRecord::default()
            })
        };
        let of = |text: &str| Watch {
            netns: vec![NetnsName::parse(text).expect("a name")],
            ..Watch::default()
        };
        assert!(passes(&of("web"), &syn(7), &host));
        assert!(!passes(&of("web"), &syn(8), &host));
        assert!(passes(&of("8"), &syn(8), &host));
        assert!(!passes(&of("web"), &syn(9), &host), "it has no name");
        assert!(passes(&Watch::default(), &syn(9), &host));
        assert!(as_recorded(&NetnsName::Pid(1)).is_err());
    }
}
