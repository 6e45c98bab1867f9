//! Gradient by the weights on the engine: Xᵀ·dY over pixels, which are K. A tile of the input is transposed once, rows of channels,
//! and the taps are offsets into it; the output's gradient is packed as B with the input's distance from row to row, zeros where
//! there is no pixel. Tiles are cut into parts and channels into groups by the shape alone; each task adds up its own sums, and
//! parts are added in order.

use half::bf16;
use rayon::prelude::*;

use super::apply::even;
use super::{COLS, DEPTH, Engine, Multiply, ROWS, STEP, floats_for, halves_mut};
use crate::conv::ConvShape;
use crate::conv::direct::{Tiling, flat};
use crate::conv::window::{Pictures, Window};
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Affine, Kernels, Map, Source};

/// Most parts of a sum.
const PARTS: usize = 32;
/// Most floats in all parts together.
const FLOATS: usize = 8 << 20;
/// Tasks wanted: where parts are fewer, groups of input channels are tasks of their own.
const TASKS: usize = 16;

/// Writes Σ x·dy over all pixels into `dw`, OIHW.
pub(in crate::conv) fn run(
    kernels: &Kernels,
    engine: Engine,
    x: Source<'_, bf16>,
    dy: Map<'_, bf16>,
    conv: ConvShape,
    dw: &mut [f32],
) {
    if dw.is_empty() {
        return;
    }
    let (mut from, mut to) = (x.map.dims(), dy.dims());
    if conv.kernel == 1 && conv.pad == 0 {
        (from, to) = (flat(from), flat(to));
    }
    let tiling = if to.h == 1 { Tiling::with(1, even(to.w, 512), to) } else { Tiling::with(8, even(to.w, 62), to) };
    let (taps, row) = (conv.kernel * conv.kernel, conv.cout.next_multiple_of(COLS));
    let all = taps * conv.cin.next_multiple_of(ROWS) * row;
    let parts = tiling.len().min(PARTS).min(FLOATS / all).max(1);
    let groups = TASKS.div_ceil(parts).min(conv.cin.div_ceil(ROWS)).max(1);
    let group = conv.cin.div_ceil(groups).next_multiple_of(ROWS).max(ROWS);
    let groups = conv.cin.div_ceil(group).max(1);
    let len = taps * group * row;
    let mut sums = Scratch::take(parts * groups * len);
    let job = Job { engine, x, from, gradient: Pictures { source: dy.into(), dims: to }, conv, tiling, row, group };
    sums.par_chunks_mut(len).enumerate().for_each(|(task, sums)| {
        let (part, group) = (task / groups, task % groups);
        let tiles = part * tiling.len() / parts..(part + 1) * tiling.len() / parts;
        kernels.run(Task { job: &job, tiles, first: group * job.group, sums });
    });
    add_parts(&job, &sums, groups, len, dw);
}

/// Adds the parts up, in order and in f64, and turns (group, tap, in, out) into OIHW.
fn add_parts(job: &Job<'_>, sums: &[f32], groups: usize, len: usize, dw: &mut [f32]) {
    let (conv, taps) = (job.conv, job.conv.kernel * job.conv.kernel);
    dw.par_chunks_mut(conv.cin * taps).enumerate().for_each(|(o, dw)| {
        for (i, dw) in dw.chunks_mut(taps).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                let at = i / job.group * len + (tap * job.group + i % job.group) * job.row + o;
                *dw = sums.chunks(groups * len).map(|part| f64::from(part[at])).sum::<f64>() as f32;
            }
        }
    });
}

struct Job<'a> {
    engine: Engine,
    x: Source<'a, bf16>,
    /// The input's extents, flat if the output's are.
    from: crate::Dims,
    gradient: Pictures<'a, bf16>,
    conv: ConvShape,
    tiling: Tiling,
    /// Floats from one channel in to the next in sums.
    row: usize,
    /// Channels in of a task, whole tiles.
    group: usize,
}

impl<'a> Job<'a> {
    /// Some channels of the input.
    fn channels(&self, first: usize, count: usize) -> Pictures<'a, bf16> {
        let map = self.x.map;
        // An empty map has no first channel to begin with.
        let data = map.data().get(first..).unwrap_or_default();
        let map = Map::strided(data, map.dims().with_channels(count), map.stride()).expect("part of a map");
        let part = |values: &'a [f32]| &values[first..first + count];
        let norm = self.x.norm.map(|a| Affine { scale: part(a.scale), shift: part(a.shift) });
        Pictures { source: Source { map, norm }, dims: self.from.with_channels(count) }
    }
}

/// Some tiles, some channels in, and the sums over them, (tap, in, out).
struct Task<'a> {
    job: &'a Job<'a>,
    tiles: std::ops::Range<usize>,
    first: usize,
    sums: &'a mut [f32],
}

