//! Convolution on the engine, forward and (with turned weights) by the input. A window of the map is copied to a dense buffer
//! with its border of zeros; its pixels, row behind row, are the rows of A, and every tap is an offset. The last pixels of each row
//! of the window are the centre of no output: their sums are computed and not read.

use half::bf16;
use rayon::prelude::*;

use super::{COLS, Engine, Multiply, Panels, ROWS, floats_for, halves, halves_mut};
use crate::conv::direct::{Tiling, flat};
use crate::conv::moments::{self, Few, Moments};
use crate::conv::output::Pixels;
use crate::conv::window::{Pictures, Window};
use crate::scratch::Scratch;
use crate::simd::{Simd, Storage, Vectorized};
use crate::{BatchStats, Dims, Kernels, MapMut, Source};

/// Columns of C at a time: two panels.
const WIDE: usize = 2 * COLS;
/// Tasks wanted: where tiles are fewer, groups of output channels are tasks of their own.
const TASKS: usize = 16;

/// Convolves `x`, seen with `before` zeros above and left of it, with a `kernel`×`kernel` filter, into `y`, and with `stats` says
/// how its values spread.
pub(in crate::conv) fn run(
    kernels: &Kernels,
    (engine, panels, weights): (Engine, Panels, &[f32]),
    x: Source<'_, bf16>,
    (kernel, before): (usize, isize),
    bias: Option<&[f32]>,
    mut y: MapMut<'_, bf16>,
    stats: bool,
) -> Option<BatchStats> {
    let y = Pixels::of(&mut y);
    let (mut from, mut to) = (x.map.dims(), y.dims());
    if kernel == 1 && before == 0 {
        (from, to) = (flat(from), flat(to));
    }
    let tiling = tiling(kernel, from.c, to);
    let groups = TASKS.div_ceil(tiling.len().max(1)).min(panels.written.div_ceil(WIDE)).max(1);
    let group = panels.written.div_ceil(groups).next_multiple_of(WIDE).max(WIDE);
    let groups = panels.written.div_ceil(group).max(1);
    let input = Pictures { source: x, dims: from };
    let weights = halves(weights);
    let job = Job { engine, input, kernel, before, panels, weights, bias, y, dims: to, tiling, groups, group };
    let (units, len) = (tiling.len() * groups, moments::len(group));
    let mut kept = Scratch::take(if stats { units * len } else { 0 });
    match stats {
        true => kept.par_chunks_mut(len).enumerate().for_each(|(unit, floats)| {
            kernels.run(Unit { job: &job, unit, moments: Some(Moments::new(floats)) });
        }),
        false => (0..units).into_par_iter().for_each(|unit| kernels.run(Unit { job: &job, unit, moments: None })),
    }
    stats.then(|| moments::total(&kept, len, group, panels.written))
}

/// Tiles of an output whose input window is a few hundred kilobytes, part of a second-level cache.
fn tiling(kernel: usize, channels: usize, to: Dims) -> Tiling {
    let rows = if kernel == 1 { 1 } else { 8 };
    let fits = (256 << 10) / (channels.max(1) * (rows + kernel - 1));
    Tiling::with(rows, even(to.w, fits.clamp(32, if kernel == 1 { 512 } else { 126 })), to)
}

/// The width of tiles, at most `most`, that are as equal as can be.
pub(super) fn even(side: usize, most: usize) -> usize {
    side.div_ceil(side.div_ceil(most).max(1)).max(1)
}

struct Job<'a> {
    engine: Engine,
    input: Pictures<'a, bf16>,
    kernel: usize,
    before: isize,
    panels: Panels,
    weights: &'a [bf16],
    bias: Option<&'a [f32]>,
    y: Pixels<'a, bf16>,
    /// The output's extents, flat if the input's are.
    dims: Dims,
    tiling: Tiling,
    groups: usize,
    /// Channels of a group, in pairs of panels.
    group: usize,
}

/// A tile of the output, some of its channels.
struct Unit<'a> {
    job: &'a Job<'a>,
    unit: usize,
    moments: Option<Moments<'a>>,
}

