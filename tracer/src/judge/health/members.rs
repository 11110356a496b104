//! The members of a group, by inode number. Nearly every listener is alone in its group, and there
//! may be thousands: a table for one takes four times what the one does.

use crate::judge::make_room;

/// In order of the inode numbers.
#[derive(Debug, Default)]
pub(super) struct Members<M>(Vec<(u64, M)>);

impl<M> Members<M> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, inode: u64) -> bool {
        self.place(inode).is_ok()
    }

    pub(super) fn get_mut(&mut self, inode: u64) -> Option<&mut M> {
        let place = self.place(inode).ok()?;
        Some(&mut self.0[place].1)
    }

    /// In the place of the one with this number, if there is one.
    pub(super) fn insert(&mut self, inode: u64, member: M) {
        match self.place(inode) {
            Ok(place) => self.0[place].1 = member,
            Err(place) => {
                make_room(&mut self.0);
                self.0.insert(place, (inode, member));
            }
        }
    }

    pub(super) fn remove(&mut self, inode: u64) -> Option<M> {
        let place = self.place(inode).ok()?;
        Some(self.0.remove(place).1)
    }

    pub(super) fn retain(&mut self, keep: impl Fn(u64) -> bool) {
        self.0.retain(|&(inode, _)| keep(inode));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &M)> {
        self.0.iter().map(|(inode, member)| (*inode, member))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut M> {
        self.0.iter_mut().map(|(_, member)| member)
    }

    fn place(&self, inode: u64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&inode, |&(inode, _)| inode)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    use super::*;

    proptest! {
        #[test]
        fn they_are_found_by_number(steps in prop::collection::vec((0..8_u64, any::<u64>(), 0..4), 0..40)) {
            let mut members = Members::<u64>::default();
            let mut wanted = BTreeMap::new();
            for (inode, member, what) in steps {
                match what {
                    0 => {
                        prop_assert_eq!(members.remove(inode), wanted.remove(&inode));
                    }
                    1 => {
                        members.retain(|other| other != inode);
                        wanted.remove(&inode);
                    }
                    _ => {
                        members.insert(inode, member);
                        wanted.insert(inode, member);
                    }
                }
                prop_assert_eq!(members.contains(inode), wanted.contains_key(&inode));
                prop_assert_eq!(members.len(), wanted.len());
                prop_assert_eq!(members.is_empty(), wanted.is_empty());
                let found = members.get_mut(inode).copied();
                prop_assert_eq!(found, wanted.get(&inode).copied());
            }
            let all: Vec<(u64, u64)> = members.iter().map(|(inode, member)| (inode, *member)).collect();
            prop_assert_eq!(all, wanted.into_iter().collect::<Vec<_>>());
        }
    }
}
