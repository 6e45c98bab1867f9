//! Vectors of f32, one trait over all instruction sets: a kernel is written once, generic over [`Simd`], as a [`Vectorized`]
//! value, and `Kernels::run` compiles and runs it with the instructions of the chosen tier.
//!
//! The body of a kernel and all it calls in its hot loop must be `#[inline(always)]`: only code inlined into the instance's
//! `vectorize` is compiled for its instruction set. Closures are not reliably inlined; write loops.

#![allow(dead_code, reason = "a complete set of operations, whichever of them the kernels use")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod lanes;
mod storage;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "x86_64")]
use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
use avx512::Avx512;
use half::bf16;
use lanes::Lanes;
pub use storage::Storage;

use crate::{Kernels, Tier};

/// Work to be compiled once per instruction set.
pub trait Vectorized {
    /// What it gives.
    type Output;
    /// Does it; to be marked `#[inline(always)]`.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// An instruction set's vector of f32. A value of the implementing type proves that the processor has the instructions.
///
/// Loads and stores by pointer need no alignment. Lanes are numbered as they lie in memory.
pub trait Simd: Copy + Send + Sync + 'static {
    /// The vector.
    type V: Copy;
    /// A yes or no per lane.
    type Mask: Copy;
    /// Floats in a vector.
    const WIDTH: usize;
    /// Rows of the register block of a matrix product whose columns are two vectors.
    const ROWS: usize;

    /// Runs work compiled for this instruction set.
    fn vectorize<K: Vectorized>(self, work: K) -> K::Output;

    /// The same value in all lanes.
    fn splat(self, x: f32) -> Self::V;
    /// Zeros.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// The same value in all lanes, from memory.
    /// # Safety
    /// `p` is valid for a read.
    #[inline(always)]
    unsafe fn splat_from(self, p: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        self.splat(unsafe { *p })
    }

    /// # Safety
    /// `p` is valid for reads of `WIDTH` values.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// The first `count ≤ WIDTH` lanes from memory, zeros in the others.
    /// # Safety
    /// `p` is valid for reads of `count` values.
    unsafe fn load_part(self, p: *const f32, count: usize) -> Self::V;
    /// # Safety
    /// `p` is valid for writes of `WIDTH` values.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// The first `count ≤ WIDTH` lanes to memory.
    /// # Safety
    /// `p` is valid for writes of `count` values.
    unsafe fn store_part(self, p: *mut f32, v: Self::V, count: usize);
    /// Widens bf16 exactly.
    /// # Safety
    /// `p` is valid for reads of `WIDTH` values.
    unsafe fn load_bf16(self, p: *const bf16) -> Self::V;
    /// Rounds to the nearest bf16, ties to even; a NaN stays one.
    /// # Safety
    /// `p` is valid for writes of `WIDTH` values.
    unsafe fn store_bf16(self, p: *mut bf16, v: Self::V);

    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c, rounded once where the instruction set can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c − a·b, rounded once where the instruction set can.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger; `b` where either is a NaN, so that `max(zero, x)` keeps NaNs and `max(x, zero)` clears them.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller; `b` where either is a NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// |a|.
    fn abs(self, a: Self::V) -> Self::V;
    /// √a, correctly rounded.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// The nearest integer, ties to even.
    fn round(self, a: Self::V) -> Self::V;
    /// The largest integer that is not above.
    fn floor(self, a: Self::V) -> Self::V;
    /// 2ⁿ for integral n in −126 … 127.
    fn pow2(self, n: Self::V) -> Self::V;
    /// (m, e) with a = m·2ᵉ and 1 ≤ m < 2, for normal positive a.
    fn split_exponent(self, a: Self::V) -> (Self::V, Self::V);

    /// a > b; no where either is a NaN.
    fn gt(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// a ≥ b; no where either is a NaN.
    fn ge(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// a = b; no where either is a NaN.
    fn eq(self, a: Self::V, b: Self::V) -> Self::Mask;
    /// `yes` in the lanes of the mask, `no` in the others.
    fn select(self, mask: Self::Mask, yes: Self::V, no: Self::V) -> Self::V;

    /// The sum of all lanes: halves are added until one is left, whatever the instruction set.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let mut lanes = [0.0f32; 16];
        // SAFETY: no instance is wider than 16 lanes.
        unsafe { self.store(lanes.as_mut_ptr(), v) };
        let mut half = Self::WIDTH / 2;
        while half > 0 {
            for i in 0..half {
                lanes[i] += lanes[i + half];
            }
            half /= 2;
        }
        lanes[0]
    }

    /// The first `WIDTH` values of the slice, or all it has, with zeros behind them.
    #[inline(always)]
    fn load_slice<T: Storage>(self, from: &[T]) -> Self::V {
        match from.len() >= Self::WIDTH {
            // SAFETY: the slice has WIDTH values.
            true => unsafe { T::load(self, from.as_ptr()) },
            // SAFETY: the slice has as many values as are read.
            false => unsafe { T::load_part(self, from.as_ptr(), from.len()) },
        }
    }

    /// As many lanes as the slice has room for.
    #[inline(always)]
    fn store_slice<T: Storage>(self, to: &mut [T], v: Self::V) {
        match to.len() >= Self::WIDTH {
            // SAFETY: the slice has room for WIDTH values.
            true => unsafe { T::store(self, to.as_mut_ptr(), v) },
            // SAFETY: the slice has room for as many values as are written.
            false => unsafe { T::store_part(self, to.as_mut_ptr(), v, to.len()) },
        }
    }
}

impl Kernels {
    /// Runs work with the instructions of the tier.
    pub(crate) fn run<K: Vectorized>(&self, work: K) -> K::Output {
        match self.tier() {
            Tier::Portable => Lanes::<8>.vectorize(work),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernels` are only made of a tier that the processor supports.
            Tier::Avx2 => unsafe { Avx2::assume() }.vectorize(work),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Tier::Avx512 | Tier::Amx => unsafe { Avx512::assume() }.vectorize(work),
            #[cfg(not(target_arch = "x86_64"))]
            Tier::Avx2 | Tier::Avx512 | Tier::Amx => {
                unreachable!("`Kernels` are only made of a tier that the processor supports")
            }
            Tier::Emulated16 | Tier::EmulatedAmx => Lanes::<16>.vectorize(work),
        }
    }
}
