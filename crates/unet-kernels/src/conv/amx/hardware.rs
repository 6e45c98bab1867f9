//! The tile product in AMX instructions, and the question whether they may be used. Linux on x86-64.
//!
//! Tile registers: tmm0 … tmm3 are C, two tiles down by two across; tmm4, tmm5 are A, tmm6, tmm7 are B. All are 16 rows of 64
//! bytes. `tileloadd tmm, [base + index]` takes rows of 64 bytes from `base`, `index` bytes apart. The configuration is loaded at
//! the start of each call and released at its end, so no state outlives it and context switches stay cheap.

use std::arch::asm;
use std::sync::OnceLock;

use half::bf16;

use super::{COLS, DEPTH, Multiply, ROWS, STEP};

/// The operand of LDTILECFG (Intel SDM, "TILECFG"): byte 0 palette, byte 1 the row to restart at, bytes 16–31 the bytes of a row
/// of each of the eight tiles (16 bits each), bytes 48–55 their rows; all else zero.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

static CONFIG: TileConfig = TileConfig({
    let mut bytes = [0u8; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    bytes
});

/// What the assembly reads from memory rather than from registers; the offsets in it are written into the assembly.
#[repr(C)]
struct Call {
    /// +0: moves down the rows of C.
    c: *mut f32,
    /// +8: bytes from one row of C to the next.
    c_row: usize,
    /// +16: blocks of 32 rows that are left.
    blocks: usize,
    /// +24
    offsets: *const usize,
    /// +32: behind the last offset.
    offsets_end: *const usize,
    /// +40
    b: *const bf16,
    /// +48: 0 or 1.
    add: usize,
    /// +56
    config: *const TileConfig,
}

/// The whole product in one block: rows of C by 32, then K, all of it in tile registers. `$two` are the lines for the second
/// panel of B, empty where there is one.
macro_rules! product {
    ($call:ident, $p:ident, load_c: [$($load:literal)*], b: [$($b:literal)*], upper: [$($up:literal)*], lower: [$($low:literal)*], store_upper: [$($su:literal)*], store_lower: [$($sl:literal)*]) => {
        asm!(
            "mov {t}, [{call} + 56]",
            "ldtilecfg [{t}]",
            "2:", // 32 rows of C
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "cmp qword ptr [{call} + 48], 0",
            "je 3f",
            "mov {t}, [{call}]",
            "mov {k}, [{call} + 8]",
            "mov {b}, {k}",
            "shl {b}, 4",
            "add {b}, {t}", // the seventeenth row
            "tileloadd tmm0, [{t} + {k}*1]",
            "tileloadd tmm2, [{b} + {k}*1]",
            $($load,)*
            "3:",
            "mov {k}, [{call} + 24]",
            "mov {end}, [{call} + 32]",
            "mov {b}, [{call} + 40]",
            "4:", // one step of K
            "mov {t}, [{k}]",
            "lea {t}, [{a} + {t}*2]",
            "tileloadd tmm4, [{t} + {a_row}*1]",
            "tileloadd tmm6, [{b} + {line}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "add {t}, {a_half}",
            "tileloadd tmm5, [{t} + {a_row}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            $($b,)*
            $($up,)*
            $($low,)*
            "add {b}, 1024",
            "add {k}, 8",
            "cmp {k}, {end}",
            "jb 4b",
            "mov {t}, [{call}]",
            "mov {k}, [{call} + 8]",
            "mov {b}, {k}",
            "shl {b}, 4",
            "tilestored [{t} + {k}*1], tmm0",
            $($su,)*
            "add {t}, {b}",
            "tilestored [{t} + {k}*1], tmm2",
            $($sl,)*
            "add {t}, {b}",
            "mov [{call}], {t}",
            "lea {a}, [{a} + {a_half}*2]",
            "dec qword ptr [{call} + 16]",
            "jnz 2b",
            "tilerelease",
            call = in(reg) &raw mut $call,
            a = inout(reg) $p.a.as_ptr() => _,
            a_row = in(reg) 2 * $p.a_row,
            a_half = in(reg) 2 * 16 * $p.a_row,
            panel = in(reg) 2 * STEP * $p.offsets.len(),
            line = in(reg) 64usize,
            t = out(reg) _,
            k = out(reg) _,
            b = out(reg) _,
            end = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// C (+)= A·B.
///
/// # Safety
/// The processor has the instructions and this process may use them (as [`is_supported`] finds out), and [`Multiply::check`] has passed.
pub(super) unsafe fn multiply(p: Multiply<'_>) {
    let offsets = p.offsets.as_ptr_range();
    let mut call = Call {
        c: p.c.as_mut_ptr(),
        c_row: 4 * p.c_row,
        blocks: p.rows / ROWS,
        offsets: offsets.start,
        offsets_end: offsets.end,
        b: p.b.as_ptr(),
        add: usize::from(p.add),
        config: &raw const CONFIG,
    };
    if p.cols == COLS {
        // SAFETY: the caller promises AMX, a permission to use it, and that all rows and steps lie inside A, B and C; memory is
        // read and written through those pointers and `call` alone; the tile registers are declared and released.
        unsafe {
            product!(call, p, load_c: [], b: ["/* {panel} */"], upper: [], lower: [], store_upper: [], store_lower: []);
        }
    } else {
        // SAFETY: as above.
        unsafe {
            product!(call, p,
                load_c: ["tileloadd tmm1, [{t} + {k}*1 + 64]" "tileloadd tmm3, [{b} + {k}*1 + 64]"],
                b: ["lea {t}, [{b} + {panel}]" "tileloadd tmm7, [{t} + {line}*1]"],
                upper: ["tdpbf16ps tmm1, tmm4, tmm7"],
                lower: ["tdpbf16ps tmm3, tmm5, tmm7"],
                store_upper: ["tilestored [{t} + {k}*1 + 64], tmm1"],
                store_lower: ["tilestored [{t} + {k}*1 + 64], tmm3"]);
        }
    }
}

/// Whether the processor has AMX with bf16, Linux lets this process use it, and a product comes out right. Asked once: the answer
/// holds for all threads.
pub(super) fn is_supported() -> bool {
    static SUPPORTED: OnceLock<bool> = OnceLock::new();
    // SAFETY: `trial` is only reached on a processor that has the instructions, in a process that may use them.
    *SUPPORTED.get_or_init(|| processor_has_it() && permitted() && unsafe { trial() })
}

/// A product of two steps, two panels and 64 rows against the emulation. A virtual machine that shows the instructions and does not
/// carry them out, or a mistake of ours that no machine at hand could show, ends here in a slower tier and not in wrong numbers.
///
/// # Safety
/// The processor has AMX with bf16, and this process may use it.
unsafe fn trial() -> bool {
    // Values of three significant bits: sums of 64 products are exact in f32, in any order.
    let values = |n: usize| (0..n).map(|i| bf16::from_f32((i * 7 % 15) as f32 - 7.0)).collect::<Vec<_>>();
    let (a, b) = (values(64 * DEPTH + DEPTH), values(2 * 2 * STEP));
    let product = |c: &mut [f32], run: &dyn Fn(Multiply<'_>)| {
        for (cols, add) in [(2 * COLS, false), (2 * COLS, true), (COLS, true)] {
            let product = Multiply {
                a: &a,
                a_row: DEPTH,
                offsets: &[0, DEPTH],
                b: &b,
                cols,
                rows: 2 * ROWS,
                c,
                c_row: 2 * COLS,
                add,
            };
            product.check();
            run(product);
        }
    };
    let (mut found, mut expected) = (vec![0.0; 64 * 2 * COLS], vec![0.0; 64 * 2 * COLS]);
    // SAFETY: as the caller promises; `check` has passed.
    product(&mut found, &|p| unsafe { multiply(p) });
    product(&mut expected, &super::emulated::multiply);
    found == expected
}

/// CPUID leaf 7, EDX: bit 22 AMX-BF16, bit 24 AMX-TILE. (`is_x86_feature_detected!` does not know them on stable Rust.)
fn processor_has_it() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const NEEDED: u32 = 1 << 22 | 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`: Linux (5.16 and later) gives tile registers to those who ask.
fn permitted() -> bool {
    const SYS_ARCH_PRCTL: usize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let mut result = SYS_ARCH_PRCTL;
    // SAFETY: the call takes two numbers and touches no memory of this process; `syscall` overwrites rcx, r11 and the flags.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_configuration_and_the_call_are_as_the_assembly_takes_them() {
        let c = &CONFIG.0;
        assert_eq!((c[0], c[1]), (1, 0));
        for tile in 0..8 {
            assert_eq!((u16::from_le_bytes([c[16 + 2 * tile], c[17 + 2 * tile]]), c[48 + tile]), (64, 16));
        }
        // Reserved bytes, and those of tiles 8 to 15, must be zero: anything else is a fault.
        assert!((2..16).chain(32..48).chain(56..64).all(|i| c[i] == 0));
        let fields = [
            offset_of!(Call, c),
            offset_of!(Call, c_row),
            offset_of!(Call, blocks),
            offset_of!(Call, offsets),
            offset_of!(Call, offsets_end),
            offset_of!(Call, b),
            offset_of!(Call, add),
            offset_of!(Call, config),
        ];
        assert_eq!(fields, [0, 8, 16, 24, 32, 40, 48, 56]);
    }
}
