//! A warped image, row by row: where the pixels of an output row come from ([`Kernels::place_row`]), and what is there, values between
//! four or sixteen pixels ([`Kernels::warp_row`]) or the label of the nearest one ([`Kernels::warp_labels_row`]).
//!
//! For data augmentation, which works on images as they are stored (8 or 16 bits, or floats) and on many patches side by side: nothing
//! here starts threads. Places are in pixels, 0 the middle of the first one; beyond the border the image is mirrored about the middle of
//! its outermost pixels, as in [`Kernels::resample`]. The same bits on every tier.
//!
//! Work goes in pieces of a row: places become indices and shares in one vector loop, pixels are fetched one by one, and mixed in a
//! second vector loop; each loop alone is what compilers make vectors of.

#![allow(clippy::needless_range_loop, reason = "several arrays side by side are walked by number")]

mod cubic;
mod pixel;

pub use self::pixel::PixelValue;
use crate::simd::{Simd, Vectorized};
use crate::{Filter, Grid, Kernels};

/// Pixels of a piece.
const PIECE: usize = 256;
/// f32 tells pixels apart up to here.
const SIDE_LIMIT: usize = 1 << 24;

/// One image as it is stored: (H, W, C).
#[derive(Clone, Copy, Debug)]
pub struct Raster<'a, T> {
    values: &'a [T],
    h: usize,
    w: usize,
    c: usize,
}

impl<'a, T> Raster<'a, T> {
    /// The image of these values.
    ///
    /// # Panics
    /// There are not H·W·C of them, at least one and at most 2³² − 1; a side is above 2²⁴.
    pub fn new(values: &'a [T], (h, w): (usize, usize), c: usize) -> Self {
        let expected = h.checked_mul(w).and_then(|n| n.checked_mul(c));
        assert_eq!(expected, Some(values.len()), "values of {h}×{w}×{c} pixels");
        assert!(!values.is_empty() && u32::try_from(values.len()).is_ok(), "{} values", values.len());
        assert!(h <= SIDE_LIMIT && w <= SIDE_LIMIT, "sides of {h}×{w} pixels");
        Self { values, h, w, c }
    }
}

/// Places along a row: those of pixel i are `start + i·step`, (x, y) both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// The first pixel's place.
    pub start: (f32, f32),
    /// From one pixel to the next.
    pub step: (f32, f32),
}

/// What a smooth displacement adds along a row: four rows of it, mixed.
#[derive(Clone, Copy, Debug)]
pub struct Bend<'a> {
    /// Along x, a value per pixel of the row.
    pub x: [&'a [f32]; 4],
    /// Along y.
    pub y: [&'a [f32]; 4],
    /// The rows' shares.
    pub weights: [f32; 4],
}

impl Kernels {
    /// The places of a row's pixels: a line, bent.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn place_row(&self, line: Line, bends: &[Bend<'_>], x: &mut [f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "places along x and y");
        for row in bends.iter().flat_map(|b| b.x.iter().chain(&b.y)) {
            assert_eq!(row.len(), x.len(), "displacements of a row");
        }
        self.run(Place { start: line.start.0, step: line.step.0, bends, is_x: true, out: x });
        self.run(Place { start: line.start.1, step: line.step.1, bends, is_x: false, out: y });
    }

    /// The image's values at the places of a row: (W, C). A place that is not finite is taken for 0.
    ///
    /// # Panics
    /// `out` has not C values for each place; the grid has more places along one axis than along the other.
    pub fn warp_row<T: PixelValue>(&self, image: Raster<'_, T>, filter: Filter, grid: Grid<'_>, out: &mut [f32]) {
        assert!(grid.x.len() == grid.y.len() && out.len() == grid.x.len() * image.c, "{} values", out.len());
        self.run(Values { image, filter, grid, out });
    }

    /// The labels of the pixels nearest to the places of a row, halves to the larger one.
    ///
    /// # Panics
    /// `labels` has several channels; `out` has not one label for each place.
    pub fn warp_labels_row(&self, labels: Raster<'_, u8>, grid: Grid<'_>, out: &mut [u8]) {
        assert_eq!(labels.c, 1, "channels of labels");
        assert!(grid.x.len() == grid.y.len() && out.len() == grid.x.len(), "{} labels", out.len());
        self.run(Labels { labels, grid, out });
    }
}

