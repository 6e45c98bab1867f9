//! Vectors from and to both storage types of an activation.

use half::bf16;

use super::Simd;

/// A storage type that vectors are loaded from and stored to; arithmetic is f32.
pub trait Storage: Copy + 'static {
    /// # Safety
    /// `p` is valid for reads of `S::WIDTH` values.
    unsafe fn load<S: Simd>(s: S, p: *const Self) -> S::V;
    /// The first `count ≤ S::WIDTH` lanes from memory, zeros in the others.
    /// # Safety
    /// `p` is valid for reads of `count` values.
    unsafe fn load_part<S: Simd>(s: S, p: *const Self, count: usize) -> S::V;
    /// # Safety
    /// `p` is valid for writes of `S::WIDTH` values.
    unsafe fn store<S: Simd>(s: S, p: *mut Self, v: S::V);
    /// The first `count ≤ S::WIDTH` lanes to memory.
    /// # Safety
    /// `p` is valid for writes of `count` values.
    unsafe fn store_part<S: Simd>(s: S, p: *mut Self, v: S::V, count: usize);
    /// The values that memory would hold.
    fn rounded<S: Simd>(s: S, v: S::V) -> S::V;
}

impl Storage for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const f32) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load(p) }
    }
    #[inline(always)]
    unsafe fn load_part<S: Simd>(s: S, p: *const f32, count: usize) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_part(p, count) }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut f32, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { s.store(p, v) }
    }
    #[inline(always)]
    unsafe fn store_part<S: Simd>(s: S, p: *mut f32, v: S::V, count: usize) {
        // SAFETY: the caller's promise.
        unsafe { s.store_part(p, v, count) }
    }
    #[inline(always)]
    fn rounded<S: Simd>(_: S, v: S::V) -> S::V {
        v
    }
}

impl Storage for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const bf16) -> S::V {
        // SAFETY: the caller's promise.
        unsafe { s.load_bf16(p) }
    }
    #[inline(always)]
    unsafe fn load_part<S: Simd>(s: S, p: *const bf16, count: usize) -> S::V {
        let mut lanes = [bf16::ZERO; 16];
        // SAFETY: the caller promises `count` values; no instance is wider than 16 lanes.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), count);
            s.load_bf16(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, p: *mut bf16, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe { s.store_bf16(p, v) }
    }
    #[inline(always)]
    unsafe fn store_part<S: Simd>(s: S, p: *mut bf16, v: S::V, count: usize) {
        let mut lanes = [bf16::ZERO; 16];
        // SAFETY: the caller promises room for `count` values; no instance is wider than 16 lanes.
        unsafe {
            s.store_bf16(lanes.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count);
        }
    }
    #[inline(always)]
    fn rounded<S: Simd>(s: S, v: S::V) -> S::V {
        let mut lanes = [bf16::ZERO; 16];
        // SAFETY: no instance is wider than 16 lanes.
        unsafe {
            s.store_bf16(lanes.as_mut_ptr(), v);
            s.load_bf16(lanes.as_ptr())
        }
    }
}
