//! Gradient of the weights in Winograd's domain: for each of the 36 points, the sum over all tiles of input times output
//! gradient, transformed back to 3×3 once at the end. Tiles are taken in chunks that stay in the shared cache; a chunk is
//! transformed in parallel over blocks of tiles and multiplied in parallel over points, so that no sum is ever split.

use rayon::prelude::*;

use super::tiles::{Grid, Layout, Reader};
use super::weights::{POINTS, unpack_gradient};
use crate::conv::ConvShape;
use crate::conv::product::{Left, Product, Right};
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels, Map, Source};

/// Tiles that are transformed as one task.
const BLOCK: usize = 32;
/// Floats of a chunk's transformed tiles: half of a common third-level cache.
const CHUNK: usize = 2 << 20;
/// Rows of a point's sums that are one task.
const ROWS: usize = 96;

/// Writes Σ x·dy over all pixels into `dw`, OIHW.
pub(in crate::conv) fn run<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    dy: Map<'_, U>,
    conv: ConvShape,
    dw: &mut [f32],
) {
    let width = kernels.run(crate::pack::Width);
    let grid = Grid::over(dy.dims());
    let input = Reader::<T, 6> { source: x, grid, before: conv.pad as isize };
    let output = Reader::<U, 4> { source: dy.into(), grid, before: 0 };
    let layouts = (Layout::new(BLOCK, conv.cin, width), Layout::new(BLOCK, conv.cout, width));
    let blocks = grid.len().div_ceil(BLOCK);
    let chunk = (CHUNK / (layouts.0.len() + layouts.1.len())).max(2).min(blocks.max(1));
    let (mut v, mut d) = (Scratch::take(chunk * layouts.0.len()), Scratch::take(chunk * layouts.1.len()));
    let row = conv.cout.next_multiple_of(width);
    let mut sums = Scratch::take(POINTS * conv.cin * row);
    if blocks == 0 {
        sums.fill(0.0);
    }
    for first in (0..blocks).step_by(chunk) {
        let count = chunk.min(blocks - first);
        let (v, d) = (&mut v[..count * layouts.0.len()], &mut d[..count * layouts.1.len()]);
        let parts = v.par_chunks_mut(layouts.0.len()).zip(d.par_chunks_mut(layouts.1.len())).enumerate();
        parts.for_each(|(b, (v, d))| kernels.run(Transform { input, output, layouts, block: first + b, v, d }));
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
    input: Reader<'a, T, 6>,
    output: Reader<'a, U, 4>,
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
        self.input.read(s, tiles.clone(), self.layouts.0, self.v);
        self.output.read(s, tiles, self.layouts.1, self.d);
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
