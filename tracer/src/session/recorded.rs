//! A recording that goes along with a session: how it begins.

use std::{fs, path::Path};

use anyhow::Result;

use crate::{
    clock::{monotonic_ns, wall_offset_ns},
    event::Backend,
    host::{answers::Listeners, noted::Notes},
    kernel::preflight,
    listeners::Inventory,
    namespaces,
    pipeline::{assess::Assessor, enrich::Enricher},
    recording::{Header, recorder::Recorder},
    settings::values::Rotation,
};

/// A recording that goes along with the session.
pub struct Recording {
    /// Writes it.
    pub recorder: Recorder,
    /// What was answered since the last input.
    pub notes: Notes,
    /// How a part of it begins, but for time and listeners.
    pub header: Header,
}

impl Recording {
    /// Begins one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(crate) fn begin(path: &Path, rotation: Option<Rotation>, header: Header) -> Result<Self> {
        let notes = Notes::default();
        let recorder = Recorder::begin(path, header.clone(), notes.clone(), rotation)?;
        Ok(Self {
            recorder,
            notes,
            header: Header {
                listeners: Listeners::default(),
                ..header
            },
        })
    }
}

/// What a recording begins with. `watched`: the filters, in words.
pub(crate) fn header(
    watched: String,
    assessor: &Assessor,
    backend: Backend,
    inventory: &Inventory,
) -> Header {
    let read = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().to_owned()
    };
    Header {
        sockpick: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: preflight::release(),
        host: (
            read("/proc/sys/kernel/hostname"),
            read("/proc/sys/kernel/random/boot_id"),
        ),
        began: Enricher::wall_ns(monotonic_ns(), wall_offset_ns()),
        algorithm: assessor.algorithm(),
        backend,
        netns: namespaces::own().unwrap_or(0),
        filters: watched,
        listeners: inventory.into(),
    }
}
