//! Tiles between feature maps and Winograd's domain: 6×6 input tiles and 4×4 gradient tiles in, 4×4 output tiles out, with
//! zeros around the map, batch norm and ReLU on the way in, bias on the way out.

use std::ops::Range;

use super::transform;
use super::weights::POINTS;
use crate::conv::moments::{Few, Moments};
use crate::conv::output::Pixels;
use crate::simd::{Simd, Vectorized};
use crate::{Dims, Element, Source};

/// Side of a tile's output.
const STEP: usize = 4;

/// The 4×4 tiles that cover a map, image by image, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    rows: usize,
    cols: usize,
    images: usize,
}

impl Grid {
    pub(super) fn over(d: Dims) -> Self {
        Self { rows: d.h.div_ceil(STEP), cols: d.w.div_ceil(STEP), images: d.n }
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols * self.images
    }

    /// Image, first row and first column of a tile's output.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let row = tile / self.cols;
        (row / self.rows, row % self.rows * STEP, tile % self.cols * STEP)
    }
}

/// Where the values of a block of tiles lie: point by point, tile by tile, channel by channel. Rows and points are set apart
/// by a cache line, or else those of powers of two would fall into the same few lines of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub tiles: usize,
    /// Floats from tile to tile.
    pub row: usize,
    /// Floats from point to point.
    pub point: usize,
}

impl Layout {
    pub(super) fn new(tiles: usize, channels: usize, width: usize) -> Self {
        let row = channels.next_multiple_of(width) + 16;
        Self { tiles, row, point: tiles * row + 16 }
    }

