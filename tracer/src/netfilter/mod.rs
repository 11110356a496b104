//! Rules of this thread's network namespace that change a SYN's destination or give it to a
//! listener before any is looked up: `nftables`, which `iptables` writes too nowadays, and
//! the tables of legacy `iptables`. Nothing is changed, and no module is loaded for it.

#[cfg(test)]
mod bad_input;
mod legacy;
mod nft;
mod rule;

use std::{fs, io, sync::OnceLock};

use crate::{kernel::symbols, words::count};

pub use rule::{About, Action, Rule};

/// Most rules that are told one by one.
const MOST_TOLD: usize = 3;

/// Rules, as far as they could be read.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Those that translate or steer.
    pub rules: Vec<Rule>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}

impl Rules {
    /// Those of this thread's namespace. Reading them needs `CAP_NET_ADMIN` in it.
    #[must_use]
    pub fn here() -> Self {
        let mut found = Self::default();
        if nft_is_there() {
            match nft::rules() {
                Ok(rules) => found.rules.extend(rules),
                Err(error) => found.unread.push(unread("nftables", &error)),
            }
        }
        match legacy::rules() {
            Ok(rules) => found.rules.extend(rules),
            Err(error) => found.unread.push(unread("iptables", &error)),
        }
        found
    }

    /// Those that may concern such a SYN, those that name its port first.
    #[must_use]
    pub fn about(&self, about: &About) -> Vec<(&Rule, bool)> {
        let concerning = |rule| Some((rule, Rule::concerns(rule, about)?));
        let mut found: Vec<(&Rule, bool)> = self.rules.iter().filter_map(concerning).collect();
        found.sort_by_key(|&(_, named)| !named);
        found
    }
}

/// Rules that [`Rules::about`] found, in words: each that names the port, and all others in
/// one sentence.
#[must_use]
pub fn told(found: &[(&Rule, bool)]) -> Vec<String> {
    let by_port = found.iter().take_while(|&&(_, named)| named).count();
    let (named, others) = found.split_at(by_port);
    let mut told: Vec<String> = named
        .iter()
        .take(MOST_TOLD)
        .map(|(rule, _)| format!("{} has a rule for this port: {}", rule.place, rule.told()))
        .collect();
    if let Some(more) = named.len().checked_sub(MOST_TOLD).filter(|&more| more > 0) {
        told.push(format!(
            "and {} for this port",
            count(more as u64, "more rule")
        ));
    }
    let mut places: Vec<String> = others
        .iter()
        .map(|(rule, _)| format!("{} ({})", rule.place, rule.told()))
        .collect();
    places.dedup();
    if places.is_empty() {
        return told;
    }
    let more = places.len().saturating_sub(MOST_TOLD);
    places.truncate(MOST_TOLD);
    if more > 0 {
        places.push(format!("{more} more"));
    }
    told.push(format!(
        "rules that may concern it, though none names the port: {}",
        places.join(", ")
    ));
    told
}

fn unread(what: &str, error: &io::Error) -> String {
    if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)) {
        format!("the rules of {what} cannot be read without root (CAP_NET_ADMIN)")
    } else {
        format!("the rules of {what} cannot be read: {error}")
    }
}

/// Whether the kernel has nftables now: a question to it would load the module.
fn nft_is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
        modules.lines().any(|line| line.starts_with("nf_tables ")) || is_built_in()
    })
}

fn is_built_in() -> bool {
    symbols::find(&["nf_tables_getchain"]).is_ok_and(|found| !found.is_empty())
}
