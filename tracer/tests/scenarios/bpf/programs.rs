//! The programs themselves.

use anyhow::Result;

use super::asm::Reg::{Fp, R0, R1, R2, R3, R4, R5, R6, R7};
use super::asm::Size::{B, Dw, H, W};
use super::asm::{Asm, Reg};
use super::{Kind, Program, SocketMap};

// Helpers, by number (linux/bpf.h).
const MAP_LOOKUP_ELEM: i32 = 1;
const SK_SELECT_REUSEPORT: i32 = 82;
const SK_RELEASE: i32 = 86;
const SKC_LOOKUP_TCP: i32 = 99;
const SK_ASSIGN: i32 = 124;

/// `SK_PASS`
const PASS: i32 = 1;
/// `SK_DROP`
const DROP: i32 = 0;

/// Which member [`choose_by_port`] and [`classic_by_port`] name for a client port.
pub(crate) fn member_by_port(client_port: u16, members: usize) -> usize {
    usize::from(client_port) % members
}

/// `SK_REUSEPORT`: the member named by the client's port; its index in the map is counted
/// from the end, so that neither the hash nor the kernel's order gives the same.
pub(crate) fn choose_by_port(map: &SocketMap, members: usize) -> Result<Program> {
    let members = i32::try_from(members)?;
    let mut code = Asm::default();
    code.mov(R6, R1)
        // struct sk_reuseport_md: data, data_end; data is the TCP header.
        .load(Dw, R2, R6, 0)
        .load(Dw, R3, R6, 8)
        .mov(R4, R2)
        .add(R4, 2)
        .jump_gt(R4, R3, "out")
        // The TCP header starts with the source port.
        .load(H, R2, R2, 0)
        .be16(R2)
        .modulo(R2, members)
        .set(R3, members - 1)
        .sub(R3, R2)
        .store(W, Fp, -4, R3)
        // bpf_sk_select_reuseport(ctx, map, &key, 0)
        .mov(R1, R6)
        .load_map(R2, map.descriptor())
        .mov(R3, Fp)
        .add(R3, -4)
        .set(R4, 0)
        .call(SK_SELECT_REUSEPORT)
        .place("out")
        .exit_with(PASS);
    Program::load(Kind::SkReuseport, &code.finish()?)
}

/// `SK_REUSEPORT`: names nobody, so the kernel falls back to the hash.
pub(crate) fn choose_nobody() -> Result<Program> {
    Program::load(Kind::SkReuseport, &Asm::default().exit_with(PASS).finish()?)
}

/// `SK_REUSEPORT`: turns away clients whose port is odd, and names nobody for the others.
pub(crate) fn drop_odd() -> Result<Program> {
    let mut code = Asm::default();
    // struct sk_reuseport_md: data, data_end; data is the TCP header.
    code.load(Dw, R2, R1, 0)
        .load(Dw, R3, R1, 8)
        .mov(R4, R2)
        .add(R4, 2)
        .jump_gt(R4, R3, "out")
        .load(H, R2, R2, 0)
        .be16(R2)
        .and(R2, 1)
        .jump_eq(R2, 0, "out")
        .exit_with(DROP)
        .place("out")
        .exit_with(PASS);
    Program::load(Kind::SkReuseport, &code.finish()?)
}

/// Classic: the member named by the client's port, in the kernel's order. For IPv4 only.
pub(crate) fn classic_by_port(members: usize) -> Result<Vec<libc::sock_filter>> {
    let statement = |code: u32, k: u32| -> Result<libc::sock_filter> {
        Ok(libc::sock_filter {
            code: u16::try_from(code)?,
            jt: 0,
            jf: 0,
            k,
        })
    };
    Ok(vec![
        // A = source port: 20 bytes into the packet, seen from the IP header.
        statement(
            libc::BPF_LD | libc::BPF_H | libc::BPF_ABS,
            libc::SKF_NET_OFF.cast_unsigned() + 20,
        )?,
        // A %= members
        statement(
            libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K,
            u32::try_from(members)?,
        )?,
        // return A
        statement(libc::BPF_RET | libc::BPF_A, 0)?,
    ])
}

