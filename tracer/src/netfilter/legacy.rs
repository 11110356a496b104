//! Reads the tables of legacy iptables, as `iptables-legacy -S` does
//! (`include/uapi/linux/netfilter_ipv4/ip_tables.h`, `netfilter_ipv6/ip6_tables.h`).

use std::{fs, io, os::fd::AsRawFd as _};

use ipnet::{IpNet, Ipv4Net};
use socket2::{Domain, Socket, Type};

use super::rule::{Action, Rule, Test};

/// `IPT_SO_GET_INFO`, `IPT_SO_GET_ENTRIES`; those of IPv6 are the same.
const GET_INFO: libc::c_int = 64;
const GET_ENTRIES: libc::c_int = 65;
/// Length of a table's name.
const NAME: usize = 32;
/// Where `struct ipt_getinfo` has the size of the entries, and its own.
const INFO_SIZE: usize = 80;
const INFO: usize = 84;
/// Where the entries begin in `struct ipt_get_entries`.
const ENTRIES: usize = 40;
/// Largest table that is read.
const MOST: usize = 64 << 20;

/// How the entries of a family are laid out.
struct Family {
    names: &'static str,
    domain: Domain,
    level: libc::c_int,
    program: &'static str,
    /// Where an entry has the protocol, the offset of its target before that of the next
    /// entry, and where its matches begin.
    protocol: usize,
    target: usize,
    matches: usize,
}

const FAMILIES: [Family; 2] = [
    Family {
        names: "/proc/thread-self/net/ip_tables_names",
        domain: Domain::IPV4,
        level: libc::SOL_IP,
        program: "iptables",
        protocol: 80,
        target: 88,
        matches: 112,
    },
    Family {
        names: "/proc/thread-self/net/ip6_tables_names",
        domain: Domain::IPV6,
        level: libc::SOL_IPV6,
        program: "ip6tables",
        protocol: 128,
        target: 140,
        matches: 168,
    },
];

/// Rules that translate or steer. A table that nobody uses is not there, and is not made.
pub(super) fn rules() -> io::Result<Vec<Rule>> {
    let mut found = Vec::new();
    for family in &FAMILIES {
        let names = match fs::read_to_string(family.names) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let tables = names
            .lines()
            .filter(|name| ["nat", "mangle"].contains(name));
        for table in tables {
            let entries = entries(family, table)?;
            found.extend(read(family, table, &entries));
        }
    }
    Ok(found)
}

fn entries(family: &Family, table: &str) -> io::Result<Vec<u8>> {
    let socket = Socket::new(family.domain, Type::DGRAM, None)?;
    let mut info = [0; INFO];
    info[..table.len()].copy_from_slice(table.as_bytes());
    get(&socket, family.level, GET_INFO, &mut info)?;
    let size = number(&info, INFO_SIZE).unwrap_or(0);
    let length = size as usize;
    if length > MOST {
        return Err(io::Error::other("the table is too large"));
    }
    let mut bytes = vec![0; ENTRIES + length];
    bytes[..table.len()].copy_from_slice(table.as_bytes());
    bytes[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
    get(&socket, family.level, GET_ENTRIES, &mut bytes)?;
    Ok(bytes.split_off(ENTRIES))
}

fn get(socket: &Socket, level: libc::c_int, what: libc::c_int, bytes: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes at most `length` bytes, which the buffer has.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            what,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The same entries as those of every family.
#[cfg(test)]
pub(super) fn read_all(entries: &[u8]) -> [Vec<Rule>; 2] {
    FAMILIES
        .each_ref()
        .map(|family| read(family, "nat", entries))
}

fn read(family: &Family, table: &str, entries: &[u8]) -> Vec<Rule> {
    let mut found = Vec::new();
    let mut rest = entries;
    while let (Some(target), Some(next)) =
        (short(rest, family.target), short(rest, family.target + 2))
    {
        let Some(entry) = rest.get(..next).filter(|entry| !entry.is_empty()) else {
            break;
        };
        let name = entry.get(target..).and_then(header).map(|(_, name)| name);
        if let Some(action) = name.and_then(|name| action(&name)) {
            let ipv4 = family.domain == Domain::IPV4;
            let mut tests = vec![Test::Ipv4(ipv4)];
            if ipv4 {
                tests.extend(to_address(entry));
            }
            // 0 is any, and IPPROTO_TCP is 6.
            let tcp = matches!(short(entry, family.protocol), Some(0 | 6));
            tests.extend((!tcp).then_some(Test::NotTcp));
            let matches = entry.get(family.matches..target).unwrap_or_default();
            tests.extend(matches_of(matches));
            found.push(Rule {
                place: format!("{} table {table}", family.program),
                action,
                to: None,
                tests,
            });
        }
        rest = rest.get(next..).unwrap_or_default();
    }
    found
}

/// The destination that an entry asks for: `struct ipt_ip` has source, destination, and
/// their masks.
fn to_address(entry: &[u8]) -> Option<Test> {
    let part = |at: usize| <[u8; 4]>::try_from(entry.get(at..at + 4)?).ok();
    let (address, mask) = (part(4)?, part(12)?);
    let prefix = Ipv4Net::with_netmask(address.into(), mask.into()).ok()?;
    // IPT_INV_DSTIP, in `invflags`.
    let invert = entry.get(83)? & 0x10 != 0;
    (prefix.prefix_len() > 0).then_some(Test::Address {
        prefix: IpNet::V4(prefix.trunc()),
        invert,
    })
}

fn matches_of(bytes: &[u8]) -> Vec<Test> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((size, name)) = header(rest) {
        let Some(data) = rest.get(NAME..size) else {
            break;
        };
        found.extend(test(&name, data));
        rest = &rest[size..];
    }
    found
}

/// Size and name of a match or target (`struct xt_entry_match`).
fn header(bytes: &[u8]) -> Option<(usize, String)> {
    let size = short(bytes, 0)?;
    let name = bytes.get(2..31)?;
    let end = name.iter().position(|&byte| byte == 0)?;
    Some((size, String::from_utf8_lossy(&name[..end]).into_owned()))
}

/// What a match asks of a packet, where that was understood: `struct xt_tcp` has source
/// ports, destination ports, and which are inverted.
pub(super) fn test(name: &str, data: &[u8]) -> Option<Test> {
    match name {
        "udp" | "sctp" | "icmp" | "icmp6" => Some(Test::NotTcp),
        "tcp" => {
            let port = |at| Some(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?));
            let (first, last) = (port(4)?, port(6)?);
            // XT_TCP_INV_DSTPT
            let invert = data.get(11)? & 2 != 0;
            ((first, last) != (0, u16::MAX)).then_some(Test::Port {
                first,
                last,
                invert,
            })
        }
        _ => None,
    }
}

