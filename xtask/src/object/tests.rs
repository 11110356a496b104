//! Each rule against an object that breaks it, and an object that breaks none.

mod builder;

use object::write::{Object, StandardSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolKind};
use proptest::prelude::*;

use super::insn::CALL;
use super::{Rule, check};
use builder::{Builder, HASH, Line, code};

const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const ADD: u8 = 0x07;
const WIDE: u8 = 0x18;
const STORE: u8 = 0x7b;
const LOAD: u8 = 0x79;
const RETURN_0: [Line; 2] = [(MOVE, 0, 0, 0, 0), (0x95, 0, 0, 0, 0)];

fn builder() -> Builder {
    Builder::new(b"Dual MIT/GPL\0")
}

/// What is said of a program, without its last two instructions.
fn of_program(lines: &[Line]) -> Vec<Rule> {
    let mut builder = builder();
    let lines = [lines, &RETURN_0].concat();
    builder.program("kprobe", &lines, &[]);
    builder.rules()
}

/// Looks a key on the stack up, and adds to the value found.
fn good() -> Builder {
    let mut builder = builder();
    let mut lines = vec![
        (MOVE, 1, 0, 0, 7),
        (STORE, 10, 1, -512, 0),
        (MOVE_REGISTER, 2, 10, 0, 0),
        (ADD, 2, 0, 0, -512),
        (WIDE, 1, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (CALL, 0, 0, 0, 1),
        // Past the addition if there is none.
        (0x15, 0, 0, 2, 0),
        (MOVE, 1, 0, 0, 1),
        (0xdb, 0, 1, 0, 0),
    ];
    lines.extend(RETURN_0);
    let hash = builder.map("LISTENERS", HASH);
    builder.program("kretprobe/inet_csk_accept", &lines, &[(4, hash)]);
    builder.map("EVENTS", [4, 4, 4, 0, 0, 0, 0]);
    builder.map("FILTER", [11, 8, 4, 16, 1, 0, 0]);
    builder.section(
        "version",
        SectionKind::ReadOnlyData,
        &0xffff_fffe_u32.to_le_bytes(),
    );
    builder
}

#[test]
fn a_good_object_passes() {
    assert_eq!(check(&good().bytes()).expect("an object"), []);
}

#[test]
fn a_violation_says_where_and_what_to_do() {
    let mut builder = builder();
    let lines = [&[(CALL, 0, 0, 0, 131)], &RETURN_0[..]].concat();
    builder.program("kprobe", &lines, &[]);
    let said = check(&builder.bytes()).expect("an object")[0].to_string();
    assert_eq!(
        said,
        "kprobe probe, instruction 0: a call of helper 131 (Helper); use a helper that kprobe \
         programs have in 4.14"
    );
}

#[test]
fn licenses_and_versions() {
    for (license, expected) in [
        (&b"GPL\0"[..], vec![]),
        (b"MIT\0", vec![Rule::License]),
        (b"GPL", vec![Rule::License]),
        (b"", vec![Rule::License]),
    ] {
        let mut builder = Builder::new(license);
        builder.program("kprobe", &RETURN_0, &[]);
        assert_eq!(builder.rules(), expected, "{}", license.escape_ascii());
    }
    for version in [&0x0004_0e43_u32.to_le_bytes()[..], b"any"] {
        let mut builder = builder();
        builder.program("kprobe", &RETURN_0, &[]);
        builder.section("version", SectionKind::ReadOnlyData, version);
        assert_eq!(builder.rules(), [Rule::Version]);
    }
}

#[test]
fn kinds_of_programs() {
    for section in ["fexit", "raw_tp", "classifier", "kprobes"] {
        let mut builder = builder();
        builder.program(section, &RETURN_0, &[]);
        assert_eq!(builder.rules(), [Rule::ProgramType], "{section}");
    }
}

#[test]
fn global_data() {
    for (section, kind) in [
        (".rodata", SectionKind::ReadOnlyData),
        (".data", SectionKind::Data),
        (".rodata.cst32", SectionKind::ReadOnlyData),
    ] {
        let mut builder = builder();
        builder.program("kprobe", &RETURN_0, &[]);
        builder.section(section, kind, &[1; 8]);
        assert_eq!(builder.rules(), [Rule::Data], "{section}");
    }
    let mut bss = builder();
    bss.program("kprobe", &RETURN_0, &[]);
    let section = bss.object.section_id(StandardSection::UninitializedData);
    bss.object.append_section_bss(section, 8, 8);
    assert_eq!(bss.rules(), [Rule::Data]);
    // Named once for the section, and once where it is used.
    let mut used = builder();
    let section = used.section(".rodata", SectionKind::ReadOnlyData, &[1; 8]);
    let symbol = used.symbol("CONFIG", SymbolKind::Data, (section, 0), 8);
    let lines = [&[(WIDE, 1, 0, 0, 0), (0, 0, 0, 0, 0)], &RETURN_0[..]].concat();
    used.program("kprobe", &lines, &[(0, symbol)]);
    assert_eq!(used.rules(), [Rule::Data, Rule::Data]);
}

#[test]
fn maps() {
    for (fields, rule) in [
        // A ring buffer, a queue, nothing at all.
        ([27, 0, 0, 4096, 0, 0, 0], Rule::MapType),
        ([22, 0, 4, 16, 0, 0, 0], Rule::MapType),
        ([0; 7], Rule::MapType),
        // Read-only for programs (5.2), an array that may be mapped (5.5).
        ([1, 4, 4, 16, 1 << 7, 0, 0], Rule::MapFlags),
        ([2, 4, 4, 16, 1 << 10, 0, 0], Rule::MapFlags),
        // An LRU hash is allocated beforehand, a trie is not.
        ([9, 4, 4, 16, 1, 0, 0], Rule::MapFlags),
        ([11, 8, 4, 16, 0, 0, 0], Rule::MapFlags),
    ] {
        let mut builder = builder();
        builder.program("kprobe", &RETURN_0, &[]);
        builder.map("OTHER", fields);
        assert_eq!(builder.rules(), [rule], "{fields:?}");
    }
    let mut btf = builder();
    btf.program("kprobe", &RETURN_0, &[]);
    btf.section(".maps", SectionKind::Data, &[0; 32]);
    assert_eq!(btf.rules(), [Rule::BtfMaps]);
}

#[test]
fn instructions() {
    for (name, line) in [
        ("if w1 == 1", (0x16, 1, 0, 0, 1)),
        ("atomic or", (STORE | 0xc0, 10, 1, -8, 0x40)),
        ("atomic add that fetches", (STORE | 0xc0, 10, 1, -8, 1)),
        ("atomic add of 16 bits", (0xcb, 10, 1, -8, 0)),
        ("move with sign extension", (MOVE_REGISTER, 1, 1, 8, 0)),
        ("load with sign extension", (0x81, 1, 10, -8, 0)),
        ("unconditional swap", (0xd7, 1, 0, 0, 16)),
        ("signed division", (0x37, 1, 0, 1, 2)),
        ("32-bit arithmetic shift", (0xc4, 1, 0, 0, 2)),
        ("load from a packet", (0x20, 0, 0, 0, 0)),
        ("far jump", (0x06, 0, 0, 0, 0)),
        ("may_goto", (0xe5, 0, 0, 0, 0)),
        ("call by register", (0x8d, 0, 0, 0, 3)),
    ] {
        assert_eq!(of_program(&[line]), [Rule::InstructionSet], "{name}");
    }
    // Signed and unsigned "less" are new in 4.14.
    assert_eq!(of_program(&[(0xa5, 1, 0, 0, 1), (0xc5, 1, 0, 0, 1)]), []);
}

#[test]
fn calls() {
    assert_eq!(of_program(&[(CALL, 0, 0, 0, 113)]), [Rule::Helper]);
    assert_eq!(of_program(&[(CALL, 0, 1, 0, 0)]), [Rule::Call]);
    assert_eq!(of_program(&[(CALL, 0, 2, 0, 77)]), [Rule::Kfunc]);
    let mut builder = builder();
    let text = builder.section(".text", SectionKind::Text, &code(&RETURN_0));
    let memset = builder.symbol("memset", SymbolKind::Text, (text, 0), 16);
    let lines = [
        &[(CALL, 0, 1, 0, -1), (WIDE, 1, 0, 0, 0), (0, 0, 0, 0, 0)],
        &RETURN_0[..],
    ]
    .concat();
    builder.program("kprobe", &lines, &[(0, memset), (1, memset)]);
    assert_eq!(builder.rules(), [Rule::Call, Rule::Call]);
}

#[test]
fn constants_that_are_more() {
    for source in 1..=6 {
        let lines = [(WIDE, 1, source, 0, 0), (0, 0, 0, 0, 0)];
        assert_eq!(of_program(&lines), [Rule::Pointer], "{source}");
    }
}

#[test]
fn ways_through_a_program() {
    let back = (0x15, 1, 0, -1, 0);
    assert_eq!(of_program(&[back]), [Rule::Loop]);
    assert_eq!(
        of_program(&[(0x05, 0, 0, 1, 0), (MOVE, 1, 0, 0, 0)]),
        [Rule::Unreachable]
    );
    assert_eq!(of_program(&[(0x15, 1, 0, 99, 0)]), [Rule::Jump]);
    assert_eq!(of_program(&[(0x15, 1, 0, -2, 0)]), [Rule::Jump]);
    // Into the second half of a constant.
    let lines = [(0x15, 1, 0, 1, 0), (WIDE, 1, 0, 0, 0), (0, 0, 0, 0, 0)];
    assert_eq!(of_program(&lines), [Rule::Jump]);
    let mut endless = builder();
    endless.program("kprobe", &RETURN_0[..1], &[]);
    assert_eq!(endless.rules(), [Rule::Jump]);
}

#[test]
fn length() {
    let lines = |count: usize| vec![(MOVE, 1, 0, 0, 0); count];
    assert_eq!(of_program(&lines(4094)), []);
    assert_eq!(of_program(&lines(4095)), [Rule::Length]);
}

#[test]
fn stack() {
    assert_eq!(of_program(&[(STORE, 10, 1, -520, 0)]), [Rule::Stack]);
    // Through a copy of the pointer, by whichever way it is lower.
    let lines = [
        (MOVE_REGISTER, 2, 10, 0, 0),
        (0x15, 1, 0, 1, 0),
        (ADD, 2, 0, 0, -256),
        (LOAD, 3, 2, -264, 0),
    ];
    assert_eq!(of_program(&lines), [Rule::Stack]);
    let lines = [(MOVE_REGISTER, 2, 10, 0, 0), (ADD, 2, 0, 0, -513)];
    assert_eq!(of_program(&lines), [Rule::Stack]);
    // A pointer to something else reaches as far as it likes.
    assert_eq!(of_program(&[(LOAD, 3, 1, -520, 0)]), []);
}

#[test]
fn what_maps_are_given() {
    let given = |key: Line, value: Line, helper| {
        of_program(&[
            (MOVE_REGISTER, 6, 0, 0, 0),
            key,
            value,
            (CALL, 0, 0, 0, helper),
        ])
    };
    let frame = |register| (MOVE_REGISTER, register, 10, 0, 0);
    let found = |register| (MOVE_REGISTER, register, 6, 0, 0);
    // Put aside in the frame: it may be anything.
    let kept = |register| (LOAD, register, 10, -8, 0);
    assert_eq!(given(frame(2), frame(3), 2), []);
    assert_eq!(given(kept(2), kept(3), 2), []);
    assert_eq!(given(frame(2), found(3), 2), [Rule::MapArgument]);
    for helper in 1..=3 {
        assert_eq!(given(found(2), frame(3), helper), [Rule::MapArgument]);
    }
    assert_eq!(given(found(2), found(3), 4), []);
}

#[test]
fn other_files_are_refused() {
    assert!(check(b"").is_err());
    assert!(check(&[0; 4096]).is_err());
    let mut host = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    host.add_section(Vec::new(), b"kprobe".to_vec(), SectionKind::Text);
    assert!(check(&host.write().expect("an object")).is_err());
    assert!(check(&builder().bytes()).is_err(), "no program");
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = check(&bytes);
    }

    #[test]
    fn nor_is_a_damaged_object(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = good().bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        let _ = check(&bytes);
    }

    #[test]
    fn nor_is_any_code(lines in prop::collection::vec(
        (any::<u8>(), 0..16_u8, 0..16_u8, -40..40_i16, any::<i32>()), 1..40,
    )) {
        let mut builder = builder();
        builder.program("kprobe", &lines, &[]);
        let _ = builder.rules();
    }
}

