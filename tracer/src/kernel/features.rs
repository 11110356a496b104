//! What the probes could attach to on this kernel.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{is_map_supported, is_program_supported},
};

use super::{btf::Btf, symbols};

/// Where the kernel shows its own type information (`CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// The perf unit for kprobes (4.17).
pub const KPROBE_PMU: &str = "/sys/bus/event_source/devices/kprobe/type";
/// Where tracefs may be.
pub const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// A kernel function that might be hooked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its symbol, with the suffix a compiler may have given it (`.isra.0`).
    pub symbol: Option<String>,
    /// Names of its parameters, from the running kernel's type information.
    pub parameters: Option<Vec<String>>,
}

impl Function {
    /// Whether the symbol is the function as written in the source.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.symbol.as_ref().is_some_and(|name| !name.contains('.'))
    }
}

/// Offsets into `struct pt_regs`, for reading arguments at a kprobe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Those of the integer argument registers, in order.
    pub arguments: [u16; 6],
    /// That of the stack pointer.
    pub stack_pointer: u16,
    /// That of the result.
    pub result: u16,
}

impl Registers {
    /// As the ABI with user space has them (arch/x86/include/uapi/asm/ptrace.h).
    pub const X86_64: Self = Self {
        arguments: [112, 104, 96, 88, 72, 64],
        stack_pointer: 152,
        result: 80,
    };
}

/// Parameters of the hooked functions where no type information tells them: as they are in
/// 4.14, 4.19, 5.4 and 5.10 (`net/ipv4/inet_hashtables.c`, `net/ipv6/inet6_hashtables.c`,
/// `net/ipv4/tcp_input.c`, `net/ipv4/inet_connection_sock.c`). The self-check proves them.
fn usual_parameters(function: &str) -> Option<Vec<String>> {
    let names: &[&str] = match function {
        "__inet_lookup_listener" | "inet6_lookup_listener" => &[
            "net", "hashinfo", "skb", "doff", "saddr", "sport", "daddr", "hnum", "dif", "sdif",
        ],
        "tcp_conn_request" => &["rsk_ops", "af_ops", "sk", "skb"],
        "inet_csk_listen_start" => &["sk", "backlog"],
        "inet_csk_listen_stop" | "reuseport_stop_listen_sock" | "reuseport_detach_sock" => &["sk"],
        "inet_csk_accept" => &["sk", "flags", "err", "kern"],
        "tcp_get_cookie_sock" => &["sk", "skb", "req", "dst", "tsoff"],
        // From 5.14.
        "reuseport_migrate_sock" => &["sk", "migrating_sk", "skb"],
        "bpf_run_sk_reuseport" => &["reuse", "sk", "prog", "skb", "hash"],
        _ => return None,
    };
    Some(names.iter().map(|&name| name.to_owned()).collect())
}

/// Where the kernel keeps, for each CPU, whether it skips kprobe programs there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Address of `__per_cpu_offset`: where each CPU's variables are.
    pub per_cpu_offset: u64,
    /// Place of `bpf_prog_active` among them: not 0 while a BPF program of a kprobe or tracepoint,
    /// or a system call on a map, is under way (`kernel/trace/bpf_trace.c`).
    pub prog_active: u64,
    /// Place of `current_kprobe`: not null while a kprobe's handler is
    /// (`arch/x86/kernel/kprobes/core.c`).
    pub current_kprobe: u64,
}

/// What the tracepoint `skb:kfree_skb` tells of the socket that a packet was for, at which place
/// among its arguments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receiver {
    /// Nothing.
    #[default]
    Unknown,
    /// Whether there was none, by the reason for which it is dropped (5.17).
    Reason {
        /// Place of the reason.
        place: usize,
        /// The reason that says so.
        no_socket: u32,
    },
    /// Which it is (6.11, ba8de796baf4).
    Socket {
        /// Its place.
        place: usize,
    },
}

