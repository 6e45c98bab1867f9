//! Tiles back from Winograd's domain: 4×4 of an output, with a bias and, where asked for, the statistics of what was written.

use std::ops::Range;

use super::tiles::{Grid, Layout, STEP};
use super::transform::{self, MANY_ROWS};
use crate::Element;
use crate::conv::moments::{Few, Moments};
use crate::conv::output::Pixels;
use crate::simd::{Simd, Vectorized};

/// Where output tiles go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writer<'a, U> {
    pub to: Pixels<'a, U>,
    pub grid: Grid,
    pub bias: Option<&'a [f32]>,
}

impl<U: Element> Writer<'_, U> {
    /// Transforms a block of products for some channels back and writes what lies inside the map; joins it to `moments`.
    ///
    /// # Safety
    /// No other thread reads or writes these channels of the pixels of these tiles meanwhile.
    pub(super) unsafe fn write<S: Simd>(
        &self,
        s: S,
        tiles: Range<usize>,
        channels: Range<usize>,
        layout: Layout,
        block: &[f32],
        moments: Option<Moments<'_>>,
    ) {
        s.vectorize(Write { to: self, tiles, channels, layout, block, moments });
    }
}

/// [`Writer::write`], compiled once; only made there, under its promise.
struct Write<'a, U> {
    to: &'a Writer<'a, U>,
    tiles: Range<usize>,
    channels: Range<usize>,
    layout: Layout,
    block: &'a [f32],
    moments: Option<Moments<'a>>,
}

impl<U: Element> Vectorized for Write<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (Writer { to, grid, bias }, layout, mut moments) = (*self.to, self.layout, self.moments);
        assert!(self.tiles.len() <= layout.tiles && self.block.len() >= layout.len(), "the block is too small");
        let (d, from, channels) = (to.dims(), self.channels.start, self.channels.len());
        assert!(self.tiles.end <= grid.len() && self.channels.end <= d.c);
        assert!(channels.next_multiple_of(S::WIDTH) <= layout.row);
        for (number, tile) in self.tiles.enumerate() {
            let (n, top, left) = grid.place(tile);
            let (rows, cols) = ((d.h - top).min(STEP), (d.w - left).min(STEP));
            let first = (n * d.h + top) * d.w + left;
            for c in (0..channels).step_by(S::WIDTH) {
                let bias = bias.map_or(s.zero(), |b| s.load_slice(&b[from + c..]));
                let values = self.block[number * layout.row + c..].as_ptr();
                let tile = Tile { to: &to, first, rows, cols, channel: from + c, lane: c, bias };
                let whole = rows == STEP && cols == STEP && from + c + S::WIDTH <= d.c;
                // SAFETY: all points of this tile are in the block; its pixels are inside the map and, by the promise made to `write`,
                // this thread's alone.
                unsafe {
                    match whole {
                        true => tile.transform::<_, true>(s, values, layout.point, &mut moments),
                        false => tile.transform::<_, false>(s, values, layout.point, &mut moments),
                    }
                }
            }
            if let Some(moments) = &mut moments {
                moments.count(rows * cols);
            }
        }
    }
}

/// One vector of channels of one tile, and its place in the map.
struct Tile<'a, U, V> {
    to: &'a Pixels<'a, U>,
    /// The tile's first pixel.
    first: usize,
    /// Rows inside the map.
    rows: usize,
    /// Columns inside the map.
    cols: usize,
    channel: usize,
    /// The channel among those of the moments.
    lane: usize,
    bias: V,
}

