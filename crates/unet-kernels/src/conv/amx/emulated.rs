//! The tile product in safe Rust, rounded as Intel defines TDPBF16PS (SDM, "TDPBF16PS"; `C`, `A`, `B` are tiles):
//!
//! ```text
//! for each row m:                                     FMA: rounded once, to nearest even; what is denormal, in
//!     even[n] = odd[n] = 0                            or out, is zero
//!     for each pair k of the row, for each column n:
//!         even[n] = fma(A[m][2k],   B[k][2n],   even[n])
//!         odd[n]  = fma(A[m][2k+1], B[k][2n+1], odd[n])
//!     C[m][n] = C[m][n] + (even[n] + odd[n])
//! ```

use half::bf16;

use super::{COLS, DEPTH, Multiply, STEP};

/// Pairs of a step.
const PAIRS: usize = DEPTH / 2;

/// C (+)= A·B. Panics where an index is out of bounds.
pub(super) fn multiply(p: Multiply<'_>) {
    let steps = p.offsets.len();
    for row in 0..p.rows {
        for (number, panel) in p.b.chunks(steps * STEP).take(p.cols / COLS).enumerate() {
            let c = &mut p.c[row * p.c_row + number * COLS..][..COLS];
            if !p.add {
                c.fill(0.0);
            }
            for (offset, b) in p.offsets.iter().zip(panel.chunks(STEP)) {
                tile_row(&p.a[offset + row * p.a_row..][..DEPTH], b, c);
            }
        }
    }
}

/// One row of one TDPBF16PS.
fn tile_row(a: &[bf16], b: &[bf16], c: &mut [f32]) {
    let (mut even, mut odd) = ([0.0f32; COLS], [0.0f32; COLS]);
    for k in 0..PAIRS {
        let (a0, a1) = (widened(a[2 * k]), widened(a[2 * k + 1]));
        for n in 0..COLS {
            let at = (k * COLS + n) * 2;
            even[n] = flushed(a0.mul_add(widened(b[at]), even[n]));
            odd[n] = flushed(a1.mul_add(widened(b[at + 1]), odd[n]));
        }
    }
    for n in 0..COLS {
        c[n] = flushed(flushed(c[n]) + flushed(even[n] + odd[n]));
    }
}

/// A bf16 as the engine takes it.
fn widened(x: bf16) -> f32 {
    flushed(x.to_f32())
}

/// Zero, of the same sign, for what is denormal.
fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}