/// Places along one axis.
struct Place<'a, 'b> {
    start: f32,
    step: f32,
    bends: &'a [Bend<'b>],
    is_x: bool,
    out: &'a mut [f32],
}

impl Vectorized for Place<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { start, step, bends, is_x, out } = self;
        for i in 0..out.len() {
            out[i] = start + step * i as u32 as i32 as f32;
        }
        for bend in bends {
            let ([p, q, r, s], [a, b, c, d]) = (if is_x { bend.x } else { bend.y }, bend.weights);
            let n = out.len();
            let (p, q, r, s) = (&p[..n], &q[..n], &r[..n], &s[..n]);
            for i in 0..n {
                out[i] += (a * p[i] + b * q[i]) + (c * r[i] + d * s[i]);
            }
        }
    }
}

/// For the pixels of a piece: the index of the pixel that lies above and to the left, and the shares of those below and to the right.
struct Taps {
    index: [u32; PIECE],
    right: [f32; PIECE],
    below: [f32; PIECE],
}

impl Taps {
    #[inline(always)]
    fn new() -> Self {
        Self { index: [0; PIECE], right: [0.0; PIECE], below: [0.0; PIECE] }
    }

    /// Settles `x.len()` ≤ PIECE places on an image of `h`×`w` pixels. Every index is y·w + x with x ≤ max(w − 2, 0), y ≤ max(h − 2, 0).
    #[inline(always)]
    fn settle(&mut self, x: &[f32], y: &[f32], (h, w): (usize, usize)) {
        let n = x.len();
        let mut whole = [0u32; PIECE];
        settle(x, w, &mut whole[..n], &mut self.right[..n]);
        settle(y, h, &mut self.index[..n], &mut self.below[..n]);
        let (index, whole, w) = (&mut self.index[..n], &whole[..n], w as u32);
        for i in 0..n {
            index[i] = index[i] * w + whole[i];
        }
    }
}

/// Places on an axis of `side` pixels: the pixel at or before each, at most max(side − 2, 0), and how far behind it the place is.
#[inline(always)]
fn settle(places: &[f32], side: usize, whole: &mut [u32], share: &mut [f32]) {
    let n = places.len();
    let (whole, share) = (&mut whole[..n], &mut share[..n]);
    let (last, most) = ((side - 1) as f32, side.saturating_sub(2) as i32);
    let mut is_far = false;
    for i in 0..n {
        let is_near = places[i].abs() <= 2.0 * last; // not so for what is no number
        is_far |= !is_near;
        share[i] = places[i];
    }
    if is_far {
        fold(share, last);
    }
    for i in 0..n {
        let place = share[i].abs();
        let place = if place > last { 2.0 * last - place } else { place };
        let place = if place > 0.0 { place } else { 0.0 };
        // SAFETY: 0 ≤ place ≤ last < 2²⁴, and it is no NaN, for which the comparison above is false.
        let below: i32 = unsafe { place.to_int_unchecked() };
        let below = if below < most { below } else { most };
        whole[i] = below as u32;
        share[i] = place - below as f32;
    }
}

/// Brings places to −2·last … 2·last; 0 for those that are none.
#[cold]
fn fold(places: &mut [f32], last: f32) {
    for place in places {
        let is_one = place.is_finite() && last > 0.0;
        *place = if is_one { place.rem_euclid(2.0 * last) } else { 0.0 };
    }
}

struct Values<'a, 'b, T> {
    image: Raster<'a, T>,
    filter: Filter,
    grid: Grid<'a>,
    out: &'b mut [f32],
}