impl<U: Element, V: Copy> Tile<'_, U, V> {
    /// Back from the domain. `WHOLE`: all rows, columns and lanes are inside the map.
    ///
    /// # Safety
    /// `from` is valid for a vector at each multiple of `point`; the tile's pixels are inside the map, and no other thread accesses them.
    #[inline(always)]
    unsafe fn transform<S: Simd<V = V>, const WHOLE: bool>(
        &self,
        s: S,
        from: *const f32,
        point: usize,
        moments: &mut Option<Moments<'_>>,
    ) {
        // SAFETY: the caller's promise.
        let halves = unsafe {
            if S::ROWS >= MANY_ROWS && WHOLE {
                self.rows::<S, 0, 2, WHOLE>(s, from, point)
            } else {
                let [even] = self.rows::<S, 0, 1, WHOLE>(s, from, point);
                let [odd] = self.rows::<S, 1, 1, WHOLE>(s, from, point);
                [even, odd]
            }
        };
        if let Some(moments) = moments {
            moments.join(s, self.lane, self.few::<S, WHOLE>(s, &halves));
        }
    }

    /// Whether a row and a column of the tile lie inside the map.
    #[inline(always)]
    fn has<const WHOLE: bool>(&self, r: usize, j: usize) -> bool {
        WHOLE || (r < self.rows && j < self.cols)
    }

    /// Transforms and writes the even or the odd rows of the tile, which fit the registers, or (`HALVES` = 2) first these, then those.
    ///
    /// # Safety
    /// As for [`Self::transform`].
    #[inline(always)]
    unsafe fn rows<S: Simd<V = V>, const ODD: usize, const HALVES: usize, const WHOLE: bool>(
        &self,
        s: S,
        from: *const f32,
        point: usize,
    ) -> [[[V; STEP]; 2]; HALVES] {
        let mut half = [[[s.zero(); 6]; 2]; HALVES];
        for j in 0..6 {
            let mut m = [s.zero(); 6];
            for r in ODD..4 + ODD + HALVES {
                // SAFETY: the caller's promise.
                m[r] = unsafe { s.load(from.add((r * 6 + j) * point)) };
            }
            let two = transform::output_two::<S, ODD>(s, m);
            (half[0][0][j], half[0][1][j]) = (two[0], two[1]);
            if HALVES == 2 {
                let two = transform::output_two::<S, 1>(s, m);
                (half[1][0][j], half[1][1][j]) = (two[0], two[1]);
            }
        }
        let (mut y, width) = ([[[self.bias; STEP]; 2]; HALVES], self.to.dims().w);
        for k in 0..HALVES {
            for i in 0..2 {
                let (row, r) = (transform::output(s, half[k][i]), 2 * i + ODD + k);
                for j in 0..STEP {
                    y[k][i][j] = s.add(row[j], self.bias);
                    if self.has::<WHOLE>(r, j) {
                        // SAFETY: the caller's promise.
                        unsafe {
                            self.to.store_as::<S, WHOLE>(s, self.first + r * width + j, self.channel, y[k][i][j]);
                        }
                    }
                }
            }
        }
        y
    }

    /// The tile's pixels that are inside the map, as they are stored; rows 0 and 2, then 1 and 3.
    #[inline(always)]
    fn few<S: Simd<V = V>, const WHOLE: bool>(&self, s: S, halves: &[[[V; STEP]; 2]; 2]) -> Few<V> {
        let mut sum = s.zero();
        for r in 0..STEP {
            for j in 0..STEP {
                if self.has::<WHOLE>(r, j) {
                    sum = s.add(sum, U::rounded(s, halves[r % 2][r / 2][j]));
                }
            }
        }
        let pixels = if WHOLE { STEP * STEP } else { self.rows * self.cols };
        let mean = s.mul(sum, s.splat(1.0 / pixels as f32));
        let (mut deviations, mut squares) = (s.zero(), s.zero());
        for r in 0..STEP {
            for j in 0..STEP {
                if self.has::<WHOLE>(r, j) {
                    let d = s.sub(U::rounded(s, halves[r % 2][r / 2][j]), mean);
                    (deviations, squares) = (s.add(deviations, d), s.fma(d, d, squares));
                }
            }
        }
        Few { pixels, mean, deviations, squares }
    }
}
