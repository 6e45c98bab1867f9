//! Bilinear upsampling by two with aligned corners (PyTorch's `align_corners=True`), written straight into its place.
//!
//! Output row o of 2·H lies at o·(H−1)/(2·H−1) of the input: between two rows, in a share that the tables below hold; columns
//! alike. A map that was cut from a larger one can be sampled as that would be ([`Within`]). Forward walks each output row once and keeps the two input columns around it, already mixed from two rows, in
//! registers. Backward gathers: an input row takes from the few output rows that read it, so that no two tasks write one value.

use std::ops::Range;

use rayon::prelude::*;

use crate::channels::{Activation, ByChannels, Group, Identity, Vs, check_norm, each_group, pixels_to_sum};
use crate::simd::{Simd, Vectorized};
use crate::{Dims, Element, Kernels, Map, MapMut, Source};

/// Where a smaller map's first pixel lies in a larger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Rows above it.
    pub top: usize,
    /// Columns left of it.
    pub left: usize,
}

/// The larger map that a map is a part of, by whose size aligned corners sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Within {
    /// The larger map's row that is the part's first; below 0 where the part begins above it.
    pub top: isize,
    /// The larger map's column that is the part's first.
    pub left: isize,
    /// Rows of the larger map.
    pub height: usize,
    /// Columns of the larger map.
    pub width: usize,
}

impl Within {
    /// A map that is no part.
    pub const fn whole(height: usize, width: usize) -> Self {
        Self { top: 0, left: 0, height, width }
    }
}

impl Kernels {
    /// Writes the (2H, 2W) result into `y` at `place`; the pixels of `y` around it become zero.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn upsample<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>, place: Placement) {
        let whole = Within::whole(x.map.dims().h, x.map.dims().w);
        T::upsample(self, x, whole, y, place);
    }

    /// [`Self::upsample`] of a part of a larger map: what the larger one would be doubled to there. Outputs that lie before the part's
    /// first pixel or behind its last, by half a pixel at most where it lies within the larger map, are as those pixels are.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn upsample_within<T: Element>(&self, x: Source<'_, T>, within: Within, y: MapMut<'_, T>, place: Placement) {
        T::upsample(self, x, within, y, place);
    }

    pub(crate) fn upsample_of<T: Element>(&self, x: Source<'_, T>, within: Within, y: MapMut<'_, T>, place: Placement) {
        check_sizes(x.map.dims(), y.dims(), place);
        check_norm(&x);
        match x.norm {
            Some(norm) => self.enlarge(x.map, norm, within, y, place),
            None => self.enlarge(x.map, Identity, within, y, place),
        }
    }

    fn enlarge<T: Element, A: Activation>(
        &self,
        x: Map<'_, T>,
        with: A,
        within: Within,
        y: MapMut<'_, T>,
        place: Placement,
    ) {
        let (xd, yd) = (x.dims(), y.dims());
        let rows = mixes_within(xd.h, within.top, within.height);
        let columns = mixes_within(xd.w, within.left, within.width);
        y.into_bands(1).into_par_iter().enumerate().for_each(|(i, mut y)| {
            let (n, o) = (i / yd.h, (i % yd.h).checked_sub(place.top));
            let Some(mix) = o.and_then(|o| rows.get(o)) else {
                clear(&mut y, 0..yd.w);
                return;
            };
            clear(&mut y, 0..place.left);
            clear(&mut y, place.left + columns.len()..yd.w);
            let row = |y: usize| x.rows(n, y, 1);
            let (upper, lower) = (row(mix.low), row(mix.high));
            let columns = columns.as_slice();
            self.run(Enlarge { upper, lower, mix: *mix, columns, with, y, left: place.left, part: 0..0 });
        });
    }

    /// Gradient by the input, from the (2H, 2W) part of `dy` at `place`.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn upsample_backward<T: Element>(&self, dy: Map<'_, T>, dx: MapMut<'_, T>, place: Placement) {
        T::upsample_backward(self, dy, dx, place);
    }

    pub(crate) fn upsample_backward_of<T: Element>(&self, dy: Map<'_, T>, dx: MapMut<'_, T>, place: Placement) {
        let xd = dx.dims();
        check_sizes(xd, dy.dims(), place);
        let (rows, columns, starts) = (readers(xd.h), mixes(xd.w), readers(xd.w));
        dx.into_bands(1).into_par_iter().enumerate().for_each(|(i, dx)| {
            let (n, y) = (i / xd.h, i % xd.h);
            let taps = rows[y].map(|(o, share)| (dy.rows(n, place.top + o, 1), share));
            let (columns, starts) = (columns.as_slice(), starts.as_slice());
            self.run(Gather { taps, columns, starts, left: place.left, dx, part: 0..0 });
        });
    }
}

fn check_sizes(small: Dims, large: Dims, place: Placement) {
    let fits = place.top + 2 * small.h <= large.h && place.left + 2 * small.w <= large.w;
    assert!(fits, "twice {small:?} does not fit into {large:?} at {place:?}");
    assert!(small.n == large.n && small.c == large.c, "images and channels of {small:?} and {large:?}");
}

fn clear<T: Element>(y: &mut MapMut<'_, T>, columns: Range<usize>) {
    columns.for_each(|p| y.pixel(p).fill(T::default()));
}

/// What an output row or column is made of: `(1 − share)·low + share·high`.
#[derive(Clone, Copy)]
struct Mix {
    low: usize,
    high: usize,
    share: f32,
}

/// The mixes of all 2·`side` outputs.
fn mixes(side: usize) -> Vec<Mix> {
    mixes_within(side, 0, side)
}