/// A tile's extents as the product sees them.
#[derive(Clone, Copy)]
struct Extents {
    rows: usize,
    cols: usize,
    /// Columns of the input's window: pixels from one row of the tile to the next.
    wide: usize,
    /// Pixels of K, whole steps.
    depth: usize,
    /// Values of a channel of the transposed window.
    line: usize,
}

impl Vectorized for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (job, conv, d) = (self.job, self.job.conv, self.job.gradient.dims);
        let (k, count) = (conv.kernel, job.group.min(conv.cin - self.first));
        let (input, begin) = (job.channels(self.first, count), self.tiles.start);
        if self.tiles.is_empty() {
            self.sums.fill(0.0);
        }
        for tile in self.tiles {
            let (image, top, left) = job.tiling.place(tile);
            let (rows, cols) = (job.tiling.rows.min(d.h - top), job.tiling.cols.min(d.w - left));
            let (high, wide) = (rows + k - 1, cols + k - 1);
            let depth = ((rows - 1) * wide + cols).next_multiple_of(DEPTH);
            let line = (depth + (k - 1) * wide + k - 1).next_multiple_of(DEPTH);
            let e = Extents { rows, cols, wide, depth, line };
            let (mut turned, mut b) =
                (Scratch::take(floats_for(job.group * line)), Scratch::take(floats_for(depth * job.row)));
            let (turned, b) = (&mut halves_mut(&mut turned)[..job.group * line], halves_mut(&mut b));
            let (y, x) = (top as isize, left as isize);
            let (above, beside) = (y - conv.pad as isize, x - conv.pad as isize);
            {
                let mut pixels = Scratch::take(floats_for(high * wide * count));
                let pixels = &mut halves_mut(&mut pixels)[..high * wide * count];
                input.copy(s, Window { image, top: above, left: beside, rows: high, cols: wide }, pixels);
                turn(pixels, count, turned, line);
            }
            {
                let mut pixels = Scratch::take(floats_for(rows * cols * conv.cout));
                let pixels = halves_mut(&mut pixels);
                job.gradient.copy(s, Window { image, top: y, left: x, rows, cols }, pixels);
                pack_gradient(pixels, conv.cout, e, b);
            }
            job.add(e, turned, b, tile > begin, self.sums);
        }
    }
}

impl Job<'_> {
    /// All taps of a tile, all channels.
    fn add(&self, e: Extents, turned: &[bf16], b: &[bf16], add: bool, sums: &mut [f32]) {
        let offsets: Vec<usize> = (0..e.depth).step_by(DEPTH).collect();
        for (tap, sums) in sums.chunks_mut(self.group * self.row).enumerate() {
            let a = &turned[tap / self.conv.kernel * e.wide + tap % self.conv.kernel..];
            for col in (0..self.row).step_by(2 * COLS) {
                self.engine.multiply(Multiply {
                    a,
                    a_row: e.line,
                    offsets: &offsets,
                    b: &b[col / COLS * offsets.len() * STEP..],
                    cols: (self.row - col).min(2 * COLS),
                    rows: self.group,
                    c: &mut sums[col..],
                    c_row: self.row,
                    add,
                });
            }
        }
    }
}

/// Pixels of `count` channels as lines of channels, zeros behind the last pixel and below the last channel.
#[inline(always)]
fn turn(pixels: &[bf16], count: usize, turned: &mut [bf16], line: usize) {
    let inside = pixels.len() / count;
    for (c, line) in turned.chunks_mut(line).enumerate() {
        line[if c < count { inside } else { 0 }..].fill(bf16::ZERO);
    }
    // As many pixels at a time as stay in the first-level cache while their channels pass by.
    for (block, pixels) in pixels.chunks(DEPTH * count).enumerate() {
        for (c, line) in turned.chunks_mut(line).take(count).enumerate() {
            let to = line[block * DEPTH..].iter_mut();
            to.zip(pixels[c..].iter().step_by(count)).for_each(|(to, from)| *to = *from);
        }
    }
}

/// The gradient's pixels as panels of B, in pairs.
#[inline(always)]
fn pack_gradient(pixels: &[bf16], cout: usize, e: Extents, b: &mut [bf16]) {
    let steps = e.depth / DEPTH;
    // Pixel `q` of K, or nothing in the columns that only the input's window has, and behind the last row.
    let pixel = |q: usize| match (q / e.wide, q % e.wide) {
        (r, p) if r < e.rows && p < e.cols => &pixels[(r * e.cols + p) * cout..][..cout],
        _ => &[],
    };
    for q in (0..e.depth).step_by(2) {
        let (one, two) = (pixel(q), pixel(q + 1));
        for (panel, col) in (0..cout).step_by(COLS).enumerate() {
            let at = (panel * steps + q / DEPTH) * STEP + q % DEPTH * COLS;
            let to: &mut [bf16] = &mut b[at..at + 2 * COLS];
            for n in 0..COLS {
                to[2 * n] = one.get(col + n).copied().unwrap_or(bf16::ZERO);
                to[2 * n + 1] = two.get(col + n).copied().unwrap_or(bf16::ZERO);
            }
        }
    }
}
