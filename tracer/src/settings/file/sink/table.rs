//! One `[[sink]]` as it is written, but for where it sends. All is checked here and not while it is read, so that what is
//! told of it is chosen: a value may be a secret in the wrong place.

use crate::settings::{
    file::{
        number,
        target::{key, path},
    },
    sink::{SinkSettings, SpoolSettings, kind::SinkTable},
};

impl SinkTable {
    /// # Errors
    /// The key, and what is wrong with it.
    pub(super) fn checked(self, name: String) -> Result<SinkSettings, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=SinkSettings::LONGEST_NAME).contains(&name.len()) || !name.chars().all(is_plain) {
            return Err(format!(
                "a name has 1 to {} letters, digits and -_. of ASCII; write it as pager-2",
                SinkSettings::LONGEST_NAME
            ));
        }
        let queue = match self.queue {
            Some(queue) => key("queue", number::whole(queue, &SinkSettings::QUEUE))?,
            None => SinkSettings::USUAL_QUEUE,
        };
        let spool = self.spool()?;
        let to = self.to()?;
        Ok(SinkSettings {
            name,
            queue,
            spool,
            to,
        })
    }

    fn spool(&self) -> Result<Option<SpoolSettings>, String> {
        let Some(path) = path("spool", self.spool.as_deref())? else {
            return match (&self.spool_size, &self.spool_age) {
                (None, None) => Ok(None),
                (Some(_), _) => Err(without_spool("spool_size")),
                (None, Some(_)) => Err(without_spool("spool_age")),
            };
        };
        Ok(Some(SpoolSettings {
            path,
            bytes: match self.spool_size.as_deref() {
                Some(text) => key("spool_size", number::size(text, &SpoolSettings::BYTES, ""))?,
                None => SpoolSettings::USUAL_BYTES,
            },
            age: match self.spool_age.as_deref() {
                Some(text) => key("spool_age", number::time(text, &SpoolSettings::AGE))?,
                None => SpoolSettings::USUAL_AGE,
            },
        }))
    }
}

/// A key that does nothing hides what its writer believes.
fn without_spool(name: &str) -> String {
    format!(
        "{name}: it is for a spool, and none is named; add spool = \
         \"/var/lib/sockpick/NAME.spool\", or leave it out"
    )
}