/// What a target does with a packet, by its name.
pub(super) fn action(name: &str) -> Option<Action> {
    match name {
        "DNAT" => Some(Action::Dnat),
        "REDIRECT" => Some(Action::Redirect),
        "TPROXY" => Some(Action::Tproxy),
        _ => None,
    }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_ne_bytes(two).into())
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An entry as the kernel gives it: for a destination, TCP, a port; with that target.
    fn entry(destination: [u8; 4], port: u16, target: &str) -> Vec<u8> {
        let mut bytes = vec![0; 112];
        bytes[4..8].copy_from_slice(&destination);
        bytes[12..16].copy_from_slice(&[255; 4]);
        bytes[80] = 6;
        let with = |bytes: &mut Vec<u8>, name: &str, data: &[u8]| {
            let start = bytes.len();
            bytes.extend(u16::try_from(NAME + data.len()).unwrap_or(0).to_ne_bytes());
            bytes.extend(name.as_bytes());
            bytes.resize(start + NAME, 0);
            bytes.extend(data);
        };
        let mut tcp = [0; 16];
        tcp[2..4].copy_from_slice(&u16::MAX.to_ne_bytes());
        tcp[4..6].copy_from_slice(&port.to_ne_bytes());
        tcp[6..8].copy_from_slice(&port.to_ne_bytes());
        with(&mut bytes, "tcp", &tcp);
        let at = u16::try_from(bytes.len()).unwrap_or(0);
        with(&mut bytes, target, &[0; 24]);
        let next = u16::try_from(bytes.len()).unwrap_or(0);
        bytes[88..90].copy_from_slice(&at.to_ne_bytes());
        bytes[90..92].copy_from_slice(&next.to_ne_bytes());
        bytes
    }

    pub(in crate::netfilter) fn table() -> Vec<u8> {
        let mut entries = entry([10, 0, 0, 2], 80, "DNAT");
        entries.extend(entry([10, 0, 0, 2], 81, "MASQUERADE"));
        entries.extend(entry([10, 0, 0, 3], 443, "REDIRECT"));
        entries
    }

    #[test]
    fn rules_are_read_from_a_table() {
        let entries = table();
        let rules = read(&FAMILIES[0], "nat", &entries);
        let port = |port| Test::Port {
            first: port,
            last: port,
            invert: false,
        };
        let address = |address: [u8; 4]| Test::Address {
            prefix: std::net::IpAddr::from(address).into(),
            invert: false,
        };
        let told: Vec<_> = rules
            .iter()
            .map(|rule| (rule.action, rule.tests.clone()))
            .collect();
        let v4 = Test::Ipv4(true);
        assert_eq!(
            told,
            [
                (Action::Dnat, vec![v4, address([10, 0, 0, 2]), port(80)]),
                (
                    Action::Redirect,
                    vec![v4, address([10, 0, 0, 3]), port(443)]
                )
            ]
        );
        assert_eq!(rules[0].place, "iptables table nat");
        // What is cut short is left out.
        assert!(read(&FAMILIES[0], "nat", &entries[..100]).is_empty());
    }
}
