//! Gaussian blur, separable, with mirrored borders: rows are mixed first, then the columns of the mixed row, which stays in the
//! cache, so that the image is read once and no copy of it is made.

use std::ops::Range;

use rayon::prelude::*;

use crate::resample::mirror;
use crate::simd::{Simd, Vectorized};
use crate::{Kernels, Map, MapMut};

impl Kernels {
    /// Gaussian blur with a standard deviation of `sigma` pixels, cut off at 4σ (SciPy's `gaussian_filter` with mode "mirror"),
    /// of each image of the batch. σ = 0 copies.
    ///
    /// # Panics
    /// Extents differ; `sigma` is negative, not finite, or above 2²⁰.
    pub fn gaussian_blur(&self, image: Map<'_, f32>, sigma: f32, out: MapMut<'_, f32>) {
        let dims = image.dims();
        assert_eq!(dims, out.dims(), "image and blurred image");
        let weights = gaussian(sigma);
        out.into_bands(1).into_par_iter().enumerate().for_each_init(Vec::new, |mixed, (i, out)| {
            let first = i / dims.h.max(1) * dims.h;
            let row = |y: usize| image.rows(0, first + y, 1);
            let (y, radius) = ((i % dims.h.max(1)) as i32, (weights.len() / 2) as i32);
            let rows: Vec<Map<'_, f32>> = (y - radius..=y + radius).map(|y| row(mirror(y, dims.h))).collect();
            self.run(Row { rows: &rows, weights: &weights, mixed, out });
        });
    }
}

/// e^(−k²/2σ²) for |k| ≤ 4σ + ½, with a sum of one; worked out in f64.
fn gaussian(sigma: f32) -> Vec<f32> {
    assert!((0.0..=1_048_576.0).contains(&sigma), "a blur of {sigma} pixels");
    let radius = (4.0 * f64::from(sigma) + 0.5) as i32;
    let value = |k: i32| match k {
        0 => 1.0,
        _ => (-0.5 * (f64::from(k) / f64::from(sigma)).powi(2)).exp(),
    };
    let total: f64 = (-radius..=radius).map(value).sum();
    (-radius..=radius).map(|k| (value(k) / total) as f32).collect()
}

/// One row of the output from the rows around it.
struct Row<'a, 'b> {
    rows: &'a [Map<'a, f32>],
    weights: &'a [f32],
    /// Room for the mixed row with its mirrored ends, reused.
    mixed: &'a mut Vec<f32>,
    out: MapMut<'b, f32>,
}

impl Vectorized for Row<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let (dims, radius) = (self.out.dims(), self.weights.len() / 2);
        let (width, c) = (dims.w * dims.c, dims.c);
        self.mixed.clear();
        self.mixed.resize(width + 2 * radius * c, 0.0);
        let inside = radius * c..radius * c + width;
        for (row, weight) in self.rows.iter().zip(self.weights) {
            add_row(&mut self.mixed[inside.clone()], row, *weight);
        }
        for k in 1..=radius {
            for (to, from) in [(radius - k, -(k as i32)), (radius + dims.w - 1 + k, (dims.w - 1 + k) as i32)] {
                let from = pixel(radius + mirror(from, dims.w), c);
                self.mixed.copy_within(from, to * c);
            }
        }
        // One tap at a time over the whole row: long loops over neighbours, whatever the channels.
        let mut sums = vec![0.0f32; width];
        for (k, weight) in self.weights.iter().enumerate() {
            for (sum, v) in sums.iter_mut().zip(&self.mixed[k * c..]) {
                *sum += *weight * *v;
            }
        }
        for x in 0..dims.w {
            self.out.pixel(x).copy_from_slice(&sums[pixel(x, c)]);
        }
    }
}

fn pixel(x: usize, c: usize) -> Range<usize> {
    x * c..(x + 1) * c
}

/// `to += weight·row`.
#[inline(always)]
fn add_row(to: &mut [f32], row: &Map<'_, f32>, weight: f32) {
    let dims = row.dims();
    if row.stride() == dims.c {
        for (t, v) in to.iter_mut().zip(row.data()) {
            *t += weight * *v;
        }
        return;
    }
    for x in 0..dims.w {
        for (t, v) in to[pixel(x, dims.c)].iter_mut().zip(row.pixel(x)) {
            *t += weight * *v;
        }
    }
}
