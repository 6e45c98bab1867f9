//! Writes an activation out, and pools it on the way.

use std::ops::Range;

use rayon::prelude::*;

use crate::channels::{Activation, ByChannels, Group, Identity, Vs, check_norm, each_group, pixels_to_pass};
use crate::simd::{Simd, Vectorized};
use crate::{Dims, Element, Kernels, Map, MapMut, Source};

/// Passes of all groups that one task makes.
const PASSES: usize = 32;

impl Kernels {
    /// Writes the source as an activation; with `pooled`, its 2×2 maxima too (odd last rows and columns are dropped).
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn activate<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>, pooled: Option<MapMut<'_, T>>) {
        T::activate(self, x, y, pooled);
    }

    pub(crate) fn activate_as<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>, pooled: Option<MapMut<'_, T>>) {
        assert_eq!(x.map.dims(), y.dims(), "source and activation");
        check_norm(&x);
        match (pooled, x.norm) {
            (None, Some(norm)) => self.write(x.map, norm, y),
            (None, None) => self.write(x.map, Identity, y),
            (Some(pooled), Some(norm)) => self.write_pooled(x.map, norm, Some(y), pooled),
            (Some(pooled), None) => self.write_pooled(x.map, Identity, Some(y), pooled),
        }
    }

    fn write<T: Element, A: Activation>(&self, x: Map<'_, T>, with: A, y: MapMut<'_, T>) {
        let size = pixels_to_pass(x.dims().c) * PASSES;
        y.into_pieces(size).enumerate().for_each(|(i, y)| {
            let x = x.range(i * size..i * size + y.dims().pixels());
            self.run(Write { x, with, y, pixels: 0..0 });
        });
    }

    /// 2×2 maxima of the activation, and the activation too where `y` is given.
    pub(crate) fn write_pooled<T: Element, A: Activation>(
        &self,
        x: Map<'_, T>,
        with: A,
        y: Option<MapMut<'_, T>>,
        pooled: MapMut<'_, T>,
    ) {
        let d = x.dims();
        assert_eq!(pooled.dims(), Dims::new(d.n, d.h / 2, d.w / 2, d.c), "2×2 maxima of {d:?}");
        let bands = d.h.div_ceil(2);
        let mut ys = y.map(|y| y.into_bands(2).into_iter());
        let mut rows = pooled.into_bands(1).into_iter();
        let tasks: Vec<_> = (0..d.n * bands)
            .map(|i| {
                let (n, band) = (i / bands, i % bands);
                let pooled = if 2 * band + 1 < d.h { rows.next() } else { None };
                let y = ys.as_mut().and_then(Iterator::next);
                Pool { x: x.rows(n, 2 * band, 2.min(d.h - 2 * band)), with, y, pooled, columns: 0..0 }
            })
            .collect();
        tasks.into_par_iter().for_each(|task| self.run(task));
    }
}

/// Some consecutive pixels.
struct Write<'a, T, A> {
    x: Map<'a, T>,
    with: A,
    y: MapMut<'a, T>,
    pixels: Range<usize>,
}

impl<T: Element, A: Activation> Vectorized for Write<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let dims = self.x.dims();
        let size = pixels_to_pass(dims.c);
        for start in (0..dims.w).step_by(size) {
            self.pixels = start..dims.w.min(start + size);
            each_group(s, dims.c, &mut self);
        }
    }
}

impl<T: Element, A: Activation> ByChannels for Write<'_, T, A> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let with = self.with.of(g);
        for p in self.pixels.clone() {
            g.store(&mut self.y, p, A::apply(g, with, g.load(&self.x, p)));
        }
    }
}

/// Two rows (or an image's odd last one) and the pooled row between them, worked on a few columns at a time.
struct Pool<'a, T, A> {
    x: Map<'a, T>,
    with: A,
    y: Option<MapMut<'a, T>>,
    pooled: Option<MapMut<'a, T>>,
    columns: Range<usize>,
}

impl<T: Element, A: Activation> Vectorized for Pool<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let dims = self.x.dims();
        let size = pixels_to_pass(dims.c);
        for start in (0..dims.w).step_by(size) {
            self.columns = start..dims.w.min(start + size);
            each_group(s, dims.c, &mut self);
        }
    }
}

impl<T: Element, A: Activation> Pool<'_, T, A> {
    /// Reads, activates and, where asked for, writes one pixel.
    #[inline(always)]
    fn pixel<S: Simd, const G: usize, const PART: bool>(
        &mut self,
        g: Group<S, G, PART>,
        with: A::Of<S, G>,
        p: usize,
    ) -> Vs<S, G> {
        let v = A::apply(g, with, g.load(&self.x, p));
        if let Some(y) = &mut self.y {
            g.store(y, p, v);
        }
        v
    }
}

impl<T: Element, A: Activation> ByChannels for Pool<'_, T, A> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let (with, width, columns) = (self.with.of(g), self.x.dims().w, self.columns.clone());
        let paired = match self.pooled {
            Some(_) => columns.start..columns.end & !1,
            None => columns.start..columns.start,
        };
        for x in paired.clone().step_by(2) {
            let top = g.max_or_nan(self.pixel(g, with, x), self.pixel(g, with, x + 1));
            let below = g.max_or_nan(self.pixel(g, with, width + x), self.pixel(g, with, width + x + 1));
            if let Some(pooled) = &mut self.pooled {
                g.store(pooled, x / 2, g.max_or_nan(top, below));
            }
        }
        for y in 0..self.x.dims().h {
            for x in paired.end..columns.end {
                self.pixel(g, with, y * width + x);
            }
        }
    }
}
