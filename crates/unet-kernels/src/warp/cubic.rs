//! Values between sixteen pixels, by cubic convolution. Takes a piece's places; yields its values.
//!
//! Along each axis a place has a window of four neighbouring pixels and their weights. At a border, where a tap falls outside, the window
//! stays inside and the weight goes to the pixel that the mirror shows; an image of fewer than four columns or rows has windows of
//! which some pixels are taken several times, with weight 0.

use super::{PIECE, PixelValue, Raster, settle};
use crate::resample::{mirror, weight};

/// Along one axis: the windows' first pixels and the weights of their four.
struct Windows {
    first: [u32; PIECE],
    weights: [[f32; PIECE]; 4],
}

impl Windows {
    /// Those of up to `PIECE` places on an axis of `side` pixels. Every window lies inside: `first` ≤ max(side − 4, 0).
    #[inline(always)]
    fn of(places: &[f32], side: usize) -> Self {
        let n = places.len().min(PIECE);
        let mut windows = Self { first: [0; PIECE], weights: [[0.0; PIECE]; 4] };
        let mut share = [0.0f32; PIECE];
        settle(&places[..n], side, &mut windows.first[..n], &mut share[..n]);
        let [p, q, r, s] = &mut windows.weights;
        for i in 0..n {
            let t = share[i];
            (p[i], q[i], r[i], s[i]) = (weight::<4>(0, t), weight::<4>(1, t), weight::<4>(2, t), weight::<4>(3, t));
        }
        match side {
            0..4 => windows.narrow(n, side),
            _ => windows.shift(n, side),
        }
        windows
    }

    /// Windows begin one pixel before the place's; at the borders, where they would leave the image, their weights move.
    #[inline(always)]
    fn shift(&mut self, n: usize, side: usize) {
        let (last, most) = (side as u32 - 2, side as u32 - 4);
        let Self { first, weights: [p, q, r, s] } = self;
        for i in 0..n {
            let whole = first[i];
            let weights = [p[i], q[i], r[i], s[i]];
            // Pixel −1 is pixel 1, and pixel `side` is `side` − 2.
            let begins = [weights[1], weights[2] + weights[0], weights[3], 0.0];
            let ends = [0.0, weights[0], weights[1] + weights[3], weights[2]];
            let is_first = whole == 0;
            let is_last = whole == last;
            let choose = |k: usize| {
                if is_first {
                    begins[k]
                } else if is_last {
                    ends[k]
                } else {
                    weights[k]
                }
            };
            (p[i], q[i], r[i], s[i]) = (choose(0), choose(1), choose(2), choose(3));
            let before = if is_first { 0 } else { whole - 1 };
            first[i] = if before > most { most } else { before };
        }
    }

    /// All of an axis of fewer than four pixels is one window.
    #[cold]
    fn narrow(&mut self, n: usize, side: usize) {
        for i in 0..n {
            let whole = self.first[i] as i32;
            let mut sums = [0.0; 4];
            for (k, weights) in self.weights.iter().enumerate() {
                sums[mirror(whole + k as i32 - 1, side)] += weights[i];
            }
            self.weights.iter_mut().zip(sums).for_each(|(weights, sum)| weights[i] = sum);
            self.first[i] = 0;
        }
    }
}

/// The values of an image at up to `PIECE` places: (n, C).
#[inline(always)]
pub(super) fn values<T: PixelValue>(image: Raster<'_, T>, x: &[f32], y: &[f32], out: &mut [f32]) {
    let Raster { values, h, w, c } = image;
    let (across, down) = (Windows::of(x, w), Windows::of(y, h));
    if c == 1 && w >= 4 && h >= 4 {
        return quads(values, w, &across, &down, out);
    }
    // Weights are 0 beyond a narrow axis's end.
    let (columns, rows) =
        ([0, 1, 2, 3].map(|k: usize| k.min(w - 1) * c), [0, 1, 2, 3].map(|k: usize| k.min(h - 1) * w * c));
    for (i, out) in out.chunks_exact_mut(c).enumerate() {
        let at = (down.first[i] as usize * w + across.first[i] as usize) * c;
        for (k, out) in out.iter_mut().enumerate() {
            let row = |j: usize| {
                let value = |l: usize| values[at + rows[j] + columns[l] + k].to_f32() * across.weights[l][i];
                ((value(0) + value(1)) + (value(2) + value(3))) * down.weights[j][i]
            };
            *out = (row(0) + row(1)) + (row(2) + row(3));
        }
    }
}

/// One channel: the pixels of a window's row are fetched together.
#[inline(always)]
fn quads<T: PixelValue>(values: &[T], w: usize, across: &Windows, down: &Windows, out: &mut [f32]) {
    let n = out.len().min(PIECE);
    let mut fetched = [[T::Quad::default(); PIECE]; 4];
    for i in 0..n {
        let at = down.first[i] as usize * w + across.first[i] as usize;
        debug_assert!(at + 3 * w + 3 < values.len());
        for (k, row) in fetched.iter_mut().enumerate() {
            // SAFETY: windows begin at most four pixels before the end of each axis, so that sixteen pixels from there on are the image's.
            row[i] = unsafe { T::quad(values.as_ptr().add(at + k * w)) };
        }
    }
    let [a, b, c, d] = &across.weights;
    let (a, b, c, d, out) = (&a[..n], &b[..n], &c[..n], &d[..n], &mut out[..n]);
    out.fill(0.0);
    for (row, share) in fetched.iter().zip(&down.weights) {
        let (row, share) = (&row[..n], &share[..n]);
        for i in 0..n {
            let [p, q, r, s] = T::split4(row[i]);
            out[i] += ((p * a[i] + q * b[i]) + (r * c[i] + s * d[i])) * share[i];
        }
    }
}
