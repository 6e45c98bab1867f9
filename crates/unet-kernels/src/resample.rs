//! Resampling of images for data augmentation: values at a grid of fractional places, and Gaussian blur.
//!
//! Takes images as [`Map`]s of one image, (1, H, W, C), and labels as (H, W) bytes. Places are in pixels: 0 is the middle of the
//! first pixel, H − 1 that of the last. Beyond the border the image is mirrored about the middle of its outermost pixels
//! (… 2 1 | 0 1 2 …; NumPy's "reflect", SciPy's "mirror"). The same bits on every tier and at any thread count.

#![allow(clippy::needless_range_loop, reason = "lanes side by side are walked by number: iterators may not be inlined")]

use rayon::prelude::*;

use crate::simd::{Simd, Vectorized};
use crate::{Kernels, Map, MapMut};

/// Pixels that are worked on side by side.
const LANES: usize = 16;

/// How values between pixels are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filter {
    /// From the 2×2 pixels around.
    Bilinear,
    /// From the 4×4 pixels around, by Keys' cubic convolution with a = −½ (1981): exact for parabolas, may overshoot at edges.
    Bicubic,
}

/// Source places of all pixels of an output, row-major.
#[derive(Clone, Copy, Debug)]
pub struct Grid<'a> {
    /// Rows.
    pub y: &'a [f32],
    /// Columns.
    pub x: &'a [f32],
}

impl Kernels {
    /// The image at the places of the grid. A place that is not finite gives a NaN.
    ///
    /// # Panics
    /// `image` or `out` is not one image, or the first is empty; channels differ; the grid has not one place for each pixel of
    /// `out`; `image` has more than 2²⁴ rows or columns.
    pub fn resample(&self, image: Map<'_, f32>, filter: Filter, grid: Grid<'_>, out: MapMut<'_, f32>) {
        let (from, to) = (image.dims(), out.dims());
        assert!(from.n == 1 && to.n == 1 && from.c == to.c, "one image each, of as many channels: {from:?}, {to:?}");
        assert!(
            grid.y.len() == to.pixels() && grid.x.len() == to.pixels(),
            "a place for each of {} pixels",
            to.pixels()
        );
        assert!((1..=SIDE_LIMIT).contains(&from.h) && (1..=SIDE_LIMIT).contains(&from.w), "sides of {from:?}");
        out.into_pieces(PIECE).enumerate().for_each(|(i, out)| {
            let pixels = i * PIECE..i * PIECE + out.dims().pixels();
            let grid = Grid { y: &grid.y[pixels.clone()], x: &grid.x[pixels] };
            match filter {
                Filter::Bilinear => self.run(Piece::<2> { image, grid, out }),
                Filter::Bicubic => self.run(Piece::<4> { image, grid, out }),
            }
        });
    }

    /// The labels at the places of the grid: those of the nearest pixels, halves to the even one. A place that is not finite
    /// gives `outside`.
    ///
    /// # Panics
    /// `labels` is empty or has not H·W values; `grid` and `out` differ in length; a side is above 2²⁴.
    pub fn resample_labels(&self, labels: &[u8], (h, w): (usize, usize), grid: Grid<'_>, outside: u8, out: &mut [u8]) {
        assert_eq!(labels.len(), h * w, "labels of {h}×{w} pixels");
        assert!((1..=SIDE_LIMIT).contains(&h) && (1..=SIDE_LIMIT).contains(&w), "sides of {h}×{w} labels");
        assert!(grid.y.len() == out.len() && grid.x.len() == out.len(), "a place for each of {} pixels", out.len());
        out.par_chunks_mut(PIECE).enumerate().for_each(|(i, out)| {
            let start = i * PIECE;
            for (p, label) in out.iter_mut().enumerate() {
                let (y, x) = (grid.y[start + p], grid.x[start + p]);
                *label = match y.is_finite() && x.is_finite() {
                    true => labels[mirror(y.round_ties_even() as i32, h) * w + mirror(x.round_ties_even() as i32, w)],
                    false => outside,
                };
            }
        });
    }
}

/// Pixels of one task.
const PIECE: usize = 2048;
/// f32 tells pixels apart up to here.
const SIDE_LIMIT: usize = 1 << 24;

