//! A small image enlarged to the size of another, bicubic: along one axis after the other, as a scaling allows. For data augmentation;
//! nothing here starts threads. The same bits on every tier.

#![allow(clippy::needless_range_loop, reason = "several rows side by side are walked by number")]

use crate::resample::{mirror, weight};
use crate::simd::{Simd, Vectorized};
use crate::{Dims, Kernels, Map, MapMut};

impl Kernels {
    /// The image in the size of `out`: the same edges, pixels in proportion; cut off to the range of the image's own values.
    /// [`crate::Filter::Bicubic`] between pixels, mirrored beyond the outermost ones.
    ///
    /// # Panics
    /// `image` or `out` is not one image, or has gaps between its pixels; the first is empty; channels differ.
    pub fn magnify(&self, image: Map<'_, f32>, mut out: MapMut<'_, f32>) {
        let (from, to) = (image.dims(), out.dims());
        assert!(from.n == 1 && to.n == 1 && from.c == to.c && from.pixels() > 0, "one image each: {from:?}, {to:?}");
        assert!(image.stride() == from.c && out.stride() == to.c, "images without gaps");
        let (image, out) = (&image.data()[..from.len()], &mut out.data()[..to.len()]);
        let range = self.extent(image).unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        self.run(Magnify { image, from, range, columns: &taps(to.w, from.w), to, out });
    }
}

/// For each pixel of an axis: the four pixels it is made of, and their weights.
fn taps(to: usize, from: usize) -> Vec<([usize; 4], [f32; 4])> {
    (0..to).map(|i| tap(i, to, from)).collect()
}

#[inline(always)]
fn tap(i: usize, to: usize, from: usize) -> ([usize; 4], [f32; 4]) {
    let place = (i as f32 + 0.5) * from as f32 / to as f32 - 0.5;
    let before = if place < 0.0 { -1 } else { place as i32 };
    let share = place - before as f32;
    ([0, 1, 2, 3].map(|k| mirror(before + k - 1, from)), [0, 1, 2, 3].map(|k| weight::<4>(k, share)))
}

struct Magnify<'a> {
    image: &'a [f32],
    from: Dims,
    range: (f32, f32),
    columns: &'a [([usize; 4], [f32; 4])],
    to: Dims,
    out: &'a mut [f32],
}

impl Vectorized for Magnify<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (c, width, (low, high)) = (self.to.c, self.to.w * self.to.c, self.range);
        let mut wide = vec![0.0f32; self.from.h * width];
        for (row, wide) in self.image.chunks_exact(self.from.w * c).zip(wide.chunks_exact_mut(width.max(1))) {
            for (out, (pixels, weights)) in wide.chunks_exact_mut(c).zip(self.columns) {
                for (k, out) in out.iter_mut().enumerate() {
                    let [a, b, d, e] = pixels.map(|pixel| row[pixel * c + k]);
                    *out = (weights[0] * a + weights[1] * b) + (weights[2] * d + weights[3] * e);
                }
            }
        }
        for (y, out) in self.out.chunks_exact_mut(width.max(1)).enumerate() {
            let (rows, [a, b, d, e]) = tap(y, self.to.h, self.from.h);
            let [p, q, r, s] = rows.map(|row| &wide[row * width..(row + 1) * width]);
            for i in 0..width {
                let sum = (a * p[i] + b * q[i]) + (d * r[i] + e * s[i]);
                let sum = if sum < low { low } else { sum };
                out[i] = if sum > high { high } else { sum };
            }
        }
    }
}
