//! Looks at the kernel's structures through one program.

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::Array,
    programs::{KProbe, kprobe::KProbeLinkId},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use sockpick_ebpf::abi::{ArgLoc, Config, PEEK_BYTES, Peek, maps};

use crate::{
    kernel::features::Registers,
    probes::{
        object::{Abi, LEGACY_OBJECT},
        refusal::{refused_maps, refused_program},
        tracefs,
    },
    processes::in_initial_namespace,
};

const PROGRAM: &str = "peek_k";

/// The program, attached to one function at a time.
pub(super) struct Peeker {
    ebpf: Ebpf,
    registers: Registers,
    attached: Option<Attached>,
    /// Argument that has the structure.
    from: ArgLoc,
    process: u32,
}

/// How the program is attached.
enum Attached {
    Link(KProbeLinkId),
    /// Removed when it is dropped.
    #[expect(dead_code, reason = "kept for its end")]
    Event(tracefs::Event),
}

/// A structure in kernel memory: its address and its beginning.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) address: u64,
    pub(super) bytes: [u8; PEEK_BYTES],
}

impl Peeker {
    pub(super) fn load(registers: &Registers) -> Result<Self> {
        // Before 5.11 maps count against this limit.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .map_max_entries(maps::LISTENERS, 1)
            .load(LEGACY_OBJECT)
            .map_err(|error| refused_maps(&error))?;
        let config = Abi(Config {
            regs_sp: registers.stack_pointer,
            ..Config::default()
        });
        let map = ebpf.map_mut(maps::CONFIG).context("no configuration")?;
        let mut map: Array<_, Abi<Config>> = Array::try_from(map)?;
        map.set(0, config, 0)?;
        let program = program(&mut ebpf)?;
        program
            .load()
            .map_err(|error| refused_program(PROGRAM, &error))?;
        Ok(Self {
            ebpf,
            registers: *registers,
            attached: None,
            from: ArgLoc::NONE,
            process: std::process::id(),
        })
    }

    /// Looks at this argument of this function from now on.
    pub(super) fn attach(&mut self, function: &str, argument: usize) -> Result<()> {
        self.detach()?;
        let place = self.registers.arguments.get(argument);
        self.from = ArgLoc(*place.context("an argument on the stack")?);
        let program = program(&mut self.ebpf)?;
        self.attached = Some(if tracefs::needed() {
            Attached::Event(tracefs::attach(program.fd()?, PROGRAM, false, function)?)
        } else {
            let link = program.attach(function, 0);
            Attached::Link(link.with_context(|| format!("cannot hook {function}"))?)
        });
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        if let Some(Attached::Link(link)) = self.attached.take() {
            program(&mut self.ebpf)?.detach(link)?;
        }
        Ok(())
    }

    /// What the argument points to when `call` has this process call the function.
    pub(super) fn look(&mut self, call: impl FnOnce() -> Result<()>) -> Result<Seen> {
        self.peek(0, None, call)
    }

    /// What is at an address, when `call` has this process call the function.
    pub(super) fn look_at(
        &mut self,
        address: u64,
        call: impl FnOnce() -> Result<()>,
    ) -> Result<Seen> {
        self.peek(address, None, call)
    }

    /// What the argument points to in the call, by whomever, that has a value in the lower
    /// half of another argument.
    pub(super) fn look_for(
        &mut self,
        only: (usize, u16),
        call: impl FnOnce() -> Result<()>,
    ) -> Result<Seen> {
        self.peek(0, Some(only), call)
    }

    fn peek(
        &mut self,
        address: u64,
        only: Option<(usize, u16)>,
        call: impl FnOnce() -> Result<()>,
    ) -> Result<Seen> {
        let place = only.and_then(|(argument, _)| self.registers.arguments.get(argument));
        let question = Peek {
            process: if only.is_some() { 0 } else { self.process },
            armed: 1,
            from: self.from,
            only: place.map_or(ArgLoc::NONE, |&place| ArgLoc(place)),
            value: only.map_or(0, |(_, value)| value.into()),
            address,
            seen: 0,
            bytes: [0; PEEK_BYTES / 8],
        };
        self.state()?.set(0, Abi(question), 0)?;
        call()?;
        let Abi(answer) = self.state()?.get(&0, 0)?;
        if answer.armed != 0 {
            if question.process != 0 && !in_initial_namespace() {
                bail!(
                    "they cannot be measured from inside a container, where this process has \
                     another number than the kernel tells; run it in the host's pid namespace"
                );
            }
            bail!("the hooked function was not called");
        }
        Ok(Seen {
            address: answer.seen,
            bytes: bytemuck::cast(answer.bytes),
        })
    }

    fn state(&mut self) -> Result<Array<&mut aya::maps::MapData, Abi<Peek>>> {
        let map = self.ebpf.map_mut(maps::PEEK).context("no map to look by")?;
        Ok(Array::try_from(map)?)
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut KProbe> {
    let program = ebpf.program_mut(PROGRAM);
    Ok(program
        .with_context(|| format!("no program {PROGRAM} in the object"))?
        .try_into()?)
}
