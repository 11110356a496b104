//! A server that is spoken to by HTTP, as it is written. What is told of what is wrong with it has
//! no value in it that may be a secret.

use std::path::PathBuf;

use super::number;
use crate::settings::{feed::HttpTarget, url::Url};

/// The keys beside its address.
#[derive(Clone, Copy, Debug)]
pub(in crate::settings) struct Access<'a> {
    pub(in crate::settings) ca_file: Option<&'a str>,
    pub(in crate::settings) bearer_file: Option<&'a str>,
    pub(in crate::settings) timeout: Option<&'a str>,
}

impl Access<'_> {
    /// # Errors
    /// The key, and what is wrong with it. `example`: an address, if there is none.
    pub(in crate::settings) fn one(
        &self,
        url: Option<&str>,
        example: &str,
    ) -> Result<HttpTarget, String> {
        let url = url.ok_or_else(|| format!("it needs url = \"{example}\""))?;
        let url = key("url", Url::parse(url))?;
        self.is_ca_of_use([&url])?;
        self.target(url)
    }

    /// Several.
    ///
    /// # Errors
    /// The key, and what is wrong with it.
    pub(in crate::settings) fn each(&self, urls: Vec<Url>) -> Result<Vec<HttpTarget>, String> {
        self.is_ca_of_use(&urls)?;
        urls.into_iter().map(|url| self.target(url)).collect()
    }

    /// A key that does nothing hides what its writer believes.
    fn is_ca_of_use<'a>(&self, urls: impl IntoIterator<Item = &'a Url>) -> Result<(), String> {
        if self.ca_file.is_none() || urls.into_iter().any(|url| url.is_tls) {
            return Ok(());
        }
        Err("ca_file: it is for https://, and no address is one; leave it out".to_owned())
    }

    fn target(&self, url: Url) -> Result<HttpTarget, String> {
        Ok(HttpTarget {
            url,
            ca_file: path("ca_file", self.ca_file)?,
            bearer_file: path("bearer_file", self.bearer_file)?,
            timeout: match self.timeout {
                Some(text) => key("timeout", number::time(text, &HttpTarget::TIMEOUT))?,
                None => HttpTarget::USUAL_TIMEOUT,
            },
        })
    }
}

pub(in crate::settings) fn key<T>(name: &str, checked: Result<T, String>) -> Result<T, String> {
    checked.map_err(|wrong| format!("{name}: {wrong}"))
}

pub(in crate::settings) fn path(name: &str, text: Option<&str>) -> Result<Option<PathBuf>, String> {
    text.map(|text| key(name, number::path(text))).transpose()
}
