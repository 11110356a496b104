//! Values that are places: an address, an interface, a port, each or all.

use std::net::IpAddr;

use crate::judge::{expectations::Address, rules::Protocol};

/// A service given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Where it listens.
    pub address: Address,
    /// Its name.
    pub name: String,
}

/// A listener by address, interface and port, or some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPattern {
    /// Bound address; `None` for any.
    pub address: Option<AddressPattern>,
    /// Bound interface; `None` for any, or none.
    pub device: Option<String>,
    /// Bound port; `None` for any.
    pub port: Option<u16>,
}

/// An address in a listener pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPattern {
    /// `*`: bound to any address, of either family.
    Wildcard,
    /// Bound to exactly this one.
    Is(IpAddr),
}

/// A place as it is written: as the column LISTENER has it (`127.0.0.53%lo:53`,
/// `[fe80::1]%eth0:7000`), with the interface inside the brackets, or without some parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written<'a> {
    /// What stands for the address; may be empty.
    pub(crate) address: &'a str,
    pub(crate) device: Option<&'a str>,
    pub(crate) port: Option<&'a str>,
}

/// Takes a place apart; `None` if it has not the form of one.
pub(crate) fn written(text: &str) -> Option<Written<'_>> {
    let (address, rest) = if let Some(rest) = text.strip_prefix('[') {
        rest.split_once(']')?
    } else if text.parse::<IpAddr>().is_ok() {
        (text, "")
    } else {
        // An interface has neither of these in its name (`dev_valid_name`, net/core/dev.c).
        let end = text.find('%').or_else(|| text.rfind(':'));
        text.split_at(end.unwrap_or(text.len()))
    };
    let (device, port) = match rest.split_once(':') {
        Some((device, port)) => (device, Some(port)),
        None => (rest, None),
    };
    let (address, inside) = match address.split_once('%') {
        Some((address, device)) => (address, Some(device)),
        None => (address, None),
    };
    let outside = match device {
        "" => None,
        device => Some(device.strip_prefix('%')?),
    };
    if inside.is_some() && outside.is_some() {
        return None;
    }
    let device = inside.or(outside);
    if device.is_some_and(str::is_empty) {
        return None;
    }
    Some(Written {
        address,
        device,
        port,
    })
}

/// Where a service listens: `192.0.2.1:80`, `[2001:db8::1]:443`, `*:80`.
///
/// # Errors
/// If it is no address with a port, in words for the user.
pub fn expected_address(text: &str) -> Result<Address, String> {
    let wrong = || {
        format!(
            "{text:?} is no address with a port; write it as 192.0.2.1:80, [2001:db8::1]:80 or *:80"
        )
    };
    let pattern = listener(text).map_err(|_| wrong())?;
    let address = match pattern.address {
        Some(AddressPattern::Is(address)) => Some(address),
        Some(AddressPattern::Wildcard) => None,
        None => return Err(wrong()),
    };
    match pattern.port {
        Some(port) if port != 0 && pattern.device.is_none() => Ok(Address {
            protocol: Protocol::Tcp,
            address,
            port,
        }),
        _ => Err(wrong()),
    }
}

pub(crate) fn expect(text: &str) -> Result<Expect, String> {
    let (address, name) = text.split_once('=').unwrap_or((text, text));
    if name.is_empty() {
        return Err(format!(
            "{text:?} has an empty name; write it as 192.0.2.1:80=NAME"
        ));
    }
    Ok(Expect {
        address: expected_address(address)?,
        name: name.to_owned(),
    })
}

pub(crate) fn listener(text: &str) -> Result<ListenerPattern, String> {
    let wrong = || {
        format!(
            "{text:?} names no listener; write it as 192.0.2.1:80, [2001:db8::1]:80, *:80, \
             *%eth0:80 or :80"
        )
    };
    let written = written(text).ok_or_else(wrong)?;
    let address = match written.address {
        "" => None,
        "*" => Some(AddressPattern::Wildcard),
        address => Some(AddressPattern::Is(address.parse().map_err(|_| wrong())?)),
    };
    let port = match written.port {
        // Only an address stands alone.
        None if !matches!(address, Some(AddressPattern::Is(_))) => return Err(wrong()),
        None | Some("*") => None,
        Some(port) => Some(port.parse().map_err(|_| wrong())?),
    };
    Ok(ListenerPattern {
        address,
        device: written.device.map(ToOwned::to_owned),
        port,
    })
}
