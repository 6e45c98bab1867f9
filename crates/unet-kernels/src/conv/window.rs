//! Rectangles of a map as dense f32 (or as bf16, for the tile engine): widened, normalised and rectified on the way, with zeros where they reach over the edge.

use crate::simd::{Simd, Vectorized};
use crate::{Dims, Element, Source};

/// A source, and the extents as which its pixels are seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pictures<'a, T> {
    pub source: Source<'a, T>,
    pub dims: Dims,
}

/// A rectangle of one image; it may begin before the first row and column and end behind the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub image: usize,
    pub top: isize,
    pub left: isize,
    pub rows: usize,
    pub cols: usize,
}

impl<T: Element> Pictures<'_, T> {
    /// Copies a window, row by row, pixel by pixel, channel by channel.
    pub(crate) fn copy<S: Simd, U: Element>(&self, s: S, window: Window, to: &mut [U]) {
        s.vectorize(Copy { from: *self, window, to });
    }

    #[inline(always)]
    fn copy_rows<S: Simd, U: Element>(&self, s: S, window: Window, to: &mut [U]) {
        let d = self.dims;
        let len = window.cols * d.c;
        assert!(to.len() >= window.rows * len, "no room for {window:?}");
        // Columns of the window that lie inside the map.
        let from = window.left.clamp(0, d.w as isize);
        let until = (window.left + window.cols as isize).clamp(from, d.w as isize);
        let before = ((from - window.left) as usize).min(window.cols);
        let inside = (until - from) as usize;
        for r in 0..window.rows {
            let to = &mut to[r * len..(r + 1) * len];
            let y = window.top + r as isize;
            if y < 0 || y >= d.h as isize || inside == 0 {
                to.fill(U::default());
                continue;
            }
            to[..before * d.c].fill(U::default());
            to[(before + inside) * d.c..].fill(U::default());
            let first = (window.image * d.h + y as usize) * d.w + from as usize;
            self.copy_row(s, first, &mut to[before * d.c..(before + inside) * d.c]);
        }
    }

    /// Copies consecutive pixels.
    #[inline(always)]
    fn copy_row<S: Simd, U: Element>(&self, s: S, first: usize, to: &mut [U]) {
        let (map, c) = (self.source.map, self.dims.c);
        match self.source.norm {
            None if map.stride() == c => {
                let from = &map.data()[first * c..][..to.len()];
                for (to, from) in to.chunks_mut(S::WIDTH).zip(from.chunks(S::WIDTH)) {
                    s.store_slice(to, s.load_slice(from));
                }
            }
            None => {
                for (p, to) in to.chunks_mut(c).enumerate() {
                    for (to, from) in to.chunks_mut(S::WIDTH).zip(map.pixel(first + p).chunks(S::WIDTH)) {
                        s.store_slice(to, s.load_slice(from));
                    }
                }
            }
            Some(a) => {
                for (p, to) in to.chunks_mut(c).enumerate() {
                    let pixel = map.pixel(first + p);
                    for at in (0..c).step_by(S::WIDTH) {
                        let (scale, shift) = (s.load_slice(&a.scale[at..c]), s.load_slice(&a.shift[at..c]));
                        let x = s.fma(scale, s.load_slice(&pixel[at..]), shift);
                        s.store_slice(&mut to[at..], s.max(s.zero(), x));
                    }
                }
            }
        }
    }
}

/// [`Pictures::copy`], compiled once whatever is done with the window.
struct Copy<'a, T, U> {
    from: Pictures<'a, T>,
    window: Window,
    to: &'a mut [U],
}

impl<T: Element, U: Element> Vectorized for Copy<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.from.copy_rows(s, self.window, self.to);
    }
}
