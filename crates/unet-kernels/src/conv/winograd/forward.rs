//! Forward and, with turned weights, the gradient of the input: blocks of tiles go through the transform, 36 products and
//! the transform back, one block a task, so that nothing but the map itself leaves the core's cache.

use rayon::prelude::*;

use super::tiles::{Grid, Layout, Reader, Writer};
use super::weights::POINTS;
use crate::conv::moments::{self, Moments};
use crate::conv::output::Pixels;
use crate::conv::product::{Left, Product, Right};
use crate::pack::PanelShape;
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{BatchStats, Element, Kernels, MapMut, Source};

/// Convolves `x`, seen with `before` zeros above and left of it, into `y`, and with `stats` says how its values spread.
pub(in crate::conv) fn run<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    before: isize,
    panels: (PanelShape, &[f32]),
    bias: Option<&[f32]>,
    mut y: MapMut<'_, U>,
    stats: bool,
) -> Option<BatchStats> {
    let grid = Grid::over(y.dims());
    let input = Reader { source: x, grid, before };
    let output = Writer { to: Pixels::of(&mut y), grid, bias };
    let tiles = block_tiles(panels.0, grid.len());
    let (padded, blocks) = (panels.0.padded(), grid.len().div_ceil(tiles));
    let mut kept = Scratch::take(if stats { blocks * moments::len(padded) } else { 0 });
    let run = |b: usize, moments: Option<&mut [f32]>| {
        let range = b * tiles..((b + 1) * tiles).min(grid.len());
        kernels.run(Block { input, output, panels, tiles: range, moments: moments.map(Moments::new) });
    };
    match stats {
        true => kept.par_chunks_mut(moments::len(padded)).enumerate().for_each(|(b, m)| run(b, Some(m))),
        false => (0..blocks).into_par_iter().for_each(|b| run(b, None)),
    }
    stats.then(|| moments::total(&kept, padded, panels.0.cols))
}

/// Tiles of a block: as many as keep its values in the second-level cache, but enough to make reading the weights pay.
fn block_tiles(shape: PanelShape, total: usize) -> usize {
    let channels = shape.depth + shape.padded();
    let cached = (600 << 10) / (4 * POINTS * channels);
    let enough = match shape.depth.max(shape.cols) {
        0..=128 => 24,
        129..=256 => 48,
        _ => 96,
    };
    let wanted = cached.clamp(enough, 96) / 12 * 12;
    // Small maps: rather more tasks than the full use of each weight that is read.
    wanted.min(total.div_ceil(4).next_multiple_of(12).max(24))
}

struct Block<'a, T, U> {
    input: Reader<'a, T, 6>,
    output: Writer<'a, U>,
    panels: (PanelShape, &'a [f32]),
    tiles: std::ops::Range<usize>,
    moments: Option<Moments<'a>>,
}

impl<T: Element, U: Element> Vectorized for Block<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (shape, weights) = self.panels;
        let from = Layout::new(self.tiles.len(), shape.depth, S::WIDTH);
        let to = Layout::new(self.tiles.len(), shape.cols, S::WIDTH);
        let (mut v, mut m) = (Scratch::take(from.len()), Scratch::take(to.len()));
        self.input.read(s, self.tiles.clone(), from, &mut v);
        for point in 0..POINTS {
            s.vectorize(Product {
                left: Left { data: &v[point * from.point..], row: from.row, inner: 1, block: 0 },
                right: Right::Matrices { data: weights, shape, number: point },
                rows: self.tiles.len(),
                cols: shape.cols,
                depth: shape.depth,
                blocks: 1,
                out: &mut m[point * to.point..],
                out_row: to.row,
                add: false,
            });
        }
        // SAFETY: tasks have different tiles, and tiles have different pixels.
        unsafe { self.output.write(s, self.tiles, to, &m, self.moments) };
    }
}
