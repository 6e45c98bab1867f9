//! Tiles into Winograd's domain: 6×6 of an input, 4×4 of an output's gradient, with zeros around the map, batch norm and ReLU on
//! the way.

use std::ops::Range;

use super::tiles::{Grid, Layout};
use super::transform::{COLUMNS, MANY_ROWS, Spread};
use crate::simd::{Simd, Vectorized};
use crate::{Element, Source};

/// What tiles are read from; `SIDE` is 6 for inputs, 4 for output gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a, T, const SIDE: usize> {
    pub source: Source<'a, T>,
    /// Tiles of the convolution's output.
    pub grid: Grid,
    /// Where a tile begins in the source, before its place in the output: the padding.
    pub before: isize,
}

impl<T: Element, const SIDE: usize> Reader<'_, T, SIDE> {
    /// The pixels under a tile; none past the last of the grid.
    fn pixels(&self, tile: usize) -> Pixels<T> {
        let (map, d) = (self.source.map, self.source.map.dims());
        let none = Pixels { corner: map.data().as_ptr(), row: 0, pixel: 0, rows: 0..0, cols: 0..0 };
        if tile >= self.grid.len() || d.is_empty() {
            return none;
        }
        let (n, top, left) = self.grid.place(tile);
        let (top, left) = (top as isize - self.before, left as isize - self.before);
        let inside = |from: isize, size: usize| {
            let within = |at: isize| (at - from).clamp(0, SIDE as isize) as usize;
            within(0)..within(size as isize)
        };
        let (rows, cols) = (inside(top, d.h), inside(left, d.w));
        if rows.is_empty() || cols.is_empty() {
            return none;
        }
        let at = |r: usize, j: usize| {
            let (y, x) = (top + r as isize, left + j as isize);
            (n as isize * d.h as isize + y) * d.w as isize + x
        };
        // Proves that the last pixel, and so all before it, lies inside the slice.
        let last = map.pixel(at(rows.end - 1, cols.end - 1) as usize).as_ptr();
        let pixel = map.stride();
        let row = d.w * pixel;
        let back = (rows.end - 1) * row + (cols.end - 1) * pixel;
        Pixels { corner: last.wrapping_sub(back), row, pixel, rows, cols }
    }

    /// Transforms tiles into `block`; those past the last of the grid become zeros.
    pub(super) fn read<S: Simd>(&self, s: S, tiles: Range<usize>, layout: Layout, block: &mut [f32]) {
        s.vectorize(Read { from: self, tiles, layout, block });
    }

    #[inline(always)]
    fn read_as<S: Simd, const NORM: bool>(&self, s: S, tiles: Range<usize>, layout: Layout, block: &mut [f32]) {
        assert!(tiles.len() <= layout.tiles && block.len() >= layout.len(), "the block is too small");
        let channels = self.source.map.dims().c;
        assert!(channels.next_multiple_of(S::WIDTH) <= layout.row);
        for (number, tile) in tiles.enumerate() {
            let pixels = self.pixels(tile);
            let inside = pixels.rows.len() == SIDE && pixels.cols.len() == SIDE;
            for c in (0..channels).step_by(S::WIDTH) {
                let (mut scale, mut shift) = (s.zero(), s.zero());
                if let (true, Some(a)) = (NORM, self.source.norm) {
                    (scale, shift) = (s.load_slice(&a.scale[c..]), s.load_slice(&a.shift[c..]));
                }
                let lanes = (channels - c).min(S::WIDTH);
                let tile = Tile { pixels: &pixels, c, lanes, scale, shift };
                let to = block[number * layout.row + c..].as_mut_ptr();
                // SAFETY: `pixels` lie inside the map and have `channels` values each; the block holds all points of this tile.
                unsafe {
                    match inside && lanes == S::WIDTH {
                        true => tile.transform::<S, SIDE, NORM, false>(s, to, layout.point),
                        false => tile.transform::<S, SIDE, NORM, true>(s, to, layout.point),
                    }
                }
            }
        }
    }
}

/// [`Reader::read`], compiled once whatever is done with the tiles.
struct Read<'a, T, const SIDE: usize> {
    from: &'a Reader<'a, T, SIDE>,
    tiles: Range<usize>,
    layout: Layout,
    block: &'a mut [f32],
}