/// The pixel that stands at `i` once the image of `side` pixels is mirrored about its outermost ones.
#[inline(always)]
pub(crate) fn mirror(i: i32, side: usize) -> usize {
    match usize::try_from(i) {
        Ok(inside) if inside < side => inside,
        _ => fold(i, side),
    }
}

/// [`mirror`] outside the image.
#[cold]
fn fold(i: i32, side: usize) -> usize {
    let last = side as i64 - 1;
    let within = i64::from(i).rem_euclid((2 * last).max(1));
    within.min(2 * last - within).max(0) as usize
}

/// Some pixels of the output, each from `TAPS`² of the image.
struct Piece<'a, const TAPS: usize> {
    image: Map<'a, f32>,
    grid: Grid<'a>,
    out: MapMut<'a, f32>,
}

/// Along one axis, for each of the pixels worked on: the taps' distances in memory and their weights.
struct Taps<const TAPS: usize> {
    offset: [[usize; LANES]; TAPS],
    weight: [[f32; LANES]; TAPS],
}

impl<const TAPS: usize> Vectorized for Piece<'_, TAPS> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let (dims, stride) = (self.image.dims(), self.image.stride());
        let pixels = self.out.dims().pixels();
        for start in (0..pixels).step_by(LANES) {
            let count = LANES.min(pixels - start);
            let rows = taps::<TAPS>(&self.grid.y[start..start + count], dims.h, dims.w * stride);
            let columns = taps::<TAPS>(&self.grid.x[start..start + count], dims.w, stride);
            for c in 0..dims.c {
                let values = gather(&self.image.data()[c..], &rows, &columns);
                for i in 0..count {
                    self.out.pixel(start + i)[c] = values[i];
                }
            }
        }
    }
}

/// Sums the taps' products, rows outermost.
#[inline(always)]
fn gather<const TAPS: usize>(data: &[f32], rows: &Taps<TAPS>, columns: &Taps<TAPS>) -> [f32; LANES] {
    let mut sum = [0.0; LANES];
    for j in 0..TAPS {
        let mut row = [0.0; LANES];
        for i in 0..TAPS {
            let mut value = [0.0; LANES];
            for lane in 0..LANES {
                value[lane] = data[rows.offset[j][lane] + columns.offset[i][lane]];
            }
            for lane in 0..LANES {
                row[lane] += columns.weight[i][lane] * value[lane];
            }
        }
        for lane in 0..LANES {
            sum[lane] += rows.weight[j][lane] * row[lane];
        }
    }
    sum
}

/// The taps around places on an axis of `side` pixels that lie `step` values apart. Lanes without a place get the first pixel.
#[inline(always)]
fn taps<const TAPS: usize>(places: &[f32], side: usize, step: usize) -> Taps<TAPS> {
    let mut taps = Taps { offset: [[0; LANES]; TAPS], weight: [[0.0; LANES]; TAPS] };
    let mut floors = [0i32; LANES];
    let mut shares = [0.0f32; LANES];
    for (lane, place) in places.iter().enumerate() {
        // Saturates far outside; 0 for NaN.
        let below = (*place as i32).saturating_sub(i32::from(*place < *place as i32 as f32));
        floors[lane] = below;
        // From 2²⁴ on a place is a whole number, if it is one at all.
        shares[lane] = *place - if place.abs() < SIDE_LIMIT as f32 { below as f32 } else { *place };
    }
    for k in 0..TAPS {
        for lane in 0..LANES {
            let place = floors[lane].saturating_add(k as i32 + 1 - (TAPS / 2) as i32);
            taps.offset[k][lane] = mirror(place, side) * step;
            taps.weight[k][lane] = weight::<TAPS>(k, shares[lane]);
        }
    }
    taps
}

/// The weight of tap `k` for a place that lies `t` of a pixel behind tap `TAPS`/2 − 1.
#[inline(always)]
pub(crate) fn weight<const TAPS: usize>(k: usize, t: f32) -> f32 {
    match (TAPS, k) {
        (2, 0) => 1.0 - t,
        (2, _) => t,
        (_, 0) => ((-0.5 * t + 1.0) * t - 0.5) * t,
        (_, 1) => (1.5 * t - 2.5) * t * t + 1.0,
        (_, 2) => ((-1.5 * t + 2.0) * t + 0.5) * t,
        _ => (0.5 * t - 0.5) * t * t,
    }
}
