//! A map that several threads write, each its own pixels or channels.

use std::marker::PhantomData;

use crate::simd::Simd;
use crate::{Dims, Element, MapMut};

/// A [`MapMut`] that can be shared between threads, which promise to write different pixels, or different
/// channels of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels<'a, U> {
    data: *mut U,
    dims: Dims,
    stride: usize,
    borrow: PhantomData<&'a mut [U]>,
}

// SAFETY: the only access is `store`, whose callers promise that no two threads touch the same channel of the same pixel at a time.
unsafe impl<U: Send> Send for Pixels<'_, U> {}
// SAFETY: as above.
unsafe impl<U: Send> Sync for Pixels<'_, U> {}

impl<'a, U: Element> Pixels<'a, U> {
    pub(crate) fn of(map: &'a mut MapMut<'_, U>) -> Self {
        let (dims, stride) = (map.dims(), map.stride());
        Self { data: map.data().as_mut_ptr(), dims, stride, borrow: PhantomData }
    }

    pub(crate) fn dims(&self) -> Dims {
        self.dims
    }

    /// Writes a vector to channels `c..` of pixel `p`, as far as there are channels.
    ///
    /// # Safety
    /// No other thread accesses these channels of the pixel meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn store<S: Simd>(&self, s: S, p: usize, c: usize, v: S::V) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.dims.c - c >= S::WIDTH {
                true => self.store_as::<S, true>(s, p, c, v),
                false => self.store_as::<S, false>(s, p, c, v),
            }
        }
    }

    /// As [`Self::store`]; `WHOLE` where there are channels for all lanes.
    ///
    /// # Safety
    /// As for [`Self::store`], and the map has `WHOLE` as many channels.
    #[inline(always)]
    pub(crate) unsafe fn store_as<S: Simd, const WHOLE: bool>(&self, s: S, p: usize, c: usize, v: S::V) {
        debug_assert!(p < self.dims.pixels() && c < self.dims.c);
        // SAFETY: `MapMut` spans its pixels and their channels; the caller promises that they are this thread's.
        unsafe {
            let to = self.data.add(p * self.stride + c);
            match WHOLE {
                true => U::store(s, to, v),
                false => U::store_part(s, to, v, (self.dims.c - c).min(S::WIDTH)),
            }
        }
    }
}