/// The mixes of all 2·`side` outputs of a part that begins at `start` of a side of `whole`.
fn mixes_within(side: usize, start: isize, whole: usize) -> Vec<Mix> {
    let step = match whole {
        0 | 1 => 0.0,
        _ => (whole - 1) as f64 / (2 * whole - 1) as f64,
    };
    let mix = |o: usize| {
        let position = ((2 * start + o as isize) as f64 * step - start as f64).max(0.0);
        let low = (position as usize).min(side - 1);
        Mix { low, high: (low + 1).min(side - 1), share: (position - low as f64) as f32 }
    };
    (0..2 * side).map(mix).collect()
}

/// Outputs that can read one input: they are at least 1/3 apart, and lie less than 1 to either side of it.
const READERS: usize = 6;

/// Of each input row or column, the outputs that read it with their shares; unused places have a share of zero.
fn readers(side: usize) -> Vec<[(usize, f32); READERS]> {
    let mut readers = vec![[(0, 0.0); READERS]; side];
    let mut used = vec![0; side];
    for (o, mix) in mixes(side).into_iter().enumerate() {
        for (i, share) in [(mix.low, 1.0 - mix.share), (mix.high, mix.share)] {
            if share != 0.0 {
                readers[i][used[i]] = (o, share);
                used[i] += 1;
            }
        }
    }
    readers
}

/// One output row from the two input rows around it.
struct Enlarge<'a, T, A> {
    upper: Map<'a, T>,
    lower: Map<'a, T>,
    mix: Mix,
    columns: &'a [Mix],
    with: A,
    y: MapMut<'a, T>,
    left: usize,
    /// The outputs that the groups take turns at.
    part: Range<usize>,
}

impl<T: Element, A: Activation> Vectorized for Enlarge<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (channels, width) = (self.upper.dims().c, self.columns.len());
        let size = pixels_to_sum(channels);
        for start in (0..width).step_by(size) {
            self.part = start..width.min(start + size);
            each_group(s, channels, &mut self);
        }
    }
}

impl<T: Element, A: Activation> Enlarge<'_, T, A> {
    /// Column `x`, mixed from both rows.
    #[inline(always)]
    fn column<S: Simd, const G: usize, const PART: bool>(
        &self,
        g: Group<S, G, PART>,
        with: A::Of<S, G>,
        x: usize,
    ) -> Vs<S, G> {
        let upper = A::apply(g, with, g.load(&self.upper, x));
        let lower = A::apply(g, with, g.load(&self.lower, x));
        g.fma(g.splat(self.mix.share), lower, g.mul(g.splat(1.0 - self.mix.share), upper))
    }
}

impl<T: Element, A: Activation> ByChannels for Enlarge<'_, T, A> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let with = self.with.of(g);
        let first = self.columns[self.part.start];
        let mut low = first.low;
        let mut near = self.column(g, with, low);
        let mut far = self.column(g, with, first.high);
        for o in self.part.clone() {
            let mix = self.columns[o];
            if mix.low != low {
                (low, near) = (mix.low, far);
                far = self.column(g, with, mix.high);
            }
            let v = g.fma(g.splat(mix.share), far, g.mul(g.splat(1.0 - mix.share), near));
            g.store(&mut self.y, self.left + o, v);
        }
    }
}

/// One input row's gradient from the output rows that read it.
struct Gather<'a, T> {
    taps: [(Map<'a, T>, f32); READERS],
    columns: &'a [Mix],
    /// Where the outputs that read a column start.
    starts: &'a [[(usize, f32); READERS]],
    left: usize,
    dx: MapMut<'a, T>,
    /// The inputs that the groups take turns at.
    part: Range<usize>,
}

impl<T: Element> Vectorized for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let dims = self.dx.dims();
        let size = pixels_to_sum(dims.c);
        for start in (0..dims.w).step_by(size) {
            self.part = start..dims.w.min(start + size);
            each_group(s, dims.c, &mut self);
        }
    }
}

impl<T: Element> Gather<'_, T> {
    /// Column `o` of the output, summed over the rows that read this one.
    #[inline(always)]
    fn column<S: Simd, const G: usize, const PART: bool>(&self, g: Group<S, G, PART>, o: usize) -> Vs<S, G> {
        let mut column = g.zero();
        for (row, share) in &self.taps {
            if *share != 0.0 {
                column = g.fma(g.splat(*share), g.load(row, self.left + o), column);
            }
        }
        column
    }

    /// Stores a finished column, if it is one of the part's.
    #[inline(always)]
    fn finish<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>, x: usize, v: Vs<S, G>) {
        if self.part.contains(&x) {
            g.store(&mut self.dx, x, v);
        }
    }
}

impl<T: Element> ByChannels for Gather<'_, T> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        // The first outputs may lie between the part's first column and the one before it, whose sum is then let go.
        let first = self.starts[self.part.start][0].0;
        let (mut low, mut near, mut far) = (self.columns[first].low, g.zero(), g.zero());
        for o in first..self.columns.len() {
            let mix = self.columns[o];
            if mix.low != low {
                self.finish(g, low, near);
                (low, near, far) = (mix.low, far, g.zero());
                if low >= self.part.end {
                    return;
                }
            }
            let column = self.column(g, o);
            near = g.fma(g.splat(1.0 - mix.share), column, near);
            far = g.fma(g.splat(mix.share), column, far);
        }
        // The last output lies on the last column, or on the one before it with a share that rounding left there.
        match low + 1 < self.dx.dims().w {
            true => {
                self.finish(g, low, near);
                self.finish(g, low + 1, far);
            }
            false => self.finish(g, low, g.add(near, far)),
        }
    }
}
