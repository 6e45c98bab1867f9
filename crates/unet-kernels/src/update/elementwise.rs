//! What else a training loop does to whole slices: moving averages, norms for clipping, scaling, filling and adding.

use rayon::prelude::*;

use super::{CHUNK, complement};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// Partial sums that a chunk keeps, so that their order is the same at every vector width.
const LANES: usize = 16;

impl Kernels {
    /// Exponential moving average: `avg += (1 − decay)·(param − avg)`.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn ema(&self, decay: f32, avg: &mut [f32], param: &[f32]) {
        assert_eq!(avg.len(), param.len(), "lengths of average and parameter");
        let rest = complement(decay);
        avg.par_chunks_mut(CHUNK)
            .zip(param.par_chunks(CHUNK))
            .for_each(|(avg, param)| self.run(Average { rest, avg, param }));
    }

    /// Σ v², in f64 and in an order that depends on the length alone. Not a number or infinite as soon as one value is.
    pub fn sum_of_squares(&self, values: &[f32]) -> f64 {
        let parts: Vec<f64> = values.par_chunks(CHUNK).map(|chunk| self.run(Squares(chunk))).collect();
        parts.iter().sum()
    }

    /// The Euclidean norm of several gradients taken as one vector (`torch.nn.utils.clip_grad_norm_`), in f64, summed in the
    /// order in which they come.
    pub fn global_norm<'a>(&self, gradients: impl IntoIterator<Item = &'a [f32]>) -> f64 {
        gradients.into_iter().map(|g| self.sum_of_squares(g)).sum::<f64>().sqrt()
    }

    /// `values *= factor`.
    pub fn scale(&self, values: &mut [f32], factor: f32) {
        values.par_chunks_mut(CHUNK).for_each(|values| self.run(Scale { values, factor }));
    }
}

struct Average<'a> {
    rest: f32,
    avg: &'a mut [f32],
    param: &'a [f32],
}

impl Vectorized for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for (a, p) in self.avg.iter_mut().zip(self.param) {
            *a += self.rest * (p - *a);
        }
    }
}

struct Scale<'a> {
    values: &'a mut [f32],
    factor: f32,
}

impl Vectorized for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for v in self.values {
            *v *= self.factor;
        }
    }
}

struct Squares<'a>(&'a [f32]);

impl Vectorized for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (whole, rest) = self.0.as_chunks::<LANES>();
        for lanes in whole {
            for i in 0..LANES {
                sums[i] += f64::from(lanes[i]) * f64::from(lanes[i]);
            }
        }
        for (sum, v) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*v) * f64::from(*v);
        }
        sums.iter().sum()
    }
}