impl Receiver {
    /// Names to be kept of type information that is asked for it.
    pub const NAMES: [&'static str; 2] = [Self::CALLER, Self::REASONS];
    /// Calls what is attached to the tracepoint, with the arguments that this gets behind one of
    /// its own.
    const CALLER: &'static str = "__traceiter_kfree_skb";
    const REASONS: &'static str = "skb_drop_reason";

    fn of(btf: &Btf) -> Result<Self> {
        let parameters = btf.parameters(Self::CALLER)?.unwrap_or_default();
        let place = |name| {
            let at = parameters.iter().position(|parameter| parameter == name)?;
            at.checked_sub(1)
        };
        if let Some(place) = place("rx_sk") {
            return Ok(Self::Socket { place });
        }
        let no_socket = btf.enumerator(Self::REASONS, "SKB_DROP_REASON_NO_SOCKET")?;
        Ok(match (place("reason"), no_socket) {
            (Some(place), Some(no_socket)) => Self::Reason { place, no_socket },
            _ => Self::Unknown,
        })
    }
}

/// What a plan of attachment is made from: plain data, so that plans for every
/// kernel can be tested anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a thing of its own that a kernel has or lacks"
)]
pub struct Features {
    /// Functions by the name they have in the source.
    pub functions: BTreeMap<&'static str, Function>,
    /// Register places, where kprobes are possible.
    pub registers: Registers,
    /// Whether kprobes can be made at all.
    pub kprobes: bool,
    /// Whether the kernel has type information of its own, which fentry needs.
    pub kernel_btf: bool,
    /// Whether it knows no `sk_lookup` programs (before 5.9): nothing steers a lookup there.
    pub without_sk_lookup: bool,
    /// Whether it knows no `SK_REUSEPORT` programs (before 4.19).
    pub without_sk_reuseport: bool,
    /// Whether it has ring buffers (5.8), and all else that the usual programs need.
    pub ring_buffer: bool,
    /// Whether each function that its type information names is taken to be there under that
    /// name, all others not to be there, and [`Features::busy`] is not known: nobody read the
    /// symbols yet ([`Features::read_symbols`]).
    pub symbols_assumed: bool,
    /// `None` where the kernel does not tell its addresses.
    pub busy: Option<Busy>,
    /// What is told of a packet that is dropped, as the kernel's own type information has it.
    pub receiver: Receiver,
    /// Most arguments a function may have for fentry; found by trying.
    pub fentry_max_args: Option<usize>,
    /// Functions that refused fentry when tried, and why.
    pub fentry_refused: BTreeMap<&'static str, String>,
    /// Functions that refused a kprobe when tried, and why.
    pub kprobe_refused: BTreeMap<&'static str, String>,
}

impl Features {
    /// Looks at the running kernel. `own` is its own type information, `given` that of a file.
    /// Where there is `own`, symbols are assumed: reading them takes longer than all else here.
    ///
    /// # Errors
    /// If `/proc/kallsyms` cannot be read, or the type information is inconsistent.
    pub fn of_running_kernel(
        names: &[&'static str],
        own: Option<&Btf>,
        given: Option<&Btf>,
    ) -> Result<Self> {
        let btf = own.or(given);
        let mut features = Self {
            kprobes: kprobes_possible(),
            kernel_btf: Path::new(KERNEL_BTF).exists(),
            without_sk_lookup: lacks(ProgramType::SkLookup),
            without_sk_reuseport: lacks(ProgramType::SkReuseport),
            ring_buffer: is_map_supported(MapType::RingBuf).unwrap_or(false),
            registers: btf.map_or(Ok(Registers::X86_64), registers)?,
            symbols_assumed: own.is_some(),
            receiver: own.map_or(Ok(Receiver::Unknown), Receiver::of)?,
            ..Self::default()
        };
        for &name in names {
            let parameters = match btf {
                Some(btf) => btf.parameters(name)?,
                None => usual_parameters(name),
            };
            let symbol = parameters.as_ref().map(|_| name.to_owned());
            let function = Function { symbol, parameters };
            features.functions.insert(name, function);
        }
        if !features.symbols_assumed {
            features.read_symbols()?;
        }
        Ok(features)
    }

    /// Learns from `/proc/kallsyms` what the functions' symbols are and where [`Busy`] is.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read_symbols(&mut self) -> Result<()> {
        let names: Vec<&str> = self.functions.keys().copied().chain(BUSY).collect();
        let symbols = symbols::find(&names)?;
        for (&name, function) in &mut self.functions {
            function.symbol = symbols.get(name).map(|symbol| symbol.name.clone());
        }
        let address = |name| Some(symbols.get(name)?.address).filter(|&address| address != 0);
        if let [
            Some(per_cpu_offset),
            Some(prog_active),
            Some(current_kprobe),
        ] = BUSY.map(address)
        {
            self.busy = Some(Busy {
                per_cpu_offset,
                prog_active,
                current_kprobe,
            });
        }
        self.symbols_assumed = false;
        Ok(())
    }

    /// The function of that name, or an absent one.
    #[must_use]
    pub fn function(&self, name: &str) -> Function {
        self.functions.get(name).cloned().unwrap_or_default()
    }
}

/// Whether the kernel surely does not know a type of program.
fn lacks(kind: ProgramType) -> bool {
    matches!(is_program_supported(kind), Ok(false))
}

/// Whether the kernel takes kprobes: through the perf unit, or through tracefs.
#[must_use]
pub fn kprobes_possible() -> bool {
    Path::new(KPROBE_PMU).exists()
        || TRACEFS
            .iter()
            .any(|dir| Path::new(dir).join("kprobe_events").exists())
}

fn registers(btf: &Btf) -> Result<Registers> {
    let at = |name| -> Result<u16> { Ok(u16::try_from(btf.member("pt_regs", name)?.offset)?) };
    Ok(Registers {
        arguments: [
            at("di")?,
            at("si")?,
            at("dx")?,
            at("cx")?,
            at("r8")?,
            at("r9")?,
        ],
        stack_pointer: at("sp")?,
        result: at("ax")?,
    })
}

/// The symbols of [`Busy`].
const BUSY: [&str; 3] = ["__per_cpu_offset", "bpf_prog_active", "current_kprobe"];
