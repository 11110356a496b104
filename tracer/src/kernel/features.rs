//! What the probes could attach to on this kernel.

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{is_map_supported, is_program_supported},
};

use super::btf::Btf;

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
        "inet_unhash" => &["sk"],
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
    /// `None` where the kernel does not tell its addresses.
    pub busy: Option<Busy>,
    /// Most arguments a function may have for fentry; found by trying.
    pub fentry_max_args: Option<usize>,
    /// Functions that refused fentry when tried, and why.
    pub fentry_refused: BTreeMap<&'static str, String>,
    /// Functions that refused a kprobe when tried, and why.
    pub kprobe_refused: BTreeMap<&'static str, String>,
}

impl Features {
    /// Looks at the running kernel. `btf` is its own type information.
    ///
    /// # Errors
    /// If `/proc/kallsyms` cannot be read, or the type information is inconsistent.
    pub fn of_running_kernel(names: &[&'static str], btf: Option<&Btf>) -> Result<Self> {
        let mut features = Self {
            kprobes: kprobes_possible(),
            kernel_btf: Path::new(KERNEL_BTF).exists(),
            without_sk_lookup: lacks(ProgramType::SkLookup),
            without_sk_reuseport: lacks(ProgramType::SkReuseport),
            ring_buffer: is_map_supported(MapType::RingBuf).unwrap_or(false),
            ..Self::default()
        };
        let wanted: Vec<&str> = names.iter().copied().chain(BUSY).collect();
        let symbols = symbols(&wanted)?;
        let address = |name| Some(symbols.get(name)?.address).filter(|&address| address != 0);
        if let [
            Some(per_cpu_offset),
            Some(prog_active),
            Some(current_kprobe),
        ] = BUSY.map(address)
        {
            features.busy = Some(Busy {
                per_cpu_offset,
                prog_active,
                current_kprobe,
            });
        }
        for &name in names {
            let parameters = match btf {
                Some(btf) => btf.parameters(name)?,
                None => usual_parameters(name),
            };
            features.functions.insert(
                name,
                Function {
                    symbol: symbols.get(name).map(|symbol| symbol.name.clone()),
                    parameters,
                },
            );
        }
        features.registers = match btf {
            Some(btf) => registers(btf)?,
            None => Registers::X86_64,
        };
        Ok(features)
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

/// A symbol of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Symbol {
    name: String,
    /// 0 where the kernel does not tell it.
    address: u64,
}

/// The named symbols: as they are, or, of functions, as the compiler renamed them.
fn symbols(names: &[&str]) -> Result<BTreeMap<String, Symbol>> {
    let path = "/proc/kallsyms";
    let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
    symbols_in(BufReader::with_capacity(1 << 16, file), names)
        .with_context(|| format!("cannot read {path}"))
}

fn symbols_in(
    mut lines: impl std::io::BufRead,
    names: &[&str],
) -> Result<BTreeMap<String, Symbol>> {
    let mut found: BTreeMap<String, Symbol> = BTreeMap::new();
    let mut line = Vec::new();
    while {
        line.clear();
        lines.read_until(b'\n', &mut line)?
    } > 0
    {
        // "address type name [module]": the name begins at a fixed column.
        let Some(rest) = line.get(19..) else { continue };
        let end = rest
            .iter()
            .position(u8::is_ascii_whitespace)
            .unwrap_or(rest.len());
        let symbol = &rest[..end];
        let base_end = symbol.iter().position(|&byte| byte == b'.').unwrap_or(end);
        let base = &symbol[..base_end];
        let Some(name) = names.iter().find(|name| name.as_bytes() == base) else {
            continue;
        };
        // A `.cold` or `.part` symbol is a piece of the function, not the function.
        let whole = base_end == end
            || symbol[base_end..].starts_with(b".isra.")
            || symbol[base_end..].starts_with(b".constprop.");
        let better = found
            .get(*name)
            .is_none_or(|known| known.name.contains('.'));
        if whole && better {
            let address = str::from_utf8(&line[..16]).ok();
            let address = address.and_then(|text| u64::from_str_radix(text, 16).ok());
            let symbol = Symbol {
                name: String::from_utf8_lossy(symbol).into_owned(),
                address: address.unwrap_or(0),
            };
            found.insert((*name).into(), symbol);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_plain_and_renamed_symbols_but_not_pieces() -> Result<()> {
        let text = "000000000001f8a0 A bpf_prog_active\n\
                    ffffffff84771eb0 t inet_lhash2_lookup.isra.0\n\
                    ffffffff84772600 T __inet_lookup_listener\n\
                    ffffffff848a4145 t tcp_conn_request.cold\n\
                    ffffffffc0000000 t inet_unhash\t[some_module]\n";
        let names = [
            "inet_lhash2_lookup",
            "__inet_lookup_listener",
            "tcp_conn_request",
            "inet_unhash",
            "bpf_prog_active",
        ];
        let found = symbols_in(text.as_bytes(), &names)?;
        let called = |name: &str| found[name].name.as_str();
        assert_eq!(called("inet_lhash2_lookup"), "inet_lhash2_lookup.isra.0");
        assert_eq!(called("__inet_lookup_listener"), "__inet_lookup_listener");
        assert_eq!(called("inet_unhash"), "inet_unhash");
        assert_eq!(found["bpf_prog_active"].address, 0x1f8a0);
        assert_eq!(found["inet_unhash"].address, 0xffff_ffff_c000_0000);
        assert!(!found.contains_key("tcp_conn_request"));
        Ok(())
    }
}
