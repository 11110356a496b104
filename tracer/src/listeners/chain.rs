//! In which order the kernel meets listening sockets, and which of them form a group:
//! what can be told from a dump alone. Pure.

use std::{collections::HashMap, net::Ipv6Addr};

use super::Listening;
use crate::{
    event::Family,
    judge::rules::{Algorithm, BUCKETS, Bound},
};

/// Sockets in a bucket up to which [`Algorithm::Hybrid`] walks the chain per port
/// (`ilb->count <= 10`, `net/ipv4/inet_hashtables.c` of 4.19).
const HYBRID_LIMIT: usize = 10;

/// Neighbours in a chain that are named.
const MOST_RUNS: usize = 12;

/// Whether the kernel looks the packet's address up first, for a port with so many sockets
/// seen in its bucket. With [`Algorithm::Hybrid`] the bucket may hold more, of other
/// namespaces, so `false` is not certain there.
#[must_use]
pub fn by_address(algorithm: Algorithm, in_bucket: usize) -> bool {
    match algorithm {
        Algorithm::PortOnly => false,
        Algorithm::Hybrid => in_bucket > HYBRID_LIMIT,
        Algorithm::AddressFirst => true,
    }
}

/// Sockets bound alike under one user, in chain order: one reuseport group each
/// (`inet_reuseport_add_sock`, `net/ipv4/inet_hashtables.c`). `sock_diag` does not tell
/// `SO_REUSEPORT`, but without it no second socket could be bound alike; of a single socket
/// it is not known.
#[must_use]
pub fn groups(listeners: &[Listening]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<(Bound, u32), usize> = HashMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        let next = groups.len();
        let group = *known.entry((listener.bound, listener.uid)).or_insert(next);
        if group == next {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups
}

/// Whether the first socket stands before the other in a chain that holds both. Each comes
/// with its place in the dump, which tells the order within a family; IPv4 sockets go in
/// at the head and IPv6 reuseport sockets at the tail (`__inet_hash`, `inet_hash2`).
#[must_use]
pub fn stands_before(one: (&Bound, usize), other: (&Bound, usize)) -> bool {
    rank(one.0, one.1) < rank(other.0, other.1)
}

/// Sorts the sockets of a chain that holds all of them: first come, first met.
#[must_use]
pub fn rank(bound: &Bound, place: usize) -> (bool, usize) {
    (bound.family == Family::Ipv6, place)
}

/// What decides which of two listeners stands first in a chain that holds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The one started last stands first.
    StartedLast,
    /// The one started first does.
    StartedFirst,
    /// Their families do: the IPv4 one stands first, whichever started first.
    Never,
}

/// What decides between a more specific listener and a less specific one.
#[must_use]
pub fn order_of(specific: Family, general: Family) -> Order {
    match (specific, general) {
        (Family::Ipv4, Family::Ipv4) => Order::StartedLast,
        (Family::Ipv6, Family::Ipv6) => Order::StartedFirst,
        _ => Order::Never,
    }
}

/// A port's chain in words: who stands before whom. Neighbours of one name are counted.
#[must_use]
pub fn told(port: u16, names: &[String]) -> String {
    let runs = names.chunk_by(|one, next| one == next).map(|run| {
        let name = run.first().map_or("", String::as_str);
        match run.len() {
            1 => name.to_owned(),
            sockets => format!("{name} ({sockets} sockets)"),
        }
    });
    let mut runs: Vec<String> = runs.collect();
    if let Some(more) = runs.len().checked_sub(MOST_RUNS).filter(|more| *more > 0) {
        runs.truncate(MOST_RUNS);
        runs.push(format!("and {more} more"));
    }
    format!(
        "The chain of port {port}, first to last: {}",
        runs.join(", ")
    )
}

/// What helps where a wildcard's place in the chain robs a listener of what is for its
/// address, and what each costs.
#[must_use]
pub fn cures(specific: &str, general: &str, order: Order, hybrid: bool) -> String {
    let order = match order {
        Order::StartedLast => format!(
            "start {specific} after {general}, and again after every restart of {general} (an              order between the services, and a gap at each restart)"
        ),
        Order::StartedFirst => format!(
            "start {specific} before {general}, and restart {general} after every restart of \
             {specific} (an order between the services, and a gap at each restart)"
        ),
        // An IPv6 socket stands behind every IPv4 one, whatever its address.
        Order::Never => format!(
            "have {specific} listen with an IPv4 socket instead of an IPv6 one (then the one \
             started last stands first)"
        ),
    };
    let crowd = if hybrid {
        "; or have more than ten listeners in the port's bucket (fragile: others' sockets \
         count, and when they go the chain decides again)"
    } else {
        ""
    };
    format!(
        "Linux 5.0 or later, not 4.16 as is often said (a reboot); or {order}; or bind {general} \
         to its own addresses (its configuration then has to follow them){crowd}."
    )
}

