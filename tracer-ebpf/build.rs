//! Tells the compiler which architecture's `pt_regs` the programs are for.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    aya_build::emit_bpf_target_arch_cfg()?;
    Ok(())
}
