//! Direct convolution, forward and (with turned weights) by the input: a tile of the map is copied to a dense, zero-padded
//! buffer, in which the taps of a kernel's row are one contiguous run, so that each output row is one matrix product.

use rayon::prelude::*;

use super::moments::{self, Few, Moments};
use super::output::Pixels;
use super::product::{Left, Product, Right};
use super::window::{Pictures, Window};
use crate::pack::PanelShape;
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{BatchStats, Dims, Element, Kernels, MapMut, Source};

/// Convolves `x`, seen with `before` zeros above and left of it, with a `kernel`×`kernel` filter, into `y`, and
/// with `stats` says how its values spread.
pub(super) fn run<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    (kernel, before): (usize, isize),
    panels: (PanelShape, &[f32]),
    bias: Option<&[f32]>,
    mut y: MapMut<'_, U>,
    stats: bool,
) -> Option<BatchStats> {
    let y = Pixels::of(&mut y);
    let (mut from, mut to) = (x.map.dims(), y.dims());
    if kernel == 1 && before == 0 {
        (from, to) = (flat(from), flat(to));
    }
    let tiling = Tiling::of(kernel, from.c, to);
    let job = Job { input: Pictures { source: x, dims: from }, kernel, before, panels, bias, y, dims: to, tiling };
    let padded = panels.0.padded();
    let mut kept = Scratch::take(if stats { tiling.len() * moments::len(padded) } else { 0 });
    let run = |unit: usize, moments: Option<&mut [f32]>| {
        kernels.run(Unit { job: &job, unit, moments: moments.map(Moments::new) });
    };
    match stats {
        true => kept.par_chunks_mut(moments::len(padded)).enumerate().for_each(|(unit, m)| run(unit, Some(m))),
        false => (0..tiling.len()).into_par_iter().for_each(|unit| run(unit, None)),
    }
    stats.then(|| moments::total(&kept, moments::len(padded), padded, panels.0.cols))
}

/// All pixels as one row.
pub(super) fn flat(d: Dims) -> Dims {
    Dims::new(1, 1, d.pixels(), d.c)
}

/// The tiles of output that are a task each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiling {
    pub rows: usize,
    pub cols: usize,
    down: usize,
    across: usize,
    images: usize,
}

impl Tiling {
    /// Tiles of an output whose input window, of `channels`, fits the second-level cache.
    pub(super) fn of(kernel: usize, channels: usize, to: Dims) -> Self {
        let rows = if kernel == 1 { 1 } else { 4 };
        let fits = (64 << 10) / (channels.max(1) * (rows + kernel - 1));
        Self::with(rows, fits.clamp(24, 192) / 12 * 12, to)
    }

    pub(super) fn with(rows: usize, cols: usize, to: Dims) -> Self {
        let images = if to.is_empty() { 0 } else { to.n };
        Self { rows, cols, down: to.h.div_ceil(rows), across: to.w.div_ceil(cols), images }
    }

    pub(super) fn len(&self) -> usize {
        self.images * self.down * self.across
    }

    /// Image, first row and first column.
    pub(super) fn place(&self, unit: usize) -> (usize, usize, usize) {
        let row = unit / self.across;
        (row / self.down, row % self.down * self.rows, unit % self.across * self.cols)
    }
}

struct Job<'a, T, U> {
    input: Pictures<'a, T>,
    kernel: usize,
    before: isize,
    panels: (PanelShape, &'a [f32]),
    bias: Option<&'a [f32]>,
    y: Pixels<'a, U>,
    /// The output's extents, flat if the input's are.
    dims: Dims,
    tiling: Tiling,
}

struct Unit<'a, T, U> {
    job: &'a Job<'a, T, U>,
    unit: usize,
    moments: Option<Moments<'a>>,
}

impl<T: Element, U: Element> Vectorized for Unit<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (job, k, d) = (self.job, self.job.kernel, self.job.dims);
        let (shape, weights) = job.panels;
        let (image, top, left) = job.tiling.place(self.unit);
        let (rows, cols) = (job.tiling.rows.min(d.h - top), job.tiling.cols.min(d.w - left));
        let (cin, padded) = (job.input.dims.c, d.c.next_multiple_of(S::WIDTH));
        let (high, wide) = (rows + k - 1, cols + k - 1);
        let (mut x, mut y) = (Scratch::take(high * wide * cin), Scratch::take(cols * padded));
        let window =
            Window { image, top: top as isize - job.before, left: left as isize - job.before, rows: high, cols: wide };
        job.input.copy(s, window, &mut x);
        for r in 0..rows {
            s.vectorize(Product {
                left: Left { data: &x[r * wide * cin..], row: cin, inner: 1, block: wide * cin },
                right: Right::Matrices { data: weights, shape, number: 0 },
                rows: cols,
                cols: d.c,
                depth: k * cin,
                blocks: k,
                out: &mut y,
                out_row: padded,
                add: false,
            });
            let first = (image * d.h + top + r) * d.w + left;
            // SAFETY: units are different tiles of the output.
            unsafe { write_row(s, job, first, &y[..cols * padded], &mut self.moments) };
        }
    }
}

/// Writes one row of sums with their bias to pixels `first..`, and joins it to `moments`.
///
/// # Safety
/// No other thread accesses the pixels meanwhile.
#[inline(always)]
unsafe fn write_row<S: Simd, T: Element, U: Element>(
    s: S,
    job: &Job<'_, T, U>,
    first: usize,
    row: &[f32],
    moments: &mut Option<Moments<'_>>,
) {
    let (channels, padded) = (job.dims.c, job.dims.c.next_multiple_of(S::WIDTH));
    let pixels = row.len() / padded;
    for c in (0..channels).step_by(S::WIDTH) {
        let bias = job.bias.map_or(s.zero(), |b| s.load_slice(&b[c..]));
        let mut sum = s.zero();
        for p in 0..pixels {
            let v = s.add(s.load_slice(&row[p * padded + c..]), bias);
            sum = s.add(sum, U::rounded(s, v));
            // SAFETY: the caller's promise.
            unsafe { job.y.store(s, first + p, c, v) };
        }
        if let Some(moments) = moments {
            let mean = s.mul(sum, s.splat(1.0 / pixels as f32));
            let (mut deviations, mut squares) = (s.zero(), s.zero());
            for p in 0..pixels {
                let v = U::rounded(s, s.add(s.load_slice(&row[p * padded + c..]), bias));
                let d = s.sub(v, mean);
                (deviations, squares) = (s.add(deviations, d), s.fma(d, d, squares));
            }
            moments.join(s, c, Few { pixels, mean, deviations, squares });
        }
    }
    if let Some(moments) = moments {
        moments.count(pixels);
    }
}
