//! Addresses of servers. What is wrong with one is told without it: it may hold a secret.

use std::net::Ipv6Addr;

use hyper::{Uri, http::uri::Authority};

/// How one is written.
const FORM: &str = "write it as http://127.0.0.1:9093 or https://alerts.example:9093/path";

/// Whether a server may be spoken to at this address.
///
/// # Errors
/// What is wrong with it, without any part of it.
pub(in crate::settings) fn check(text: &str) -> Result<(), String> {
    let uri: Uri = text
        .parse()
        .map_err(|_| format!("it is no address of a server; {FORM}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(format!(
            "it begins with neither http:// nor https://; {FORM}"
        ));
    }
    if text.contains(['?', '#']) {
        return Err(format!(
            "it has a query or a fragment, which is not sent; {FORM}"
        ));
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(
            "it has a user or a password in it; put a token into a file, and name that in \
             bearer_file"
                .to_owned(),
        ),
        Some(authority) if is_server(authority) => Ok(()),
        _ => Err(format!("it names no host, or a port that is none; {FORM}")),
    }
}

fn is_server(authority: &Authority) -> bool {
    let host = authority.host();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let inside = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let is_host = match inside {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(is_name),
    };
    let has_port = authority.as_str().len() > host.len();
    is_host && (!has_port || authority.port_u16().is_some_and(|port| port != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_scheme_a_host_and_maybe_a_port_and_a_path() {
        for right in [
            "http://127.0.0.1:9093",
            "https://alerts.example",
            "https://alerts.example/a/b/",
            "http://[::1]:9093/x",
            "HTTP://host:80",
        ] {
            assert_eq!(check(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "127.0.0.1:9093",
            "/path",
            "ftp://host",
            "http://",
            "http://:80",
            "http://host:",
            "http://host:0",
            "http://host:99999",
            "http://host:80:80",
            "http://h!st",
            "http://[::x]:80",
            "http://::1:80",
            "http://host/a b",
            "http://host/?token=s3cr3t",
            "http://host/#s3cr3t",
            "http://s3cr3t@host",
            "http://user:s3cr3t@host/path",
        ] {
            let said = check(wrong).expect_err(wrong);
            assert!(!said.contains("s3cr3t"), "{said}");
            assert!(
                said.contains("write it as") || said.contains("bearer_file"),
                "{said}"
            );
        }
    }
}
