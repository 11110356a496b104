//! How a socket's place in the network is written: `*%eth0:80`, as `ss` does.

use std::{borrow::Cow, net::IpAddr};

use super::printable::printable;
use crate::event::Listener;

/// Where a listener is bound, as `ss` writes it: `*%eth0:80`, `[::]:80`.
#[must_use]
pub fn bound(listener: &Listener) -> String {
    bound_at(listener.address, listener.port, listener.device.as_deref())
}

/// As [`bound`], from its parts.
#[must_use]
pub fn bound_at(address: IpAddr, port: u16, device: Option<&str>) -> String {
    let device = device.map(printable);
    let (mark, device) = device.map_or(("", Cow::Borrowed("")), |device| ("%", device));
    match address {
        IpAddr::V4(any) if any.is_unspecified() => format!("*{mark}{device}:{port}"),
        IpAddr::V4(address) => format!("{address}{mark}{device}:{port}"),
        IpAddr::V6(address) => format!("[{address}]{mark}{device}:{port}"),
    }
}
