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
/// The most columns of a tile: with those around it 64.
const WIDEST: usize = 62;
/// bf16 values of both factors of a tile: 1 MiB.
const CACHED: usize = 1 << 19;
/// Sums of all parts that are added up at a time.
const CHUNK: usize = 512;
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
    let (taps, row) = (conv.kernel * conv.kernel, conv.cout.next_multiple_of(COLS));
    // Sums are read and written once a tile, so tiles are as high as the second-level cache allows.
    let high = (CACHED / (WIDEST * (row + conv.cin.min(2 * ROWS)))).clamp(8, 32);
    let tiling = match to.h {
        1 => Tiling::with(1, even(to.w, 512), to),
        _ => Tiling::with(even(to.h, high), even(to.w, WIDEST), to),
    };
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
    let (sum, others) = sums.split_at_mut(groups * len);
    add_parts(sum, others);
    write(&job, sum, len, dw);
}

/// Adds the other parts to the first, in order and in f64.
fn add_parts(first: &mut [f32], others: &[f32]) {
    let all = first.len();
    first.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, first)| {
        let mut sums = [0.0f64; CHUNK];
        sums.iter_mut().zip(first.iter()).for_each(|(sum, v)| *sum = f64::from(*v));
        for part in others.chunks(all) {
            sums.iter_mut().zip(&part[chunk * CHUNK..]).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        first.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum as f32);
    });
}

/// Turns (group, tap, in, out) into OIHW, as many channels out at a time as are a line of memory.
fn write(job: &Job<'_>, sums: &[f32], len: usize, dw: &mut [f32]) {
    let taps = job.conv.kernel * job.conv.kernel;
    let each = job.conv.cin * taps;
    dw.par_chunks_mut(COLS * each).enumerate().for_each(|(block, dw)| {
        let outs = dw.len() / each;
        for (group, sums) in sums.chunks(len).enumerate() {
            for tap in 0..taps {
                let first = group * job.group;
                for i in first..job.conv.cin.min(first + job.group) {
                    let from = &sums[(tap * job.group + i - first) * job.row + block * COLS..][..outs];
                    from.iter().enumerate().for_each(|(o, v)| dw[o * each + i * taps + tap] = *v);
                }
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
        let (at, number) = (block * DEPTH, pixels.len() / count);
        let whole = number / QUAD * QUAD;
        for (four, lines) in turned.chunks_mut(QUAD * line).take(count.div_ceil(QUAD)).enumerate() {
            let c = four * QUAD;
            let quads = if c + QUAD <= count { whole } else { 0 };
            for p in (0..quads).step_by(QUAD) {
                let from = |i: usize| load(&pixels[(p + i) * count + c..]);
                for (i, quad) in turned_quad([from(0), from(1), from(2), from(3)]).into_iter().enumerate() {
                    store(&mut lines[i * line + at + p..], quad);
                }
            }
            if quads == number {
                continue;
            }
            for (i, to) in lines.chunks_mut(line).take(count - c).enumerate() {
                let from = pixels[quads * count + c + i..].iter().step_by(count);
                to[at + quads..at + number].iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
}

/// Values that are turned in one register.
const QUAD: usize = 4;

/// Four values as one number, the first in its lowest bits.
#[inline(always)]
fn load(from: &[bf16]) -> u64 {
    (0..QUAD).fold(0, |all, i| all | u64::from(from[i].to_bits()) << (16 * i))
}

/// What [`load`] took.
#[inline(always)]
fn store(to: &mut [bf16], quad: u64) {
    let to = &mut to[..QUAD];
    for (i, to) in to.iter_mut().enumerate() {
        *to = bf16::from_bits((quad >> (16 * i)) as u16);
    }
}

/// Four rows of four values as columns: neighbours are exchanged, then pairs of them.
#[inline(always)]
fn turned_quad(rows: [u64; QUAD]) -> [u64; QUAD] {
    const EVEN: u64 = 0x0000_FFFF_0000_FFFF;
    const LOW: u64 = 0x0000_0000_FFFF_FFFF;
    let neighbours = |a: u64, b: u64| (a & EVEN | (b & EVEN) << 16, a >> 16 & EVEN | b & !EVEN);
    let pairs = |a: u64, b: u64| (a & LOW | b << 32, a >> 32 | b & !LOW);
    let ((a, b), (c, d)) = (neighbours(rows[0], rows[1]), neighbours(rows[2], rows[3]));
    let ((first, third), (second, fourth)) = (pairs(a, c), pairs(b, d));
    [first, second, third, fourth]
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
            let to = b[at..].first_chunk_mut::<{ 2 * COLS }>().expect("panels hold all of K");
            interleave(panel_of(one, col), panel_of(two, col), to);
        }
    }
}

/// The values of a panel's columns from `col` on, zeros where there are none.
#[inline(always)]
fn panel_of(pixel: &[bf16], col: usize) -> [bf16; COLS] {
    match pixel.get(col..).and_then(|rest| rest.first_chunk::<COLS>()) {
        Some(whole) => *whole,
        None => {
            let mut part = [bf16::ZERO; COLS];
            let rest = pixel.get(col..).unwrap_or_default();
            part[..rest.len()].copy_from_slice(rest);
            part
        }
    }
}

/// One value of each in turn.
#[inline(always)]
fn interleave(one: [bf16; COLS], two: [bf16; COLS], to: &mut [bf16; 2 * COLS]) {
    for n in 0..COLS {
        (to[2 * n], to[2 * n + 1]) = (one[n], two[n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_turned_to_lines_whatever_their_number() {
        for (count, number) in [(1usize, 1usize), (3, 5), (4, 4), (16, 33), (17, 70), (33, 64), (64, 31)] {
            let group = count.next_multiple_of(ROWS);
            let line = number.next_multiple_of(DEPTH) + DEPTH;
            let value = |p: usize, c: usize| bf16::from_bits((p * 100 + c) as u16);
            let pixels: Vec<bf16> = (0..number * count).map(|i| value(i / count, i % count)).collect();
            let mut turned = vec![bf16::ONE; group * line];
            turn(&pixels, count, &mut turned, line);
            for (i, found) in turned.iter().enumerate() {
                let (c, p) = (i / line, i % line);
                let expected = if c < count && p < number { value(p, c) } else { bf16::ZERO };
                assert_eq!(*found, expected, "{count} channels, channel {c}, pixel {p} of {number}");
            }
        }
    }
}
