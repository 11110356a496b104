//! Which interface is assumed, from addresses and routes.

use super::*;

fn some() -> Interfaces {
    let interface = |index, name: &str, master, vrf| Interface {
        index,
        name: name.to_owned(),
        master,
        vrf,
        up: true,
    };
    let on = |address: [u8; 4], name: &str| (IpAddr::from(address), name.to_owned());
    let v6 = "2001:db8::2"
        .parse()
        .map(|address| (address, "eth0".to_owned()));
    Interfaces {
        all: vec![
            interface(1, "lo", 0, false),
            interface(2, "eth0", 0, false),
            interface(3, "eth1", 4, false),
            interface(4, "red", 0, true),
        ],
        addresses: [
            on([192, 0, 2, 2], "eth0"),
            on([10, 0, 0, 1], "eth1"),
            on([6, 6, 6, 6], "lo"),
        ]
        .into_iter()
        .chain(v6)
        .collect(),
    }
}

const LO: Option<Route> = Some(Route::Local(1));
const ETH0: Option<Route> = Some(Route::Local(2));
const BY_ETH1: Option<Route> = Some(Route::Through(3));
const NOWHERE: Option<Route> = Some(Route::Nowhere);

#[test]
fn without_a_client_it_is_the_interface_with_the_address_and_not_loopback() -> Result<()> {
    for (destination, to_destination, to_client, name, others) in [
        ("127.0.0.9", LO, BY_ETH1, "lo", Others::None),
        ("192.0.2.2", ETH0, BY_ETH1, "eth0", Others::Any),
        // On loopback, by a route, not at all: as other hosts come.
        ("6.6.6.6", LO, BY_ETH1, "eth1", Others::Any),
        ("203.0.113.1", LO, BY_ETH1, "eth1", Others::Any),
        ("203.0.113.1", ETH0, BY_ETH1, "eth0", Others::Any),
        ("203.0.113.1", NOWHERE, BY_ETH1, "eth1", Others::Any),
        // No route tells which: the first that is up.
        ("6.6.6.6", LO, NOWHERE, "eth0", Others::Any),
        // Before 4.18 the route of every IPv6 address is on loopback.
        ("2001:db8::2", LO, NOWHERE, "eth0", Others::Any),
        ("2001:db8::2", None, None, "eth0", Others::Any),
    ] {
        let arrival = some().arrival(&Sent {
            device: None,
            destination: destination.parse()?,
            client: None,
            to_destination,
            to_client,
        })?;
        let told = (arrival.interface.name.as_str(), arrival.others);
        assert_eq!(told, (name, others), "{destination} {to_destination:?}");
        assert!(arrival.assumed.is_some());
    }
    Ok(())
}

#[test]
fn a_client_tells_the_interface() -> Result<()> {
    for (destination, to_destination, to_client, name, others) in [
        ("192.0.2.2", ETH0, BY_ETH1, "eth1", Others::Outside),
        ("6.6.6.6", LO, BY_ETH1, "eth1", Others::Outside),
        ("127.0.0.1", LO, BY_ETH1, "lo", Others::None),
        ("192.0.2.2", ETH0, NOWHERE, "eth0", Others::Outside),
        // From this host: the one that has the destination.
        ("192.0.2.2", ETH0, ETH0, "eth0", Others::None),
        ("6.6.6.6", LO, ETH0, "lo", Others::None),
        ("203.0.113.1", LO, LO, "lo", Others::None),
    ] {
        let arrival = some().arrival(&Sent {
            device: None,
            destination: destination.parse()?,
            client: Some([198, 51, 100, 1].into()),
            to_destination,
            to_client,
        })?;
        let told = (arrival.interface.name.as_str(), arrival.others);
        assert_eq!(told, (name, others), "{destination} {to_client:?}");
    }
    Ok(())
}

#[test]
fn a_vrf_is_seen() -> Result<()> {
    let through = |device| {
        some().arrival(&Sent {
            device: Some(device),
            destination: [10, 0, 0, 1].into(),
            client: None,
            to_destination: None,
            to_client: None,
        })
    };
    for (name, vrf) in [("eth0", 0), ("eth1", 4), ("red", 4)] {
        let arrival = through(name)?;
        assert_eq!((arrival.vrf, arrival.assumed), (vrf, None));
    }
    assert!(through("eth9").is_err());
    Ok(())
}
