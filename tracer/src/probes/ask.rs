//! Asks the kernel's own listener lookup, by a test run of a program that is attached
//! nowhere: no packet is sent.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, MapType},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
    sys::is_map_supported,
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use sockpick_ebpf::abi::{Ask, Config, Listener, Offsets, asked, group_prog, maps};

use super::{
    object::{Abi, OBJECT},
    refusal::{brief, is_permission, refused_maps, refused_program},
    steering,
};
use crate::{
    event::{Queue, Via},
    failure::Failure,
};

const PROGRAM: &str = "ask_lookup";
/// Offset of `ifindex` in `struct __sk_buff`, and where it ends.
const IFINDEX: usize = 40;
const CONTEXT: usize = IFINDEX + 4;
/// Room for an Ethernet, an IPv6 and a TCP header: newer kernels refuse a test run on less
/// than the header that the packet claims to have. Their content is not looked at.
const PACKET: [u8; 128] = [0; 128];
/// A loaded program that answers questions. Dropping it unloads it.
pub struct Asker {
    ebpf: Ebpf,
}

/// What the kernel found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No listener: the client would get a reset.
    Nothing,
    /// A connection with the very addresses and ports, not a listener.
    Connection,
    /// This one.
    Listener(Box<Found>),
}

/// A listener that the kernel found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The listener.
    pub listener: Listener,
    /// Its accept queue.
    pub queue: Queue,
    /// Its reuseport group, if it is in one.
    pub group: Option<Group>,
}

/// A reuseport group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// How many members it has.
    pub size: u16,
    /// Index of the one that the hash of the question chose; `None` past the members
    /// searched.
    pub member: Option<u16>,
    /// What chooses among them when a packet comes: the hash, or a program, which the
    /// lookup without a packet passes over.
    pub via: Via,
    /// The program, unless it is a classic filter.
    pub program_id: Option<u32>,
}

impl Asker {
    /// Loads the program, and no other. Needs Linux 5.9 (an interface for a test run), root
    /// or the capabilities for BPF, tracing and network administration, and a kernel that
    /// is not locked down in confidentiality mode.
    ///
    /// # Errors
    /// If the kernel refuses it: a [`Failure`] that says why.
    pub fn load(offsets: &Offsets) -> Result<Self> {
        // The older of the two, and the one that shows without a try on a packet.
        if matches!(is_map_supported(MapType::RingBuf), Ok(false)) {
            return Err(Failure::environment(
                "this kernel cannot be asked: a test run of a program takes an interface from \
                 Linux 5.9 on, and this kernel has not even what came with 5.8",
            )
            .into());
        }
        // Before 5.11 maps count against this limit, which is small by default; a
        // failure shows when the maps are made.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let config = Abi(Config {
            off: *offsets,
            ..Config::default()
        });
        let mut ebpf = EbpfLoader::new()
            .override_global("CONFIG", &config, true)
            .map_max_entries(maps::LISTENERS, 1)
            .map_max_entries("AYA_LOGS", 4096)
            .load(OBJECT)
            .map_err(|error| refused_maps(&error))?;
        let program: &mut SchedClassifier = ebpf
            .program_mut(PROGRAM)
            .with_context(|| format!("no program {PROGRAM} in the object"))?
            .try_into()?;
        program.load().map_err(|error| {
            if is_permission(&error) {
                return refused_program(PROGRAM, &error);
            }
            let why = brief(&error);
            Failure::environment(format!("the kernel refuses sockpick's program: {why}")).into()
        })?;
        Ok(Self { ebpf })
    }

    /// Looks up the listener for a SYN in the network namespace of this thread. Addresses
    /// must be of one family. `ifindex` is the interface it comes through; the kernel takes
    /// no VRF into account here.
    ///
    /// # Errors
    /// If the interface is gone, or the kernel refuses the test run.
    pub fn ask(
        &mut self,
        client: SocketAddr,
        destination: SocketAddr,
        ifindex: u32,
    ) -> Result<Answer> {
        self.state()?
            .set(0, Abi(question(client, destination)), 0)
            .context("cannot put the question")?;
        let program: &SchedClassifier = self
            .ebpf
            .program(PROGRAM)
            .with_context(|| format!("no program {PROGRAM} in the object"))?
            .try_into()?;
        let mut context = [0; CONTEXT];
        context[IFINDEX..].copy_from_slice(&ifindex.to_ne_bytes());
        program
            .test_run(TestRunOptions {
                data_in: Some(&PACKET),
                ctx_in: Some(&context),
                ..TestRunOptions::default()
            })
            .map_err(|error| {
                anyhow::anyhow!("the kernel refuses the test run: {}", brief(&error))
            })?;
        let Abi(answer) = self.state()?.get(&0, 0).context("cannot read the answer")?;
        read(&answer)
    }

    fn state(&mut self) -> Result<Array<&mut aya::maps::MapData, Abi<Ask>>> {
        let map = self
            .ebpf
            .map_mut(maps::ASK)
            .with_context(|| format!("no map {} in the object", maps::ASK))?;
        Ok(Array::try_from(map)?)
    }
}