impl<T: PixelValue> Vectorized for Values<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { image, filter, grid, out } = self;
        let pieces = grid.x.chunks(PIECE).zip(grid.y.chunks(PIECE));
        for ((x, y), out) in pieces.zip(out.chunks_mut(PIECE * image.c)) {
            match filter {
                Filter::Bilinear => linear(image, x, y, out),
                Filter::Bicubic => cubic::values(image, x, y, out),
            }
        }
    }
}

/// The values of an image at up to `PIECE` places: (n, C).
#[inline(always)]
fn linear<T: PixelValue>(image: Raster<'_, T>, x: &[f32], y: &[f32], out: &mut [f32]) {
    let Raster { values, h, w, c } = image;
    let mut taps = Taps::new();
    // The neighbours of a single row or column are itself.
    let (right, below) = (if w > 1 { c } else { 0 }, if h > 1 { w * c } else { 0 });
    taps.settle(x, y, (h, w));
    if c == 1 && w > 1 {
        return pairs(values, &taps, below, out);
    }
    for k in 0..c {
        corners(&values[k..], &taps, (c, right, below), &mut out[k..]);
    }
}

/// One channel, at least two columns: neighbours are fetched together.
#[inline(always)]
fn pairs<T: PixelValue>(values: &[T], taps: &Taps, below: usize, out: &mut [f32]) {
    let n = out.len().min(PIECE);
    let (mut upper, mut lower) = ([T::Pair::default(); PIECE], [T::Pair::default(); PIECE]);
    for i in 0..n {
        let at = taps.index[i] as usize;
        debug_assert!(at + below + 1 < values.len());
        // SAFETY: an index is y·w + x with x ≤ w − 2 and y ≤ h − 2 (or 0 where h is 1, and `below` with it), so that the pixel, its right
        // neighbour and both below are among the h·w values.
        let (a, b) = unsafe { (T::pair(values.as_ptr().add(at)), T::pair(values.as_ptr().add(at + below))) };
        (upper[i], lower[i]) = (a, b);
    }
    let (out, right, down) = (&mut out[..n], &taps.right[..n], &taps.below[..n]);
    for i in 0..n {
        let ((a, b), (d, e)) = (T::split(upper[i]), T::split(lower[i]));
        let (top, bottom) = (a + right[i] * (b - a), d + right[i] * (e - d));
        out[i] = top + down[i] * (bottom - top);
    }
}

/// One channel of several, or of a single column.
#[inline(always)]
fn corners<T: PixelValue>(values: &[T], taps: &Taps, (c, right, below): (usize, usize, usize), out: &mut [f32]) {
    for (i, out) in out.iter_mut().step_by(c).enumerate().take(PIECE) {
        let at = taps.index[i] as usize * c;
        let [a, b, d, e] = [at, at + right, at + below, at + below + right].map(|i| values[i].to_f32());
        let (top, bottom) = (a + taps.right[i] * (b - a), d + taps.right[i] * (e - d));
        *out = top + taps.below[i] * (bottom - top);
    }
}

struct Labels<'a, 'b> {
    labels: Raster<'a, u8>,
    grid: Grid<'a>,
    out: &'b mut [u8],
}

impl Vectorized for Labels<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { labels: Raster { values, h, w, .. }, grid, out } = self;
        let mut taps = Taps::new();
        for start in (0..grid.x.len()).step_by(PIECE) {
            let n = PIECE.min(grid.x.len() - start);
            taps.settle(&grid.x[start..start + n], &grid.y[start..start + n], (h, w));
            // Shares are 0 where there is no neighbour.
            for i in 0..n {
                let (right, below) = (taps.right[i] >= 0.5, taps.below[i] >= 0.5);
                taps.index[i] += (if right { 1 } else { 0 }) + (if below { w as u32 } else { 0 });
            }
            let out = &mut out[start..start + n];
            for i in 0..n {
                out[i] = values[taps.index[i] as usize];
            }
        }
    }
}
