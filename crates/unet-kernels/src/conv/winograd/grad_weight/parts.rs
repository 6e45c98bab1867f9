//! Few channels, many tiles: the tiles are cut into parts by their number alone; each part keeps its sums and the tiles at
//! hand in its core's cache, and the parts are added up in order.

use rayon::prelude::*;

use super::{Pair, sums_row};
use crate::conv::ConvShape;
use crate::conv::product::{Left, Product, Right};
use crate::conv::winograd::tiles::Layout;
use crate::conv::winograd::weights::{POINTS, unpack_gradient};
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels};

/// Tiles that are transformed and multiplied at a time.
const BLOCK: usize = 48;
/// Most parts.
const PARTS: usize = 16;
/// Most floats of all parts' sums.
const FLOATS: usize = 8 << 20;

/// Parts that so many tiles are shared out to, for sums of so many floats each.
pub(super) fn parts(tiles: usize, len: usize) -> usize {
    tiles.div_ceil(BLOCK).min(PARTS).min(FLOATS / len).max(1)
}

pub(super) fn run<T: Element, U: Element>(kernels: &Kernels, pair: Pair<'_, T, U>, conv: ConvShape, dw: &mut [f32]) {
    let row = sums_row(kernels, conv);
    let len = POINTS * conv.cin * row;
    let blocks = pair.tiles().div_ceil(BLOCK);
    let parts = parts(pair.tiles(), len);
    let mut sums = Scratch::take(parts * len);
    sums.par_chunks_mut(len).enumerate().for_each(|(p, sums)| {
        let range = p * blocks / parts..(p + 1) * blocks / parts;
        kernels.run(Part { pair, conv, row, blocks: range, sums });
    });
    let (total, others) = sums.split_at_mut(len);
    let others = &*others;
    total.par_chunks_mut(conv.cin * row).enumerate().for_each(|(point, total)| {
        kernels.run(AddParts { total, others, from: point * conv.cin * row, len });
    });
    unpack_gradient(kernels, conv, total, row, dw);
}

/// Some blocks of tiles and the sums over them.
struct Part<'a, T, U> {
    pair: Pair<'a, T, U>,
    conv: ConvShape,
    row: usize,
    blocks: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl<T: Element, U: Element> Vectorized for Part<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (cin, cout) = (self.conv.cin, self.conv.cout);
        let (from, to) = (Layout::new(BLOCK, cin, S::WIDTH), Layout::new(BLOCK, cout, S::WIDTH));
        let (mut v, mut d) = (Scratch::take(from.len()), Scratch::take(to.len()));
        let first = self.blocks.start;
        if self.blocks.is_empty() {
            self.sums.fill(0.0);
        }
        for block in self.blocks {
            let tiles = block * BLOCK..(block + 1) * BLOCK;
            self.pair.input.read(s, tiles.clone(), from, &mut v);
            self.pair.output.read(s, tiles, to, &mut d);
            for (point, sums) in self.sums.chunks_mut(cin * self.row).enumerate() {
                s.vectorize(Product {
                    left: Left { data: &v[point * from.point..], row: 1, inner: from.row, block: 0 },
                    right: Right::Rows { data: &d[point * to.point..], inner: to.row, block: 0 },
                    rows: cin,
                    cols: cout,
                    depth: BLOCK,
                    blocks: 1,
                    out: sums,
                    out_row: self.row,
                    add: block > first,
                });
            }
        }
    }
}

/// Adds to one point's sums those of the other parts.
struct AddParts<'a> {
    total: &'a mut [f32],
    others: &'a [f32],
    from: usize,
    len: usize,
}

impl Vectorized for AddParts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for part in self.others.chunks(self.len) {
            let part = &part[self.from..][..self.total.len()];
            for (to, from) in self.total.chunks_mut(S::WIDTH).zip(part.chunks(S::WIDTH)) {
                s.store_slice(to, s.add(s.load_slice(to), s.load_slice(from)));
            }
        }
    }
}
