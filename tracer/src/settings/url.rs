//! Where an HTTP server is, taken apart once. What is wrong with it is told without it: it may hold
//! a secret.
#![forbid(unsafe_code)]

use std::{fmt, net::Ipv6Addr};

use hyper::{Uri, http::uri::Authority};

/// How one is written.
const FORM: &str = "write it as http://127.0.0.1:9093 or https://alerts.example:9093/path";

/// An `http://` or `https://` URL without query, fragment and user. It is shown without its path,
/// which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// As it is written.
    text: String,
    /// Whether it begins with `https://`.
    pub(crate) is_tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// The one that is written, or the usual one.
    pub(crate) port: u16,
    /// As it is written: what the header `Host` says.
    pub(crate) authority: String,
    /// At least `/`.
    pub(crate) path: String,
}

impl Url {
    /// Takes it apart.
    ///
    /// # Errors
    /// What is wrong with it, in words for the user, without any part of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|_| format!("it is no address of a server; {FORM}"))?;
        let is_tls = is_tls(&uri)?;
        if text.contains(['?', '#']) {
            return Err(format!(
                "it has a query or a fragment, which is not sent; {FORM}"
            ));
        }
        let authority = server(&uri)?;
        let host = authority.host();
        Ok(Self {
            text: text.to_owned(),
            is_tls,
            host: inside(host).unwrap_or(host).to_owned(),
            port: authority.port_u16().unwrap_or(usual_port(is_tls)),
            authority: authority.to_string(),
            path: uri.path().to_owned(),
        })
    }

    /// As it is written, with what may be a secret.
    #[must_use]
    pub fn as_written(&self) -> &str {
        &self.text
    }

    /// An API's path below the one that is written, unless that is it already.
    pub(crate) fn below(&self, api: &str) -> String {
        let above = self.path.trim_end_matches('/');
        let above = above.strip_suffix(api).unwrap_or(above);
        format!("{above}{api}")
    }
}

fn is_tls(uri: &Uri) -> Result<bool, String> {
    match uri.scheme_str() {
        Some("http") => Ok(false),
        Some("https") => Ok(true),
        _ => Err(format!(
            "it begins with neither http:// nor https://; {FORM}"
        )),
    }
}

const fn usual_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

fn server(uri: &Uri) -> Result<&Authority, String> {
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(
            "it has a user or a password in it; put a token into a file, and name that in \
             bearer_file"
                .to_owned(),
        ),
        Some(authority) if is_server(authority) => Ok(authority),
        _ => Err(format!("it names no host, or a port that is none; {FORM}")),
    }
}

fn is_server(authority: &Authority) -> bool {
    let host = authority.host();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let is_host = match inside(host) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_name),
    };
    let has_port = authority.as_str().len() > host.len();
    is_host && (!has_port || authority.port_u16().is_some_and(|port| port != 0))
}

/// What stands in brackets: an IPv6 address.
fn inside(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
