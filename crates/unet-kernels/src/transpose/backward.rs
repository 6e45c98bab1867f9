//! Backward: blocks times transposed weights give the input's gradient; input times blocks, over pixels, the weights'. Bands
//! of rows are cut by the shape alone, and their sums added in order.

use rayon::prelude::*;

use super::Bands;
use crate::conv::{Left, Pictures, Pixels, Product, Right, Window};
use crate::pack::{PanelShape, Width};
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels, MapMut, Placement, Source};

/// Most parts of the sum over pixels.
const PARTS: usize = 16;
/// Pixels that are added up by themselves: longer sums would round too much.
const RUN: usize = 256;
/// Most floats in all parts together.
const FLOATS: usize = 16 << 20;

/// The two rows of blocks of a band, one behind the other: (row of the block, pixel, column of the block, channel).
#[inline(always)]
fn copy_blocks<S: Simd, T: Element>(
    s: S,
    from: Pictures<'_, T>,
    place: Placement,
    (image, top, rows): (usize, usize, usize),
    width: usize,
    to: &mut [f32],
) {
    let len = 2 * width * from.dims.c;
    for (number, to) in to.chunks_mut(len).take(2 * rows).enumerate() {
        let (ky, row) = (number / rows, number % rows);
        let (top, left) = ((place.top + 2 * (top + row) + ky) as isize, place.left as isize);
        from.copy(s, Window { image, top, left, rows: 1, cols: 2 * width }, to);
    }
}

pub(super) fn by_input<T: Element, U: Element>(
    kernels: &Kernels,
    dy: Source<'_, T>,
    panels: (PanelShape, &[f32]),
    mut dx: MapMut<'_, U>,
    place: Placement,
) {
    let dy = Pictures { source: dy, dims: dy.map.dims() };
    let bands = Bands::of(dx.dims());
    let dx = Pixels::of(&mut dx);
    (0..bands.len()).into_par_iter().for_each(|b| kernels.run(Band { dy, panels, dx, place, at: bands.place(b) }));
}

/// Some rows of the input's gradient.
struct Band<'a, T, U> {
    dy: Pictures<'a, T>,
    panels: (PanelShape, &'a [f32]),
    dx: Pixels<'a, U>,
    place: Placement,
    at: (usize, usize, usize),
}

impl<T: Element, U: Element> Vectorized for Band<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((image, top, rows), d, cout) = (self.at, self.dx.dims(), self.dy.dims.c);
        let (shape, weights) = self.panels;
        let (pixels, padded) = (rows * d.w, shape.padded());
        let (mut blocks, mut dx) = (Scratch::take(4 * pixels * cout), Scratch::take(pixels * padded));
        copy_blocks(s, self.dy, self.place, self.at, d.w, &mut blocks);
        s.vectorize(Product {
            left: Left { data: &blocks, row: 2 * cout, inner: 1, block: 2 * pixels * cout },
            right: Right::Matrices { data: weights, shape, number: 0 },
            rows: pixels,
            cols: d.c,
            depth: 2 * cout,
            blocks: 2,
            out: &mut dx,
            out_row: padded,
            add: false,
        });
        let first = (image * d.h + top) * d.w;
        for p in 0..pixels {
            for c in (0..d.c).step_by(S::WIDTH) {
                // SAFETY: bands are different rows.
                unsafe { self.dx.store(s, first + p, c, s.load_slice(&dx[p * padded + c..])) };
            }
        }
    }
}

pub(super) fn by_weight<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    dy: Source<'_, U>,
    place: Placement,
    dw: &mut [f32],
    db: &mut [f32],
) {
    let (xd, cout) = (x.map.dims(), dy.map.dims().c);
    let bands = Bands::of(xd);
    let row = (2 * cout).next_multiple_of(kernels.run(Width));
    let len = 2 * xd.c * row + cout;
    let parts = bands.len().min(PARTS).min(FLOATS / len.max(1)).max(1);
    let mut sums = Scratch::take(parts * len);
    let (x, dy) = (Pictures { source: x, dims: xd }, Pictures { source: dy, dims: dy.map.dims() });
    sums.par_chunks_mut(len.max(1)).enumerate().for_each(|(p, sums)| {
        let range = p * bands.len() / parts..(p + 1) * bands.len() / parts;
        kernels.run(Part { x, dy, place, bands, range, row, sums });
    });
    let total = |at: usize| sums.chunks(len).map(|part| f64::from(part[at])).sum::<f64>() as f32;
    dw.par_chunks_mut((4 * cout).max(1)).enumerate().for_each(|(i, dw)| {
        for (k, dw) in dw.iter_mut().enumerate() {
            let (o, tap) = (k / 4, k % 4);
            *dw = total((tap / 2 * xd.c + i) * row + tap % 2 * cout + o);
        }
    });
    db.iter_mut().enumerate().for_each(|(o, db)| *db = total(2 * xd.c * row + o));
}

/// Some bands and the sums over them: (row of the block, channel in, (column of the block, channel out)), then biases.
struct Part<'a, T, U> {
    x: Pictures<'a, T>,
    dy: Pictures<'a, U>,
    place: Placement,
    bands: Bands,
    range: std::ops::Range<usize>,
    row: usize,
    sums: &'a mut [f32],
}

impl<T: Element, U: Element> Vectorized for Part<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (d, cout) = (self.x.dims, self.dy.dims.c);
        self.sums.fill(0.0);
        let (sums, biases) = self.sums.split_at_mut(2 * d.c * self.row);
        let most = self.bands.rows * d.w;
        let mut x = Scratch::take(most * d.c);
        // The last vector of the last pixel reads on behind it; what it reads lands in the padding of the sums.
        let mut blocks = Scratch::take(4 * most * cout + S::WIDTH);
        blocks[4 * most * cout..].fill(0.0);
        for band in self.range {
            let at @ (image, top, rows) = self.bands.place(band);
            let pixels = rows * d.w;
            self.x.copy(s, Window { image, top: top as isize, left: 0, rows, cols: d.w }, &mut x);
            copy_blocks(s, self.dy, self.place, at, d.w, &mut blocks);
            for (ky, sums) in sums.chunks_mut((d.c * self.row).max(1)).enumerate() {
                for from in (0..pixels).step_by(RUN) {
                    let right = &blocks[(ky * pixels + from) * 2 * cout..];
                    s.vectorize(Product {
                        left: Left { data: &x[from * d.c..], row: 1, inner: d.c, block: 0 },
                        right: Right::Rows { data: right, inner: 2 * cout, block: 0 },
                        rows: d.c,
                        cols: 2 * cout,
                        depth: RUN.min(pixels - from),
                        blocks: 1,
                        out: &mut *sums,
                        out_row: self.row,
                        add: true,
                    });
                }
            }
            blocks[..4 * pixels * cout].chunks((RUN * cout).max(1)).for_each(|run| add_biases(s, run, biases));
        }
    }
}

/// Adds the channels of all pixels to the biases' sums, after adding them up by themselves.
#[inline(always)]
fn add_biases<S: Simd>(s: S, blocks: &[f32], biases: &mut [f32]) {
    let cout = biases.len();
    for c in (0..cout).step_by(S::WIDTH) {
        let mut sum = s.zero();
        for pixel in blocks.chunks(cout) {
            sum = s.add(sum, s.load_slice(&pixel[c..]));
        }
        let to = &mut biases[c..];
        s.store_slice(to, s.add(s.load_slice(to), sum));
    }
}