    /// Floats of the block.
    pub(super) fn len(&self) -> usize {
        POINTS * self.point
    }
}

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
    /// The pixels under a tile, null outside the map, and whether none is outside.
    fn pixels(&self, tile: usize) -> ([[*const T; SIDE]; SIDE], bool) {
        let (map, d) = (self.source.map, self.source.map.dims());
        let (n, top, left) = self.grid.place(tile);
        let (mut found, mut inside) = ([[std::ptr::null(); SIDE]; SIDE], true);
        for r in 0..SIDE {
            for j in 0..SIDE {
                let (y, x) = ((top + r) as isize - self.before, (left + j) as isize - self.before);
                match y >= 0 && x >= 0 && y < d.h as isize && x < d.w as isize {
                    true => found[r][j] = map.pixel((n * d.h + y as usize) * d.w + x as usize).as_ptr(),
                    false => inside = false,
                }
            }
        }
        (found, inside)
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
            let (pixels, inside) = match tile < self.grid.len() {
                true => self.pixels(tile),
                false => ([[std::ptr::null(); SIDE]; SIDE], false),
            };
            for c in (0..channels).step_by(S::WIDTH) {
                let (mut scale, mut shift) = (s.zero(), s.zero());
                if let (true, Some(a)) = (NORM, self.source.norm) {
                    (scale, shift) = (s.load_slice(&a.scale[c..]), s.load_slice(&a.shift[c..]));
                }
                let lanes = (channels - c).min(S::WIDTH);
                let to = block[number * layout.row + c..].as_mut_ptr();
                // SAFETY: `pixels` point to `channels` values each or are null; the block holds all points of this tile.
                unsafe {
                    match inside && lanes == S::WIDTH {
                        true => {
                            tile_in::<S, T, SIDE, NORM, false>(s, &pixels, c, lanes, scale, shift, to, layout.point)
                        }
                        false => {
                            tile_in::<S, T, SIDE, NORM, true>(s, &pixels, c, lanes, scale, shift, to, layout.point)
                        }
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

/// One vector of channels of one tile. `EDGE`: pixels may be missing, and lanes too.
///
/// # Safety
/// Each pixel is valid for reads of `c + lanes` values, or null if `EDGE`; `to` is valid for a vector at each multiple of `point`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
unsafe fn tile_in<S: Simd, T: Element, const SIDE: usize, const NORM: bool, const EDGE: bool>(
    s: S,
    pixels: &[[*const T; SIDE]; SIDE],
    c: usize,
    lanes: usize,
    scale: S::V,
    shift: S::V,
    to: *mut f32,
    point: usize,
) {
    let mut half = [[s.zero(); 6]; SIDE];
    for r in 0..SIDE {
        let mut d = [s.zero(); SIDE];
        for j in 0..SIDE {
            let p = pixels[r][j];
            if EDGE && p.is_null() {
                continue;
            }
            // SAFETY: the caller's promise.
            let x = unsafe {
                match EDGE {
                    true => T::load_part(s, p.add(c), lanes),
                    false => T::load(s, p.add(c)),
                }
            };
            d[j] = if NORM { s.max(s.zero(), s.fma(scale, x, shift)) } else { x };
        }
        half[r] = spread::<S, SIDE>(s, d);
    }
    for j in 0..6 {
        let mut column = [s.zero(); SIDE];
        for r in 0..SIDE {
            column[r] = half[r][j];
        }
        let full = spread::<S, SIDE>(s, column);
        for r in 0..6 {
            // SAFETY: the caller's promise.
            unsafe { s.store(to.add((r * 6 + j) * point), full[r]) };
        }
    }
}

/// The one-dimensional transform of an input or of an output gradient.
#[inline(always)]
fn spread<S: Simd, const SIDE: usize>(s: S, d: [S::V; SIDE]) -> [S::V; 6] {
    match SIDE {
        6 => transform::input(s, [d[0], d[1], d[2], d[3], d[4 % SIDE], d[5 % SIDE]]),
        _ => transform::gradient(s, [d[0], d[1], d[2], d[3]]),
    }
}

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
    fn run<S: Simd>(mut self, s: S) {
        let (Writer { to, grid, bias }, layout) = (*self.to, self.layout);
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
                // SAFETY: all points of this tile are in the block.
                let y = unsafe { tile_out(s, values, layout.point, bias) };
                for r in 0..rows {
                    for j in 0..cols {
                        // SAFETY: the pixel is inside the map and, by the promise made to `write`, this thread's alone.
                        unsafe { to.store(s, first + r * d.w + j, from + c, y[r][j]) };
                    }
                }
                if let Some(moments) = &mut self.moments {
                    moments.join(s, c, few::<S, U>(s, &y, rows, cols));
                }
            }
            if let Some(moments) = &mut self.moments {
                moments.count(rows * cols);
            }
        }
    }
}

/// The `rows × cols` pixels of a tile that are inside the map, as they are stored.
#[inline(always)]
fn few<S: Simd, U: Element>(s: S, y: &[[S::V; STEP]; STEP], rows: usize, cols: usize) -> Few<S::V> {
    let mut sum = s.zero();
    for r in 0..rows {
        for j in 0..cols {
            sum = s.add(sum, U::rounded(s, y[r][j]));
        }
    }
    let mean = s.mul(sum, s.splat(1.0 / (rows * cols) as f32));
    let (mut deviations, mut squares) = (s.zero(), s.zero());
    for r in 0..rows {
        for j in 0..cols {
            let d = s.sub(U::rounded(s, y[r][j]), mean);
            (deviations, squares) = (s.add(deviations, d), s.fma(d, d, squares));
        }
    }
    Few { pixels: rows * cols, mean, deviations, squares }
}

/// One vector of channels of one tile, back from the domain.
///
/// # Safety
/// `from` is valid for a vector at each multiple of `point`.
#[inline(always)]
unsafe fn tile_out<S: Simd>(s: S, from: *const f32, point: usize, bias: S::V) -> [[S::V; STEP]; STEP] {
    let mut half = [[s.zero(); 6]; STEP];
    for j in 0..6 {
        let mut m = [s.zero(); 6];
        for r in 0..6 {
            // SAFETY: the caller's promise.
            m[r] = unsafe { s.load(from.add((r * 6 + j) * point)) };
        }
        let column = transform::output(s, m);
        for r in 0..STEP {
            half[r][j] = column[r];
        }
    }
    let mut y = [[bias; STEP]; STEP];
    for r in 0..STEP {
        let row = transform::output(s, half[r]);
        for j in 0..STEP {
            y[r][j] = s.add(row[j], bias);
        }
    }
    y
}