/// The listeners in the order in which the kernel meets them: namespace by namespace,
/// `own` first; port by port; where it looks the address up first, specific addresses
/// before any; then in chain order.
#[must_use]
pub fn order(listeners: &[Listening], algorithm: Algorithm, own: u32) -> Vec<usize> {
    let bucket = |bound: &Bound| (bound.netns, bound.port % BUCKETS);
    let mut in_bucket: HashMap<(u32, u16), usize> = HashMap::new();
    for listener in listeners {
        *in_bucket.entry(bucket(&listener.bound)).or_default() += 1;
    }
    let key = |index: usize| {
        let bound = &listeners[index].bound;
        let count = in_bucket.get(&bucket(bound)).copied();
        let address = if !by_address(algorithm, count.unwrap_or(0)) {
            (false, Ipv6Addr::UNSPECIFIED)
        } else if bound.is_wildcard() {
            (true, Ipv6Addr::UNSPECIFIED)
        } else {
            (false, bound.address)
        };
        let namespace = (bound.netns != own, bound.netns);
        (namespace, bound.port, address, rank(bound, index))
    };
    let mut order: Vec<usize> = (0..listeners.len()).collect();
    order.sort_by_key(|&index| key(index));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Queue;
    use std::net::IpAddr;

    fn listening(address: &str, port: u16, uid: u32) -> Listening {
        let address: IpAddr = address.parse().expect("an address");
        Listening {
            bound: Bound::to(1, address, port),
            inode: 0,
            cookie: 0,
            uid,
            queue: Queue {
                length: 0,
                limit: 0,
            },
            complete: true,
        }
    }

    #[test]
    fn order_follows_the_algorithm() {
        let listeners = [
            listening("0.0.0.0", 80, 0),
            listening("6.6.6.6", 80, 0),
            listening("0.0.0.0", 22, 0),
            listening("::", 80, 0),
            listening("::ffff:6.6.6.6", 80, 0),
        ];
        for (algorithm, expected) in [
            (Algorithm::AddressFirst, [2, 1, 4, 0, 3]),
            (Algorithm::Hybrid, [2, 0, 1, 3, 4]),
            (Algorithm::PortOnly, [2, 0, 1, 3, 4]),
        ] {
            assert_eq!(order(&listeners, algorithm, 1), expected, "{algorithm:?}");
        }
    }

    #[test]
    fn groups_are_of_one_binding_and_user() {
        let listeners = [
            listening("0.0.0.0", 80, 0),
            listening("6.6.6.6", 80, 0),
            listening("0.0.0.0", 80, 0),
            listening("0.0.0.0", 80, 7),
        ];
        assert_eq!(groups(&listeners), [vec![0, 2], vec![1], vec![3]]);
    }

    #[test]
    fn a_chain_in_words() {
        let names = ["*:80", "*:80", "6.6.6.6:80", "*:80"].map(ToOwned::to_owned);
        assert_eq!(
            told(80, &names),
            "The chain of port 80, first to last: *:80 (2 sockets), 6.6.6.6:80, *:80"
        );
    }

    #[test]
    fn cures_follow_the_family_and_the_kernel() {
        let said = cures("A", "B", Order::StartedLast, false);
        assert!(said.contains("Linux 5.0 or later, not 4.16"), "{said}");
        assert!(said.contains("start A after B"), "{said}");
        assert!(!said.contains("more than ten"), "{said}");
        let said = cures("A", "B", Order::StartedFirst, true);
        assert!(
            said.contains("start A before B, and restart B after every restart of A"),
            "{said}"
        );
        assert!(said.contains("more than ten"), "{said}");
        let said = cures("A", "B", order_of(Family::Ipv6, Family::Ipv4), false);
        assert!(said.contains("have A listen with an IPv4 socket"), "{said}");
        assert!(!said.contains("start A"), "{said}");
    }

    #[test]
    fn a_long_chain_is_cut_with_a_number() {
        let names: Vec<String> = (0..40).map(|name| name.to_string()).collect();
        let said = told(80, &names);
        assert!(said.ends_with("10, 11, and 28 more"), "{said}");
    }

    #[test]
    fn a_crowded_bucket_is_looked_up_by_address() {
        assert!(!by_address(Algorithm::Hybrid, 10));
        assert!(by_address(Algorithm::Hybrid, 11));
        assert!(!by_address(Algorithm::PortOnly, 100));
        assert!(by_address(Algorithm::AddressFirst, 1));
    }
}
