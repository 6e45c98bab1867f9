//! The two storage types of an activation. Arithmetic is f32 everywhere: bf16 is a way to keep values, not to add them.

use half::bf16;

/// A value as an activation keeps it in memory.
pub trait Element:
    crate::simd::Storage
    + crate::stored::Stored
    + crate::passes::Passes
    + Copy
    + Default
    + Send
    + Sync
    + PartialEq
    + std::fmt::Debug
    + 'static
{
    /// As f32, exactly.
    fn to_f32(self) -> f32;
    /// The nearest value that this type holds, ties to even.
    fn from_f32(x: f32) -> Self;
}

impl Element for f32 {
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline]
    fn from_f32(x: f32) -> Self {
        x
    }
}

impl Element for bf16 {
    #[inline]
    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
    #[inline]
    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }
}