impl<T: Element, const SIDE: usize> Vectorized for Read<'_, T, SIDE> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.from.source.norm {
            None => self.from.read_as::<S, false>(s, self.tiles, self.layout, self.block),
            Some(_) => self.from.read_as::<S, true>(s, self.tiles, self.layout, self.block),
        }
    }
}

/// The pixels under a tile, as far as they lie inside the map.
struct Pixels<T> {
    /// Where the first would be, inside the map or not.
    corner: *const T,
    /// Values from row to row.
    row: usize,
    /// Values from pixel to pixel.
    pixel: usize,
    /// Rows of the tile that lie inside.
    rows: Range<usize>,
    /// Columns of the tile that lie inside.
    cols: Range<usize>,
}

/// One vector of channels of one tile.
struct Tile<'a, T, V> {
    pixels: &'a Pixels<T>,
    c: usize,
    lanes: usize,
    scale: V,
    shift: V,
}

impl<T: Element, V: Copy> Tile<'_, T, V> {
    /// Into the domain. `EDGE`: pixels may be missing, and lanes too.
    ///
    /// # Safety
    /// All pixels but missing ones are valid for reads of `c + lanes` values; `to` is valid for a vector at each multiple of `point`.
    #[inline(always)]
    unsafe fn transform<S: Simd<V = V>, const SIDE: usize, const NORM: bool, const EDGE: bool>(
        &self,
        s: S,
        to: *mut f32,
        point: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if S::ROWS >= MANY_ROWS && !EDGE {
                self.columns::<0, 2, SIDE, NORM, EDGE>(s, to, point);
            } else {
                self.columns::<0, 1, SIDE, NORM, EDGE>(s, to, point);
                self.columns::<1, 1, SIDE, NORM, EDGE>(s, to, point);
            }
            self.columns::<2, 1, SIDE, NORM, EDGE>(s, to, point);
        }
    }

    /// A pair of the domain's six columns, or (`PAIRS` = 2) the pairs 0 and 1, which depend on the same pixels: few enough vectors wait
    /// between the transforms of rows and columns to do so in registers. Pixels are read, and normalised, up to three times for that, which
    /// costs less than to store and load those vectors.
    ///
    /// # Safety
    /// As for [`Self::transform`].
    #[inline(always)]
    unsafe fn columns<const PAIR: usize, const PAIRS: usize, const SIDE: usize, const NORM: bool, const EDGE: bool>(
        &self,
        s: impl Simd<V = V>,
        to: *mut f32,
        point: usize,
    ) {
        let mut half = [[[s.zero(); SIDE]; 2]; PAIRS];
        for r in 0..SIDE {
            let mut d = [s.zero(); SIDE];
            for j in 0..SIDE {
                if Spread::<SIDE>::reads(PAIR, j) {
                    // SAFETY: the caller's promise.
                    d[j] = unsafe { self.value::<NORM, EDGE>(s, r, j) };
                }
            }
            let two = Spread::<SIDE>::two::<_, PAIR>(s, d);
            (half[0][0][r], half[0][1][r]) = (two[0], two[1]);
            if PAIRS == 2 {
                let two = Spread::<SIDE>::two::<_, 1>(s, d);
                (half[1][0][r], half[1][1][r]) = (two[0], two[1]);
            }
        }
        for pair in 0..PAIRS {
            for k in 0..2 {
                let full = Spread::<SIDE>::all(s, half[pair][k]);
                for r in 0..6 {
                    // SAFETY: the caller's promise.
                    unsafe { s.store(to.add((r * 6 + COLUMNS[PAIR + pair][k]) * point), full[r]) };
                }
            }
        }
    }

    /// The pixel at row `r` and column `j` of the tile, zeros where it is missing.
    ///
    /// # Safety
    /// As for [`Self::transform`].
    #[inline(always)]
    unsafe fn value<const NORM: bool, const EDGE: bool>(&self, s: impl Simd<V = V>, r: usize, j: usize) -> V {
        let Pixels { corner, row, pixel, rows, cols } = self.pixels;
        if EDGE && !(rows.contains(&r) && cols.contains(&j)) {
            return s.zero();
        }
        let p = corner.wrapping_add(r * row + j * pixel + self.c);
        // SAFETY: the pixel is inside the map.
        let x = unsafe { if EDGE { T::load_part(s, p, self.lanes) } else { T::load(s, p) } };
        if NORM { s.max(s.zero(), s.fma(self.scale, x, self.shift)) } else { x }
    }
}
