//! Gradient of a direct convolution's weights: pixels are the inner dimension. The output is cut into parts, by its shape
//! alone, each of which adds up its own gradient; the parts are added in order at the end.

use rayon::prelude::*;

use super::ConvShape;
use super::direct::{Tiling, flat};
use super::product::{Left, Product, Right};
use super::window::{Pictures, Window};
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels, Map, Source};

/// Most parts of a sum.
const PARTS: usize = 32;
/// Most floats in all parts together.
const FLOATS: usize = 8 << 20;

/// Writes Σ x·dy over all pixels into `dw`, OIHW.
pub(super) fn run<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    dy: Map<'_, U>,
    conv: ConvShape,
    dw: &mut [f32],
) {
    let width = kernels.run(crate::pack::Width);
    let (mut from, mut to) = (x.map.dims(), dy.dims());
    if conv.kernel == 1 && conv.pad == 0 {
        (from, to) = (flat(from), flat(to));
    }
    // Products of 256 pixels: longer sums would round too much.
    let tiling = if to.h == 1 { Tiling::with(1, 256, to) } else { Tiling::with(4, 64, to) };
    let row = conv.cout.next_multiple_of(width);
    let len = conv.kernel * conv.kernel * conv.cin * row;
    let parts = tiling.len().min(PARTS).min(FLOATS / len.max(1)).max(1);
    let mut sums = Scratch::take(parts * len);
    let job = Job {
        input: Pictures { source: x, dims: from },
        gradient: Pictures { source: dy.into(), dims: to },
        conv,
        tiling,
        row,
    };
    sums.par_chunks_mut(len.max(1)).enumerate().for_each(|(part, sums)| {
        let units = part * tiling.len() / parts..(part + 1) * tiling.len() / parts;
        kernels.run(Part { job: &job, units, sums });
    });
    add_parts(conv, &sums, row, dw);
}

/// Adds the parts up, in order and in f64, and turns (tap, in, out) into OIHW.
fn add_parts(conv: ConvShape, sums: &[f32], row: usize, dw: &mut [f32]) {
    let taps = conv.kernel * conv.kernel;
    if dw.is_empty() {
        return;
    }
    dw.par_chunks_mut(conv.cin * taps).enumerate().for_each(|(o, dw)| {
        for (i, dw) in dw.chunks_mut(taps).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                let at = (tap * conv.cin + i) * row + o;
                let parts = sums.chunks(taps * conv.cin * row);
                *dw = parts.map(|part| f64::from(part[at])).sum::<f64>() as f32;
            }
        }
    });
}

struct Job<'a, T, U> {
    input: Pictures<'a, T>,
    gradient: Pictures<'a, U>,
    conv: ConvShape,
    tiling: Tiling,
    row: usize,
}

/// Some tiles and the sum over them, (tap, in, out).
struct Part<'a, T, U> {
    job: &'a Job<'a, T, U>,
    units: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl<T: Element, U: Element> Vectorized for Part<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (job, conv) = (self.job, self.job.conv);
        let (k, d, t) = (conv.kernel, job.gradient.dims, job.tiling);
        self.sums.fill(0.0);
        let (cin, cout) = (conv.cin, conv.cout);
        let mut x = Scratch::take((t.rows + k - 1) * (t.cols + k - 1) * cin);
        // The last vector of the last pixel reads on behind it; what it reads lands in the padding of the sums.
        let mut dy = Scratch::take(t.rows * t.cols * cout + S::WIDTH);
        dy[t.rows * t.cols * cout..].fill(0.0);
        for unit in self.units {
            let (image, top, left) = t.place(unit);
            let (rows, cols) = (t.rows.min(d.h - top), t.cols.min(d.w - left));
            let (high, wide) = (rows + k - 1, cols + k - 1);
            let (y, x0) = (top as isize, left as isize);
            let (top, left) = (y - conv.pad as isize, x0 - conv.pad as isize);
            job.input.copy(s, Window { image, top, left, rows: high, cols: wide }, &mut x);
            job.gradient.copy(s, Window { image, top: y, left: x0, rows, cols }, &mut dy);
            for ky in 0..k {
                let run = k * cin * job.row;
                s.vectorize(Product {
                    left: Left { data: &x[ky * wide * cin..], row: 1, inner: cin, block: wide * cin },
                    right: Right::Rows { data: &dy, inner: cout, block: cols * cout },
                    rows: k * cin,
                    cols: cout,
                    depth: cols,
                    blocks: rows,
                    out: &mut self.sums[ky * run..(ky + 1) * run],
                    out_row: job.row,
                    add: true,
                });
            }
        }
    }
}