/// Looks a key up; what is put aside on the way without an entry is `aside`, a store.
fn put_aside(aside: Line) -> Vec<Rule> {
    let mut builder = builder();
    let mut lines = vec![
        (MOVE, 1, 0, 0, 7),
        (STORE, 10, 1, -8, 0),
        (MOVE_REGISTER, 2, 10, 0, 0),
        (ADD, 2, 0, 0, -8),
        (WIDE, 1, 0, 0, 0),
        (0, 0, 0, 0, 0),
        (CALL, 0, 0, 0, 1),
        (MOVE, 1, 0, 0, 0),
        // Without an entry, to the other store.
        (0x15, 0, 0, 2, 0),
        (STORE, 10, 0, -16, 0),
        (0x05, 0, 0, 1, 0),
        aside,
        (CALL, 0, 0, 0, 5),
        (LOAD, 1, 10, -16, 0),
        (0x15, 1, 0, 1, 0),
        (LOAD, 2, 1, 0, 0),
    ];
    lines.extend(RETURN_0);
    let hash = builder.map("LISTENERS", HASH);
    builder.program("kprobe", &lines, &[(4, hash)]);
    builder.rules()
}

#[test]
fn an_optional_pointer_that_is_put_aside_is_refused() {
    assert_eq!(put_aside((STORE, 10, 1, -16, 0)), [Rule::Spill]);
    assert_eq!(
        put_aside((STORE, 10, 10, -16, 0)),
        [],
        "a pointer on every path"
    );
}
