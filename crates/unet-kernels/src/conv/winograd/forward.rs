//! Forward and, with turned weights, the gradient of the input: blocks of tiles go through the transform, 36 products and
//! the transform back, one block a task, so that nothing but the map itself leaves the core's cache.

use rayon::prelude::*;

use super::read::Reader;
use super::tiles::{Grid, Layout};
use super::weights::POINTS;
use super::write::Writer;
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
    let plan = Plan::of(panels.0, grid.len());
    let len = moments::len(plan.cols.next_multiple_of(panels.0.width));
    let mut kept = Scratch::take(if stats { plan.tasks() * len } else { 0 });
    let run = |task: usize, moments: Option<&mut [f32]>| {
        let (block, first) = (task / plan.groups, task % plan.groups * plan.cols);
        let tiles = block * plan.tiles..((block + 1) * plan.tiles).min(grid.len());
        let panels = (panels.0.part(first, plan.cols), &panels.1[panels.0.offset(first)..]);
        kernels.run(Block { input, output, panels, tiles, first, moments: moments.map(Moments::new) });
    };
    match stats {
        true => kept.par_chunks_mut(len).enumerate().for_each(|(task, m)| run(task, Some(m))),
        false => (0..plan.tasks()).into_par_iter().for_each(|task| run(task, None)),
    }
    stats.then(|| moments::total(&kept, len, plan.cols, panels.0.cols))
}

/// How a pass is cut into tasks, by its shape alone: blocks of tiles and, where these are few, groups of channels written,
/// which repeat the input's transform but read only their own weights.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// Tiles of a block.
    tiles: usize,
    blocks: usize,
    /// Channels of a group.
    cols: usize,
    groups: usize,
}

impl Plan {
    /// Tasks that even a small map should give.
    const TASKS: usize = 8;
    /// Fewest channels of a group: fewer would not outweigh the repeated transform.
    const COLS: usize = 64;

    fn of(shape: PanelShape, total: usize) -> Self {
        let channels = shape.depth + shape.padded();
        // As many tiles as keep a block in the second-level cache, but enough to make reading the weights pay.
        let cached = (600 << 10) / (4 * POINTS * channels);
        let enough = match shape.depth.max(shape.cols) {
            0..=128 => 24,
            129..=256 => 48,
            _ => 96,
        };
        let blocks = total.div_ceil(cached.clamp(enough, 96) / 12 * 12);
        let groups = Self::TASKS.div_ceil(blocks.max(1)).min(shape.cols / Self::COLS).max(1);
        let cols = shape.cols.div_ceil(groups).next_multiple_of(2 * shape.width);
        Self { tiles: total.div_ceil(blocks.max(1)), blocks, cols, groups: shape.cols.div_ceil(cols) }
    }

    fn tasks(&self) -> usize {
        self.blocks * self.groups
    }
}

struct Block<'a, T, U> {
    input: Reader<'a, T, 6>,
    output: Writer<'a, U>,
    panels: (PanelShape, &'a [f32]),
    tiles: std::ops::Range<usize>,
    /// The first of the channels that it writes.
    first: usize,
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
        let channels = self.first..self.first + shape.cols;
        // SAFETY: tasks have different tiles or channels, and tiles have different pixels.
        unsafe { self.output.write(s, self.tiles, channels, to, &m, self.moments) };
    }
}