/// `sk_lookup`: connections to `steered` go to the socket in the map, those to `dropped`
/// nowhere; all others are left alone.
pub(crate) fn steer(map: &SocketMap, steered: u16, dropped: u16) -> Result<Program> {
    let mut code = Asm::default();
    code.mov(R6, R1)
        // struct bpf_sk_lookup: local_port, in host order.
        .load(W, R2, R6, 60)
        .jump_eq(R2, i32::from(dropped), "drop")
        .jump_ne(R2, i32::from(steered), "out")
        // sk = map[0]
        .store_constant(W, Fp, -4, 0)
        .load_map(R1, map.descriptor())
        .mov(R2, Fp)
        .add(R2, -4)
        .call(MAP_LOOKUP_ELEM)
        .jump_eq(R0, 0, "out")
        .mov(R7, R0);
    assign_and_release(&mut code);
    code.place("out")
        .exit_with(PASS)
        .place("drop")
        .exit_with(DROP);
    Program::load(Kind::SkLookup, &code.finish()?)
}

/// tc: puts the listener of 127.0.0.1:`listener` on IPv4 SYNs for port `steered`.
pub(crate) fn assign(steered: u16, listener: u16) -> Result<Program> {
    /// Ethernet, IPv4 without options, TCP.
    const TCP: i16 = 14 + 20;
    let mut code = Asm::default();
    code.mov(R6, R1)
        // struct __sk_buff: data, data_end.
        .load(W, R2, R6, 76)
        .load(W, R3, R6, 80)
        .mov(R4, R2)
        .add(R4, i32::from(TCP) + 20)
        .jump_gt(R4, R3, "out")
        // IPv4 and TCP
        .load(H, R4, R2, 12)
        .be16(R4)
        .jump_ne(R4, 0x0800, "out")
        .load(B, R4, R2, 14 + 9)
        .jump_ne(R4, 6, "out")
        .load(H, R4, R2, TCP + 2)
        .be16(R4)
        .jump_ne(R4, i32::from(steered), "out")
        // SYN and not ACK
        .load(B, R4, R2, TCP + 13)
        .and(R4, 0x12)
        .jump_ne(R4, 0x02, "out");
    // struct bpf_sock_tuple: from the client to 127.0.0.1:listener.
    code.load(W, R4, R2, 14 + 12)
        .store(W, Fp, -12, R4)
        .store_constant(W, Fp, -8, i32::from_ne_bytes([127, 0, 0, 1]))
        .load(H, R4, R2, TCP)
        .store(H, Fp, -4, R4)
        .store_constant(H, Fp, -2, i32::from(listener.to_be()))
        // bpf_skc_lookup_tcp(ctx, tuple, size, this namespace, 0)
        .mov(R1, R6)
        .mov(R2, Fp)
        .add(R2, -12)
        .set(R3, 12)
        .set(R4, -1)
        .set(R5, 0)
        .call(SKC_LOOKUP_TCP)
        .jump_eq(R0, 0, "out")
        .mov(R7, R0);
    assign_and_release(&mut code);
    // TC_ACT_OK
    code.place("out").exit_with(0);
    Program::load(Kind::SchedCls, &code.finish()?)
}

/// `bpf_sk_assign(ctx in R6, socket in R7, 0)`, and lets go of the socket.
fn assign_and_release(code: &mut Asm) {
    const CONTEXT: Reg = R6;
    const SOCKET: Reg = R7;
    code.mov(R1, CONTEXT)
        .mov(R2, SOCKET)
        .set(R3, 0)
        .call(SK_ASSIGN)
        .mov(R1, SOCKET)
        .call(SK_RELEASE);
}

/// At a kernel function: does nothing for a long while.
pub(crate) fn slow() -> Result<Program> {
    const STEPS: usize = 100_000;
    let mut code = Asm::default();
    code.set(R6, 0);
    for _ in 0..STEPS {
        code.add(R6, 1);
    }
    Program::load(Kind::Kprobe, &code.exit_with(0).finish()?)
}
