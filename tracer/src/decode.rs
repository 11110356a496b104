//! Bytes from the ring buffer to records, checked. The only place that reads bytes.
#![forbid(unsafe_code)]

use sockpick_ebpf::abi::{HandoverRecord, ListenerRecord, SynRecord, kind};

/// A record as the kernel wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Record {
    /// A SYN.
    Syn(SynRecord),
    /// A listener appeared.
    Listen(ListenerRecord),
    /// A listener went.
    Close(ListenerRecord),
    /// A connection came to a listener after its SYN.
    Handover(HandoverRecord),
}

impl Record {
    /// `CLOCK_MONOTONIC` ns at which it was written.
    #[must_use]
    pub fn ktime_ns(&self) -> u64 {
        match self {
            Self::Syn(record) => record.ktime_ns,
            Self::Listen(record) | Self::Close(record) => record.ktime_ns,
            Self::Handover(record) => record.ktime_ns,
        }
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer bytes than the kind of record needs, or more.
    Length(usize),
    /// A kind that this version does not know.
    Kind(u32),
}

/// Bytes of a record of this kind.
#[must_use]
pub fn length(kind: u32) -> Option<usize> {
    match kind {
        kind::SYN => Some(size_of::<SynRecord>()),
        kind::LISTEN | kind::CLOSE => Some(size_of::<ListenerRecord>()),
        kind::HANDOVER => Some(size_of::<HandoverRecord>()),
        _ => None,
    }
}

/// Reads one record.
///
/// # Errors
/// If the bytes are not exactly one record of a known kind.
pub fn record(bytes: &[u8]) -> Result<Record, Malformed> {
    let length = Malformed::Length(bytes.len());
    let kind = bytes
        .first_chunk()
        .map(|&kind| u32::from_ne_bytes(kind))
        .ok_or(length)?;
    match kind {
        kind::SYN => {
            // Nearly all are that, and lie aligned in the buffer: they are copied once.
            if let Ok(record) = bytemuck::try_from_bytes(bytes) {
                return Ok(Record::Syn(*record));
            }
            bytemuck::try_pod_read_unaligned(bytes).map(Record::Syn)
        }
        kind::LISTEN => bytemuck::try_pod_read_unaligned(bytes).map(Record::Listen),
        kind::CLOSE => bytemuck::try_pod_read_unaligned(bytes).map(Record::Close),
        kind::HANDOVER => bytemuck::try_pod_read_unaligned(bytes).map(Record::Handover),
        other => return Err(Malformed::Kind(other)),
    }
    .map_err(|_| length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_journey() {
        let syn = SynRecord {
            kind: kind::SYN,
            client_port_be: 80_u16.to_be(),
            ..SynRecord::default()
        };
        assert_eq!(record(bytemuck::bytes_of(&syn)), Ok(Record::Syn(syn)));
        let close = ListenerRecord {
            kind: kind::CLOSE,
            ..ListenerRecord::default()
        };
        assert_eq!(record(bytemuck::bytes_of(&close)), Ok(Record::Close(close)));
    }

    #[test]
    fn short_long_and_unknown_records_are_refused() {
        let syn = SynRecord {
            kind: kind::SYN,
            ..SynRecord::default()
        };
        let bytes = bytemuck::bytes_of(&syn);
        for length in [0, 3, 4, bytes.len() - 1] {
            assert_eq!(record(&bytes[..length]), Err(Malformed::Length(length)));
        }
        let mut long = bytes.to_vec();
        long.push(0);
        assert_eq!(record(&long), Err(Malformed::Length(long.len())));
        assert_eq!(record(&99_u32.to_ne_bytes()), Err(Malformed::Kind(99)));
    }
}
