//! The public event: what a consumer of sockpick sees. Documented, field by field,
//! in `docs/events.md`; schema version 1 changes by addition only.

mod alike;
mod handover;
mod health;
mod item;
mod listener;
mod syn;
mod time;
mod words;

pub use handover::{Handover, Why};
pub use health::{GroupAddress, GroupHealth, MemberHealth};
pub use item::{Item, Lost, Stage};
pub use listener::{Family, Listener, ListenerId, Owner, Pod, Process, Queue, Reuseport, counting};
pub use syn::{
    Backend, Endpoint, Event, Expected, Match, Netns, Other, Program, Reason, SCHEMA, Verdict, Via,
};
pub use time::Time;
