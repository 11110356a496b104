//! Where an HTTP server is, taken apart once.
#![forbid(unsafe_code)]

use std::fmt;

use hyper::Uri;

/// An `http://` or `https://` URL. It is shown without its path, which may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) is_tls: bool,
    /// Name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it is written: what the header `Host` says.
    pub(crate) authority: String,
    path: String,
    query: Option<String>,
}

impl Url {
    /// Takes it apart.
    ///
    /// # Errors
    /// What is wrong, in words for the user, without the URL itself.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| shape())?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(shape()),
        };
        let authority = uri.authority().ok_or_else(shape)?;
        if authority.as_str().contains('@') {
            let text = "the url has a user name in it; name a file with a token by bearer_file";
            return Err(text.to_owned());
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || (authority.port().is_none() && authority.as_str().ends_with(':')) {
            return Err(shape());
        }
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().map(str::to_owned),
        })
    }

    /// The path as it is configured, without the query.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Path and query as they are configured.
    pub(crate) fn whole_path(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// An API's path below the one that is configured, unless that is it already.
    ///
    /// # Errors
    /// If the URL has a query, which leaves no room for it.
    pub(crate) fn below(&self, api: &str) -> Result<String, String> {
        if self.query.is_some() {
            return Err("the url has a query; end it before the question mark".to_owned());
        }
        let above = self.path.trim_end_matches('/');
        let above = above.strip_suffix(api).unwrap_or(above);
        Ok(format!("{above}{api}"))
    }
}

fn shape() -> String {
    "the url is none; write it as http://127.0.0.1:9093 or https://name.example/path".to_owned()
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
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_host_is_understood() -> Result<(), String> {
        for (text, tls, host, port, shown) in [
            (
                "http://127.0.0.1:9093",
                false,
                "127.0.0.1",
                9093,
                "127.0.0.1:9093",
            ),
            (
                "http://[2001:db8::1]:81/am/",
                false,
                "2001:db8::1",
                81,
                "[2001:db8::1]:81",
            ),
            ("https://[::1]", true, "::1", 443, "[::1]:443"),
            (
                "https://am.example",
                true,
                "am.example",
                443,
                "am.example:443",
            ),
            (
                "http://am.example/x?token=y",
                false,
                "am.example",
                80,
                "am.example:80",
            ),
        ] {
            let url = Url::parse(text)?;
            assert_eq!(
                (url.is_tls, &*url.host, url.port),
                (tls, host, port),
                "{text}"
            );
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown, "no path, which may be a secret");
        }
        Ok(())
    }

    #[test]
    fn what_is_no_url_is_refused_without_being_repeated() {
        for text in [
            "",
            "am:9093",
            "ftp://am",
            "http://",
            "http://u:secret@am/",
            "http://am:/",
            "/secret",
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
            assert!(
                error.contains("write it as") || error.contains("bearer_file"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_api_lies_below_the_path() -> Result<(), String> {
        for (text, path) in [
            ("http://am:9093", "/api/v2/alerts"),
            ("http://am:9093/", "/api/v2/alerts"),
            ("http://am:9093/am/", "/am/api/v2/alerts"),
            ("http://am:9093/am/api/v2/alerts", "/am/api/v2/alerts"),
            ("http://am:9093/api/v2/alerts/", "/api/v2/alerts"),
        ] {
            assert_eq!(Url::parse(text)?.below("/api/v2/alerts")?, path);
        }
        assert_eq!(Url::parse("http://h/x?y=z")?.whole_path(), "/x?y=z");
        assert!(Url::parse("http://h/x?y=z")?.below("/v1/logs").is_err());
        Ok(())
    }
}
