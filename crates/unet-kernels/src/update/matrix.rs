//! Products of matrices as Muon needs them: views of any orientation, products that are symmetric and are computed in half.
//!
//! Each value is summed in the order of the inner index, in chunks of [`DEPTH`]: its bits depend on the tier's rounding alone, not on
//! the threads.

use rayon::prelude::*;

use crate::Kernels;
use crate::conv::{Left, Product, Right};
use crate::pack::{PanelShape, Width};
use crate::scratch::Scratch;

/// Rows that one task computes: whole register blocks of every tier.
const BLOCK: usize = 24;
/// Inner indices at a time, so that a panel of two vectors stays in the second-level cache.
const DEPTH: usize = 512;
/// Columns at a time of a product whose result is handed out block by block.
const COLUMNS: usize = 1024;
/// Multiply-adds below which another thread is not worth waking.
const TASK: usize = 1 << 18;
/// Rows and columns of a tile that is mirrored at a time.
const TILE: usize = 16;

/// A matrix that someone else owns, read through two strides.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    /// Values from one row to the next.
    pub row: usize,
    /// Values from one column to the next.
    pub col: usize,
}

impl<'a> View<'a> {
    /// A dense matrix, row by row.
    pub(super) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "values of a matrix of {rows} rows");
        Self { data, rows, cols, row: cols, col: 1 }
    }

    /// Its transpose.
    pub(super) fn turned(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row: self.col, col: self.row, ..self }
    }

    /// `rows` and `cols` of it from `(top, left)` on.
    fn part(self, (top, left): (usize, usize), rows: usize, cols: usize) -> Self {
        assert!(top + rows <= self.rows && left + cols <= self.cols, "a part of a matrix outside of it");
        Self { data: &self.data[top * self.row + left * self.col..], rows, cols, ..self }
    }
}

/// A square matrix in working memory, its rows padded to whole vectors.
#[derive(Debug)]
pub(super) struct Square {
    size: usize,
    stride: usize,
    values: Scratch,
}

impl Square {
    fn new(size: usize) -> Self {
        let stride = size.next_multiple_of(TILE);
        Self { size, stride, values: Scratch::take(size * stride) }
    }

    /// It, to read.
    pub(super) fn view(&self) -> View<'_> {
        View { data: &self.values, rows: self.size, cols: self.size, row: self.stride, col: 1 }
    }

    /// a·I + b·self + c·other, in the place of `other`.
    pub(super) fn polynomial(&self, [a, b, c]: [f32; 3], mut other: Self) -> Self {
        let stride = self.stride;
        other.values.par_chunks_mut(BLOCK * stride).zip(self.values.par_chunks(BLOCK * stride)).for_each(
            |(to, from)| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = b * from + c * *to);
            },
        );
        (0..self.size).for_each(|i| other.values[i * stride + i] += a);
        other
    }

    /// Copies what is below the diagonal to above it.
    fn mirror(&mut self) {
        for top in (0..self.size).step_by(TILE) {
            let bottom = (top + TILE).min(self.size);
            for left in (0..=top).step_by(TILE) {
                for r in top..bottom {
                    for c in left..(left + TILE).min(r) {
                        self.values[c * self.stride + r] = self.values[r * self.stride + c];
                    }
                }
            }
        }
    }
}

impl Kernels {
    /// The product a·b, which is known to be symmetric.
    pub(super) fn symmetric_product(&self, a: View<'_>, b: View<'_>) -> Square {
        assert!(a.cols == b.rows && a.rows == b.cols && a.cols > 0, "a square product of {a:?} and {b:?}");
        let mut out = Square::new(a.rows);
        let stride = out.stride;
        for from in (0..a.cols).step_by(DEPTH) {
            let depth = DEPTH.min(a.cols - from);
            let (shape, panels) = self.packed(b.part((from, 0), depth, b.cols));
            let blocks = out.values.par_chunks_mut(BLOCK * stride).with_min_len(least_blocks(b.cols, depth));
            blocks.enumerate().for_each(|(i, rows)| {
                let count = rows.len() / stride;
                // On and below the diagonal, in whole panels.
                let needed = (i * BLOCK + count).next_multiple_of(2 * shape.width);
                let shape = shape.part(0, needed);
                self.run(Product {
                    left: left(a.part((i * BLOCK, from), count, depth)),
                    right: Right::Matrices { data: &panels, shape, number: 0 },
                    rows: count,
                    cols: shape.cols,
                    depth,
                    blocks: 1,
                    out: rows,
                    out_row: stride,
                    add: from > 0,
                });
            });
        }
        out.mirror();
        out
    }

    /// Computes a·b, whose inner extent is that of a square in working memory, and hands it out: `take(values, row of the result)` gets
    /// each piece of `into`, which lies as the result does, beside the piece of the result that belongs to it.
    pub(super) fn product_into(
        &self,
        a: View<'_>,
        b: View<'_>,
        into: &mut [f32],
        take: impl Fn(&mut [f32], &[f32]) + Sync,
    ) {
        assert!(a.cols == b.rows && into.len() == a.rows * b.cols && a.cols > 0, "a product of {a:?} and {b:?}");
        for from in (0..b.cols).step_by(COLUMNS) {
            let cols = COLUMNS.min(b.cols - from);
            let (shape, panels) = self.packed(b.part((0, from), b.rows, cols));
            let padded = shape.padded();
            let blocks = into.par_chunks_mut(BLOCK * b.cols).with_min_len(least_blocks(cols, b.rows));
            blocks.enumerate().for_each(|(i, into)| {
                let count = into.len() / b.cols;
                let mut out = Scratch::take(count * padded);
                self.run(Product {
                    left: left(a.part((i * BLOCK, 0), count, a.cols)),
                    right: Right::Matrices { data: &panels, shape, number: 0 },
                    rows: count,
                    cols,
                    depth: a.cols,
                    blocks: 1,
                    out: &mut out,
                    out_row: padded,
                    add: false,
                });
                for (into, out) in into.chunks_mut(b.cols).zip(out.chunks(padded)) {
                    take(&mut into[from..from + cols], &out[..cols]);
                }
            });
        }
    }

    /// A right factor in panels.
    fn packed(&self, b: View<'_>) -> (PanelShape, Scratch) {
        let shape = PanelShape { cols: b.cols, depth: b.rows, width: self.run(Width), matrices: 1 };
        let mut panels = Scratch::take(shape.len());
        let fill = |col: usize, panel: &mut [f32]| {
            let (lanes, some) = (shape.panel_width(col), (b.cols - col).min(2 * shape.width));
            for (k, row) in panel.chunks_mut(lanes).enumerate() {
                let from = &b.data[k * b.row + col * b.col..];
                match b.col {
                    1 => row[..some].copy_from_slice(&from[..some]),
                    step => row[..some].iter_mut().zip(from.iter().step_by(step)).for_each(|(to, v)| *to = *v),
                }
                row[some..].fill(0.0);
            }
        };
        match b.rows * b.cols * BLOCK < TASK {
            true => {
                panels.chunks_mut(shape.panel()).enumerate().for_each(|(p, panel)| fill(p * 2 * shape.width, panel))
            }
            false => shape.for_each(&mut panels, fill),
        }
        (shape, panels)
    }
}

/// Blocks of so many columns that are a task's worth of work, `depth` multiply-adds for each value.
fn least_blocks(cols: usize, depth: usize) -> usize {
    TASK.div_ceil(BLOCK * cols * depth)
}

fn left(a: View<'_>) -> Left<'_> {
    Left { data: a.data, row: a.row, inner: a.col, block: 0 }
}
