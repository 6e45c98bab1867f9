//! Vectors as plain arrays: 8 lanes are the portable tier, which the compiler vectorises for its baseline; 16 lanes stand in
//! for AVX-512 in tests on machines without it.

use half::bf16;

use super::{Simd, Vectorized};

/// An array of N lanes as a vector.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lanes<const N: usize>;

/// Whether a fused multiply-add is an instruction of the compilation target; elsewhere it would be a slow function call.
const FUSED: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

#[inline(always)]
fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// One lane-wise function: fills `out` from an expression in the lane number.
macro_rules! lanes {
    ($i:ident => $value:expr) => {{
        let mut out = [0.0f32; N];
        for $i in 0..N {
            out[$i] = $value;
        }
        out
    }};
}

macro_rules! mask {
    ($i:ident => $value:expr) => {{
        let mut out = [false; N];
        for $i in 0..N {
            out[$i] = $value;
        }
        out
    }};
}

impl<const N: usize> Simd for Lanes<N> {
    type V = [f32; N];
    type Mask = [bool; N];
    const WIDTH: usize = N;
    // Half of the registers of the baseline: 16 of 4 floats on x86-64, 32 of 4 on aarch64. The emulation has a number of its own.
    const ROWS: usize = match (N, cfg!(target_arch = "aarch64")) {
        (16, _) => 5,
        (_, true) => 6,
        (_, false) => 3,
    };

    #[inline(always)]
    fn vectorize<K: Vectorized>(self, work: K) -> K::Output {
        work.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; N] {
        [x; N]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> [f32; N] {
        // SAFETY: the caller promises N values.
        unsafe { p.cast::<[f32; N]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, count: usize) -> [f32; N] {
        let mut out = [0.0; N];
        // SAFETY: the caller promises `count` values and count ≤ N.
        unsafe { std::ptr::copy_nonoverlapping(p, out.as_mut_ptr(), count) };
        out
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: [f32; N]) {
        // SAFETY: the caller promises room for N values.
        unsafe { p.cast::<[f32; N]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, v: [f32; N], count: usize) {
        // SAFETY: the caller promises room for `count` values and count ≤ N.
        unsafe { std::ptr::copy_nonoverlapping(v.as_ptr(), p, count) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, p: *const bf16) -> [f32; N] {
        // SAFETY: the caller promises N values.
        let bits = unsafe { p.cast::<[u16; N]>().read_unaligned() };
        lanes!(i => f32::from_bits(u32::from(bits[i]) << 16))
    }
    #[inline(always)]
    unsafe fn store_bf16(self, p: *mut bf16, v: [f32; N]) {
        let mut out = [bf16::ZERO; N];
        for i in 0..N {
            out[i] = bf16::from_f32(v[i]);
        }
        // SAFETY: the caller promises room for N values.
        unsafe { p.cast::<[bf16; N]>().write_unaligned(out) }
    }

    #[inline(always)]
    fn add(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        lanes!(i => a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        lanes!(i => a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        lanes!(i => a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        lanes!(i => a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        lanes!(i => mul_add(a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn fnma(self, a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        lanes!(i => mul_add(-a[i], b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        lanes!(i => if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: [f32; N], b: [f32; N]) -> [f32; N] {
        lanes!(i => if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn abs(self, a: [f32; N]) -> [f32; N] {
        lanes!(i => a[i].abs())
    }
    #[inline(always)]
    fn sqrt(self, a: [f32; N]) -> [f32; N] {
        lanes!(i => a[i].sqrt())
    }
    #[inline(always)]
    fn round(self, a: [f32; N]) -> [f32; N] {
        lanes!(i => a[i].round_ties_even())
    }
    #[inline(always)]
    fn floor(self, a: [f32; N]) -> [f32; N] {
        lanes!(i => a[i].floor())
    }
    #[inline(always)]
    fn pow2(self, n: [f32; N]) -> [f32; N] {
        lanes!(i => f32::from_bits(((n[i] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    fn split_exponent(self, a: [f32; N]) -> ([f32; N], [f32; N]) {
        let mantissa = lanes!(i => f32::from_bits((a[i].to_bits() & 0x007f_ffff) | 0x3f80_0000));
        (mantissa, lanes!(i => ((a[i].to_bits() >> 23) as i32 - 127) as f32))
    }

    #[inline(always)]
    fn gt(self, a: [f32; N], b: [f32; N]) -> [bool; N] {
        mask!(i => a[i] > b[i])
    }
    #[inline(always)]
    fn ge(self, a: [f32; N], b: [f32; N]) -> [bool; N] {
        mask!(i => a[i] >= b[i])
    }
    #[inline(always)]
    fn eq(self, a: [f32; N], b: [f32; N]) -> [bool; N] {
        mask!(i => a[i] == b[i])
    }
    #[inline(always)]
    fn select(self, mask: [bool; N], yes: [f32; N], no: [f32; N]) -> [f32; N] {
        lanes!(i => if mask[i] { yes[i] } else { no[i] })
    }
}