/// As `struct bpf_sock_tuple` has it.
fn question(client: SocketAddr, destination: SocketAddr) -> Ask {
    let mut words = [0_u32; 9];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
    let mut at = 0;
    let mut put = |some: &[u8]| {
        bytes[at..at + some.len()].copy_from_slice(some);
        at += some.len();
    };
    for end in [client, destination] {
        match end.ip() {
            IpAddr::V4(address) => put(&address.octets()),
            IpAddr::V6(address) => put(&address.octets()),
        }
    }
    for end in [client, destination] {
        put(&end.port().to_be_bytes());
    }
    let family = if destination.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    Ask {
        tuple: words,
        family: family.cast_unsigned(),
        ..Ask::default()
    }
}

fn read(answer: &Ask) -> Result<Answer> {
    match answer.status {
        asked::NOTHING => Ok(Answer::Nothing),
        asked::CONNECTION => Ok(Answer::Connection),
        asked::LISTENER => Ok(Answer::Listener(Box::new(Found {
            listener: answer.listener,
            queue: Queue {
                length: answer.queue_len,
                limit: answer.queue_limit,
            },
            group: group(answer),
        }))),
        _ => Err(anyhow::anyhow!("the program gave no answer")),
    }
}

fn group(answer: &Ask) -> Option<Group> {
    let kind = u8::try_from(answer.group_prog).unwrap_or(group_prog::EBPF);
    (answer.group_size != 0).then(|| Group {
        size: answer.group_size,
        member: (answer.member != u16::MAX).then_some(answer.member),
        via: match kind {
            group_prog::NONE => Via::ReuseportHash,
            group_prog::CLASSIC => Via::ReuseportCbpf,
            _ => Via::ReuseportBpf,
        },
        program_id: (answer.prog_id != 0).then_some(answer.prog_id),
    })
}

/// Ids of the `sk_lookup` programs attached to the network namespace of this thread, in the
/// order they run. `None` if the kernel does not tell: before 5.9, which has none of them,
/// or without the privilege.
#[must_use]
pub fn sk_lookup_programs() -> Option<Vec<u32>> {
    let netns = File::open("/proc/thread-self/ns/net").ok()?;
    steering::sk_lookup_ids(&netns).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_laid_out_as_the_kernel_reads_it() -> Result<()> {
        let ask = question("1.2.3.4:258".parse()?, "6.6.6.6:80".parse()?);
        let bytes: &[u8] = bytemuck::cast_slice(&ask.tuple);
        assert_eq!(bytes[..12], [1, 2, 3, 4, 6, 6, 6, 6, 1, 2, 0, 80]);
        let ask = question("[::1]:258".parse()?, "[2001:db8::6]:80".parse()?);
        let bytes: &[u8] = bytemuck::cast_slice(&ask.tuple);
        assert_eq!((bytes[15], bytes[16], bytes[31]), (1, 0x20, 6));
        assert_eq!(bytes[32..], [1, 2, 0, 80]);
        Ok(())
    }
}