impl Vectorized for Unit<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (job, k, d) = (self.job, self.job.kernel, self.job.dims);
        let (tile, group) = (self.unit / job.groups, self.unit % job.groups);
        let (image, top, left) = job.tiling.place(tile);
        let (rows, cols) = (job.tiling.rows.min(d.h - top), job.tiling.cols.min(d.w - left));
        let (high, wide, cin) = (rows + k - 1, cols + k - 1, job.input.dims.c);
        let a_rows = ((rows - 1) * wide + cols).next_multiple_of(ROWS);
        let len = (a_rows - 1 + (k - 1) * wide) * cin + job.panels.run();
        let (mut a, mut c) = (Scratch::take(floats_for(len)), Scratch::take(a_rows * WIDE));
        let a = halves_mut(&mut a);
        let window =
            Window { image, top: top as isize - job.before, left: left as isize - job.before, rows: high, cols: wide };
        job.input.copy(s, window, a);
        // What no pixel covers meets weights of zero or sums that are not read, and must not be a NaN.
        a[high * wide * cin..].fill(bf16::ZERO);
        let offsets = job.panels.offsets(wide * cin);
        for col in (group * job.group..d.c.min((group + 1) * job.group)).step_by(WIDE) {
            let width = if d.c - col > COLS { WIDE } else { COLS };
            let b = &job.weights[col / COLS * job.panels.panel()..];
            let c = &mut c[..a_rows * width];
            job.engine.multiply(Multiply {
                a,
                a_row: cin,
                offsets: &offsets,
                b,
                cols: width,
                rows: a_rows,
                c,
                c_row: width,
                add: false,
            });
            let place = Place { first: (image * d.h + top) * d.w + left, rows, cols, wide, col, width };
            // SAFETY: units are different tiles, or different channels of one.
            unsafe { write(s, job, place, c, col - group * job.group, &mut self.moments) };
        }
        if let Some(moments) = &mut self.moments {
            moments.count(rows * cols);
        }
    }
}

/// What of C goes where.
#[derive(Clone, Copy)]
struct Place {
    /// The tile's first pixel.
    first: usize,
    rows: usize,
    cols: usize,
    /// Rows of C from one row of the tile to the next.
    wide: usize,
    /// The first channel.
    col: usize,
    /// Channels in C.
    width: usize,
}

/// Writes sums with their bias, and joins them to `moments`, whose channels begin with the task's, at `lane`.
///
/// # Safety
/// No other thread accesses these channels of the tile meanwhile.
#[inline(always)]
unsafe fn write<S: Simd>(s: S, job: &Job<'_>, at: Place, c: &[f32], lane: usize, moments: &mut Option<Moments<'_>>) {
    let Place { first, rows, cols, wide, col, width } = at;
    for v in (0..width.min(job.dims.c - col)).step_by(S::WIDTH) {
        let bias = job.bias.map_or(s.zero(), |b| s.load_slice(&b[col + v..]));
        let mut sum = s.zero();
        for r in 0..rows {
            let mut row = s.zero();
            for p in 0..cols {
                let value = s.add(s.load_slice(&c[(r * wide + p) * width + v..]), bias);
                row = s.add(row, bf16::rounded(s, value));
                // SAFETY: the caller's promise.
                unsafe { job.y.store(s, first + r * job.dims.w + p, col + v, value) };
            }
            sum = s.add(sum, row);
        }
        let Some(moments) = moments else { continue };
        let mean = s.mul(sum, s.splat(1.0 / (rows * cols) as f32));
        let (mut deviations, mut squares) = (s.zero(), s.zero());
        for r in 0..rows {
            let (mut off, mut square) = (s.zero(), s.zero());
            for p in 0..cols {
                let value = bf16::rounded(s, s.add(s.load_slice(&c[(r * wide + p) * width + v..]), bias));
                let d = s.sub(value, mean);
                (off, square) = (s.add(off, d), s.fma(d, d, square));
            }
            (deviations, squares) = (s.add(deviations, off), s.add(squares, square));
        }
        moments.join(s, lane + v, Few { pixels: rows * cols, mean, deviations, squares });
    }
}
