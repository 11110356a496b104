//! Answers with owners as they are written down. What containers are called stands beside the
//! owners, in answers of a kind of their own: so recordings from before it was told read as ever.

use std::sync::Arc;

use super::{
    Then,
    answers::{Named, Owner, Value, Whose},
};
use crate::event::{self, Pod};

impl Named {
    fn all(owners: &[event::Owner]) -> Vec<Self> {
        let named = (0..).zip(owners);
        let named = named.filter(|(_, one)| one.container_name.is_some() || one.pod.is_some());
        named
            .map(|(owner, one)| {
                let pod = one.pod.clone().unwrap_or_default();
                Self {
                    owner,
                    container: one.container_name.clone(),
                    namespace: pod.namespace,
                    pod: pod.name,
                    uid: pod.uid,
                }
            })
            .collect()
    }

    fn give(self, owners: &mut [event::Owner]) {
        let Some(owner) = owners.get_mut(self.owner as usize) else {
            return;
        };
        owner.container_name = self.container;
        let pod = Pod {
            namespace: self.namespace,
            name: self.pod,
            uid: self.uid,
        };
        owner.pod = Some(pod).filter(|pod| *pod != Pod::default());
    }
}

impl From<&Then> for Value {
    fn from(then: &Then) -> Self {
        let whose = Whose::from(then);
        match Named::all(&then.owners) {
            none if none.is_empty() => Self::Whose(whose),
            named => Self::WhoseNamed(Box::new((whose, named))),
        }
    }
}

impl From<&[event::Owner]> for Value {
    fn from(owners: &[event::Owner]) -> Self {
        let all = owners.iter().map(Owner::from).collect();
        match Named::all(owners) {
            none if none.is_empty() => Self::Owners(all),
            named => Self::OwnersNamed(Box::new((all, named))),
        }
    }
}

impl Value {
    /// Whose a listener was, if that is what it says.
    pub(super) fn into_then(self) -> Option<Then> {
        let (whose, named) = match self {
            Self::Whose(whose) => (whose, Vec::new()),
            Self::WhoseNamed(both) => *both,
            _ => return None,
        };
        let mut then = Then::from(whose);
        if !named.is_empty() {
            then.owners = with(then.owners.to_vec(), named);
        }
        Some(then)
    }

    /// Who holds a listener, if that is what it says.
    pub(super) fn into_owners(self) -> Option<Arc<[event::Owner]>> {
        let (owners, named) = match self {
            Self::Owners(owners) => (owners, Vec::new()),
            Self::OwnersNamed(both) => *both,
            _ => return None,
        };
        let owners = owners.into_iter().map(event::Owner::from);
        Some(with(owners.collect(), named))
    }
}

fn with(mut owners: Vec<event::Owner>, named: Vec<Named>) -> Arc<[event::Owner]> {
    for one in named {
        one.give(&mut owners);
    }
    owners.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(pid: u32, name: Option<&str>, pod: Option<Pod>) -> event::Owner {
        event::Owner {
            pid,
            container: Some("0123".to_owned()),
            container_name: name.map(ToOwned::to_owned),
            pod,
            ..event::Owner::default()
        }
    }

    #[test]
    fn names_of_containers_come_back_with_their_owners() {
        let pod = Pod {
            namespace: Some("shop".to_owned()),
            name: Some("web-1".to_owned()),
            uid: None,
        };
        let plain: Arc<[event::Owner]> = [owner(1, None, None)].into();
        let named: Arc<[event::Owner]> = [
            owner(1, None, None),
            owner(2, Some("web"), Some(pod)),
            owner(3, Some("db"), None),
        ]
        .into();
        for owners in [plain, named] {
            let value = Value::from(&*owners);
            assert_eq!(value.clone().into_then(), None);
            assert_eq!(value.into_owners(), Some(owners.clone()));
            let then = Then {
                owners,
                ..Then::default()
            };
            assert_eq!(Value::from(&then).into_then(), Some(then));
        }
    }

    #[test]
    fn an_answer_without_names_is_what_it_always_was() {
        let owners = [owner(1, None, None)];
        assert!(matches!(Value::from(&owners[..]), Value::Owners(_)));
    }

    #[test]
    fn a_name_of_nobody_is_passed_over() {
        let named = Named {
            owner: 7,
            container: Some("web".to_owned()),
            namespace: None,
            pod: None,
            uid: None,
        };
        let owners = vec![Owner::from(&owner(1, None, None))];
        let value = Value::OwnersNamed(Box::new((owners, vec![named])));
        let told = value.into_owners().expect("owners");
        assert_eq!(told[0].container_name, None);
    }
}
