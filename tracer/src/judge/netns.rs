//! Which network namespace is meant. Pure: the machine is asked elsewhere.

use std::fmt;

use crate::event::Netns;

/// Where `ip netns` keeps its names; the second is the first on most systems.
const NAMED: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

/// A network namespace, as a user names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NetnsName {
    /// By the name that `ip netns` has for it: whichever has that name at the time.
    Name(String),
    /// By its inode number.
    Inode(u32),
    /// By a file that stands for it: a path.
    Path(String),
    /// By a process that is in it.
    Pid(u32),
}

impl NetnsName {
    /// What a user wrote.
    ///
    /// # Errors
    /// If it has none of the forms, in words for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} names no network namespace; write it as a name of ip netns list, an \
                 inode number, a path, or pid:N, such as pid:1"
            )
        };
        if text.is_empty() {
            return Err(wrong());
        }
        if let Ok(inode) = text.parse() {
            return Ok(Self::Inode(inode));
        }
        if let Some(pid) = text.strip_prefix("pid:") {
            return pid.parse().map(Self::Pid).map_err(|_| wrong());
        }
        let named = NAMED.iter().find_map(|place| text.strip_prefix(place));
        Ok(match named.unwrap_or(text) {
            "" => return Err(wrong()),
            name if name.contains('/') => Self::Path(text.to_owned()),
            name => Self::Name(name.to_owned()),
        })
    }

    /// Whether it is this one. Of a path and of a process only the machine knows which they
    /// mean.
    #[must_use]
    pub fn means(&self, netns: &Netns) -> bool {
        match self {
            Self::Name(name) => netns.name.as_ref() == Some(name),
            Self::Inode(inode) => netns.inode == *inode,
            Self::Path(_) | Self::Pid(_) => false,
        }
    }
}

impl fmt::Display for NetnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::Path(text) => f.write_str(text),
            Self::Inode(inode) => write!(f, "{inode}"),
            Self::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_from_the_others() {
        let name = |text: &str| Ok(NetnsName::Name(text.to_owned()));
        for (text, expected) in [
            ("web", name("web")),
            ("/run/netns/web", name("web")),
            ("/var/run/netns/web", name("web")),
            ("4026531840", Ok(NetnsName::Inode(4_026_531_840))),
            ("pid:1", Ok(NetnsName::Pid(1))),
            (
                "/proc/1/ns/net",
                Ok(NetnsName::Path("/proc/1/ns/net".into())),
            ),
        ] {
            assert_eq!(NetnsName::parse(text), expected, "{text}");
        }
        for wrong in ["", "pid:", "pid:x", "/run/netns/"] {
            let said = NetnsName::parse(wrong).expect_err(wrong);
            assert!(said.contains("write it as"), "{said}");
        }
    }

    #[test]
    fn a_name_means_whichever_has_it() {
        let netns = |inode, name: Option<&str>| Netns {
            inode,
            cookie: None,
            name: name.map(ToOwned::to_owned),
        };
        let web = NetnsName::Name("web".into());
        assert!(web.means(&netns(7, Some("web"))));
        assert!(web.means(&netns(8, Some("web"))), "the same name again");
        assert!(!web.means(&netns(7, Some("db"))));
        assert!(!web.means(&netns(7, None)));
        assert!(NetnsName::Inode(7).means(&netns(7, Some("web"))));
        assert!(!NetnsName::Inode(7).means(&netns(8, Some("web"))));
    }
}
