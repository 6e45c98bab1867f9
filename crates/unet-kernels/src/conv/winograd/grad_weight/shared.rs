//! Many channels: tiles are taken in chunks; a chunk is transformed in parallel over blocks of tiles, and multiplied in
//! parallel over points and rows, into one set of sums, so that no sum is ever split.

use rayon::prelude::*;

use super::{Pair, sums_row};
use crate::conv::ConvShape;
use crate::conv::product::{Left, Product, Right};
use crate::conv::winograd::tiles::Layout;
use crate::conv::winograd::weights::{POINTS, unpack_gradient};
use crate::pack::Width;
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels};

/// Tiles that are transformed as one task.
const BLOCK: usize = 32;
/// Floats of a chunk's transformed tiles: half of a common third-level cache.
const CHUNK: usize = 2 << 20;
/// Rows of a point's sums that are one task.
const ROWS: usize = 96;

/// Blocks that are transformed at a time: as many as make what is read and written of them weigh no less than the sums.
fn chunk(blocks: usize, layouts: (Layout, Layout), sums: usize) -> usize {
    (CHUNK.max(sums) / (layouts.0.len() + layouts.1.len())).clamp(1, blocks.max(1))
}

/// Floats that [`run`] takes, for vectors of so many.
pub(super) fn working_floats(conv: ConvShape, tiles: usize, width: usize) -> usize {
    let sums = POINTS * conv.cin * conv.cout.next_multiple_of(width);
    let layouts = (Layout::new(BLOCK, conv.cin, width), Layout::new(BLOCK, conv.cout, width));
    sums + chunk(tiles.div_ceil(BLOCK), layouts, sums) * (layouts.0.len() + layouts.1.len())
}

pub(super) fn run<T: Element, U: Element>(kernels: &Kernels, pair: Pair<'_, T, U>, conv: ConvShape, dw: &mut [f32]) {
    let (width, row) = (kernels.run(Width), sums_row(kernels, conv));
    let layouts = (Layout::new(BLOCK, conv.cin, width), Layout::new(BLOCK, conv.cout, width));
    let blocks = pair.tiles().div_ceil(BLOCK);
    let chunk = chunk(blocks, layouts, POINTS * conv.cin * row);
    let (mut v, mut d) = (Scratch::take(chunk * layouts.0.len()), Scratch::take(chunk * layouts.1.len()));
    let mut sums = Scratch::take(POINTS * conv.cin * row);
    if blocks == 0 {
        sums.fill(0.0);
    }
    for first in (0..blocks).step_by(chunk) {
        let count = chunk.min(blocks - first);
        let (v, d) = (&mut v[..count * layouts.0.len()], &mut d[..count * layouts.1.len()]);
        let parts = v.par_chunks_mut(layouts.0.len()).zip(d.par_chunks_mut(layouts.1.len())).enumerate();
        parts.for_each(|(b, (v, d))| kernels.run(Transform { pair, layouts, block: first + b, v, d }));
        let factors = Factors { v, d, layouts, blocks: count, cols: conv.cout, row, add: first > 0 };
        let points = sums.par_chunks_mut(conv.cin * row).enumerate();
        points
            .flat_map(|(point, sums)| {
                let parts = sums.par_chunks_mut(ROWS * row).enumerate();
                parts.map(move |(part, sums)| (point, part, sums))
            })
            .for_each(|(point, part, sums)| kernels.run(Sum { factors, point, first: part * ROWS, sums }));
    }
    unpack_gradient(kernels, conv, &sums, row, dw);
}

/// One block of tiles of input and output gradient, into the domain.
struct Transform<'a, T, U> {
    pair: Pair<'a, T, U>,
    layouts: (Layout, Layout),
    block: usize,
    v: &'a mut [f32],
    d: &'a mut [f32],
}

impl<T: Element, U: Element> Vectorized for Transform<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tiles = self.block * BLOCK..(self.block + 1) * BLOCK;
        self.pair.input.read(s, tiles.clone(), self.layouts.0, self.v);
        self.pair.output.read(s, tiles, self.layouts.1, self.d);
    }
}

/// A chunk's transformed tiles.
#[derive(Clone, Copy)]
struct Factors<'a> {
    v: &'a [f32],
    d: &'a [f32],
    layouts: (Layout, Layout),
    blocks: usize,
    cols: usize,
    row: usize,
    add: bool,
}

/// Some rows of one point's sums.
struct Sum<'a> {
    factors: Factors<'a>,
    point: usize,
    first: usize,
    sums: &'a mut [f32],
}

impl Vectorized for Sum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let f = self.factors;
        let (from, to) = f.layouts;
        s.vectorize(Product {
            left: Left {
                data: &f.v[self.point * from.point + self.first..],
                row: 1,
                inner: from.row,
                block: from.len(),
            },
            right: Right::Rows { data: &f.d[self.point * to.point..], inner: to.row, block: to.len() },
            rows: self.sums.len() / f.row,
            cols: f.cols,
            depth: BLOCK,
            blocks: f.blocks,
            out: self.sums,
            out_row: f.row,
            add: f.add,
        });
    }
}
