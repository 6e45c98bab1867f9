//! [`PixelValue`]: the numbers that images are stored in, read one, two or four neighbours at a time.

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for u16 {}
    impl Sealed for f32 {}
}

/// A value as images store it: `u8`, `u16` or `f32`.
pub trait PixelValue: Copy + Send + Sync + sealed::Sealed {
    /// Two neighbours.
    #[doc(hidden)]
    type Pair: Copy + Default;
    /// Four neighbours.
    #[doc(hidden)]
    type Quad: Copy + Default;
    /// As a float, unscaled.
    fn to_f32(self) -> f32;
    /// Reads two neighbours.
    /// # Safety
    /// `p` is valid for reads of two values.
    #[doc(hidden)]
    unsafe fn pair(p: *const Self) -> Self::Pair;
    /// Both as floats.
    #[doc(hidden)]
    fn split(pair: Self::Pair) -> (f32, f32);
    /// Reads four neighbours.
    /// # Safety
    /// `p` is valid for reads of four values.
    #[doc(hidden)]
    unsafe fn quad(p: *const Self) -> Self::Quad;
    /// All four as floats.
    #[doc(hidden)]
    fn split4(quad: Self::Quad) -> [f32; 4];
}

impl PixelValue for u8 {
    type Pair = u16;
    type Quad = u32;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    unsafe fn pair(p: *const Self) -> u16 {
        // SAFETY: the caller's promise; bytes need no alignment.
        u16::from_le(unsafe { p.cast::<u16>().read_unaligned() })
    }
    #[inline(always)]
    fn split(pair: u16) -> (f32, f32) {
        (f32::from(pair & 0xFF), f32::from(pair >> 8))
    }
    #[inline(always)]
    unsafe fn quad(p: *const Self) -> u32 {
        // SAFETY: the caller's promise; bytes need no alignment.
        u32::from_le(unsafe { p.cast::<u32>().read_unaligned() })
    }
    #[inline(always)]
    fn split4(quad: u32) -> [f32; 4] {
        [quad & 0xFF, quad >> 8 & 0xFF, quad >> 16 & 0xFF, quad >> 24].map(|v| v as i32 as f32)
    }
}

impl PixelValue for u16 {
    type Pair = [u16; 2];
    type Quad = [u16; 4];
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }
    #[inline(always)]
    unsafe fn pair(p: *const Self) -> [u16; 2] {
        // SAFETY: the caller's promise; an array is aligned as its elements are.
        unsafe { *p.cast() }
    }
    #[inline(always)]
    fn split(pair: [u16; 2]) -> (f32, f32) {
        (f32::from(pair[0]), f32::from(pair[1]))
    }
    #[inline(always)]
    unsafe fn quad(p: *const Self) -> [u16; 4] {
        // SAFETY: the caller's promise; an array is aligned as its elements are.
        unsafe { *p.cast() }
    }
    #[inline(always)]
    fn split4(quad: [u16; 4]) -> [f32; 4] {
        quad.map(f32::from)
    }
}

impl PixelValue for f32 {
    type Pair = [f32; 2];
    type Quad = [f32; 4];
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    unsafe fn pair(p: *const Self) -> [f32; 2] {
        // SAFETY: the caller's promise; an array is aligned as its elements are.
        unsafe { *p.cast() }
    }
    #[inline(always)]
    fn split(pair: [f32; 2]) -> (f32, f32) {
        (pair[0], pair[1])
    }
    #[inline(always)]
    unsafe fn quad(p: *const Self) -> [f32; 4] {
        // SAFETY: the caller's promise; an array is aligned as its elements are.
        unsafe { *p.cast() }
    }
    #[inline(always)]
    fn split4(quad: [f32; 4]) -> [f32; 4] {
        quad
    }
}
