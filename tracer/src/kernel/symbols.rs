//! The kernel's table of symbols, `/proc/kallsyms`. It has some 200,000 lines, which the kernel
//! writes anew for every reader: it is read only where nothing else tells.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
};

use anyhow::{Context as _, Result};

/// A symbol of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// With the suffix a compiler may have given it (`.isra.0`).
    pub name: String,
    /// 0 where the kernel does not tell it.
    pub address: u64,
}

impl Symbol {
    /// Whether the compiler left its name as it is in the source.
    fn is_plain(&self) -> bool {
        !self.name.contains('.')
    }
}

/// The named symbols, of the kernel and its modules: as they are, or, of functions, as the
/// compiler renamed them. Reading ends when all were found as they are.
///
/// # Errors
/// If `/proc/kallsyms` cannot be read.
pub fn find(names: &[&str]) -> Result<BTreeMap<String, Symbol>> {
    let path = "/proc/kallsyms";
    let file = File::open(path).with_context(|| format!("cannot read {path}"))?;
    symbols_in(BufReader::with_capacity(1 << 16, file), names)
        .with_context(|| format!("cannot read {path}"))
}

fn symbols_in(mut lines: impl BufRead, names: &[&str]) -> Result<BTreeMap<String, Symbol>> {
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
        let better = found.get(*name).is_none_or(|known| !known.is_plain());
        if whole && better {
            let address = str::from_utf8(&line[..16]).ok();
            let address = address.and_then(|text| u64::from_str_radix(text, 16).ok());
            let symbol = Symbol {
                name: String::from_utf8_lossy(symbol).into_owned(),
                address: address.unwrap_or(0),
            };
            found.insert((*name).into(), symbol);
            if found.len() == names.len() && found.values().all(Symbol::is_plain) {
                break;
            }
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

    #[test]
    fn reading_ends_when_all_are_found_under_their_own_names() -> Result<()> {
        let mut text: &[u8] = b"ffffffff84771eb0 t inet_unhash.isra.0\n\
                                ffffffff84771ec0 T inet_unhash\n\
                                ffffffff84772600 T __inet_lookup_listener\n";
        let found = symbols_in(&mut text, &["inet_unhash"])?;
        assert_eq!(found["inet_unhash"].name, "inet_unhash");
        assert!(
            text.ends_with(b"T __inet_lookup_listener\n"),
            "all was read"
        );
        Ok(())
    }
}
