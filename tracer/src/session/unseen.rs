//! Why a filter by port or destination may have let nothing through.

use crate::{
    namespaces,
    netfilter::{self, About, Rules},
    probes::filters::Filters,
};

/// What rules of netfilter may have done with the SYNs that the filter is for, in the
/// namespaces it names, or in this process's.
pub(crate) fn notes(filter: &Filters) -> Vec<String> {
    if filter.ports.is_empty() && filter.destinations.is_empty() {
        return Vec::new();
    }
    let about = About {
        ports: filter.ports.clone(),
        destinations: filter.destinations.clone(),
    };
    let own = namespaces::own();
    let filtered = filter.namespaces.clone();
    let wanted = filtered.unwrap_or_else(|| own.into_iter().collect());
    let mut notes = Vec::new();
    for inode in wanted {
        let Some(found) = namespaces::find(inode) else {
            continue;
        };
        let Ok(rules) = namespaces::within(&found.path, inode, || Ok(Rules::here())) else {
            continue;
        };
        let place = match found.name {
            _ if Some(inode) == own => String::new(),
            Some(name) => format!("in netns {name}, "),
            None => format!("in netns {inode}, "),
        };
        let told = netfilter::told(&rules.about(&about));
        notes.extend(told.into_iter().map(|told| format!("{place}{told}")));
    }
    if !notes.is_empty() {
        notes.push(
            "--port and --dst see the destination that a SYN is looked up with: where rules \
             change it, filter by what it becomes"
                .to_owned(),
        );
    }
    notes
}
