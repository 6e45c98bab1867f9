//! Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"), as the authors' package `schedulefree` defines it.

use rayon::prelude::*;

use super::{CHUNK, complement};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// One step's numbers. The parameter holds y, where gradients are taken; the average x, to evaluate and to keep, is
/// `y + (1 − 1/β₁)·(z − y)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleFree {
    /// Step size.
    pub lr: f32,
    /// Interpolation between z and x.
    pub beta1: f32,
    /// Decay of the mean of squares.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Times lr times y, subtracted.
    pub weight_decay: f32,
    /// Share of z in the average after this step: the step's weight over the sum of all weights so far.
    pub share: f32,
}

/// One chunk's step, constants worked out in f64.
struct Chunk<'a> {
    h: ScheduleFree,
    square_rest: f32,
    /// 1 / (1 − β₂ᵗ).
    correction: f32,
    /// lr·(β₁·(1 − share) − 1): how far y moves along the normalised gradient.
    y_step: f32,
    y: &'a mut [f32],
    grad: &'a [f32],
    z: &'a mut [f32],
    square: &'a mut [f32],
}

impl Vectorized for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let h = self.h;
        for (((y, g), z), s) in self.y.iter_mut().zip(self.grad).zip(self.z).zip(self.square) {
            *s = h.beta2 * *s + self.square_rest * g * g;
            let along = g / ((*s * self.correction).sqrt() + h.eps) + h.weight_decay * *y;
            *y = *y + h.share * (*z - *y) + self.y_step * along;
            *z -= h.lr * along;
        }
    }
}

impl Kernels {
    /// One step in place; `step` counts from 1. `z` starts as a copy of the parameter, `square` as zeros.
    ///
    /// # Panics
    /// Lengths differ, or `step` is 0.
    pub fn schedule_free(
        &self,
        h: ScheduleFree,
        step: u64,
        param: &mut [f32],
        grad: &[f32],
        z: &mut [f32],
        square: &mut [f32],
    ) {
        assert!(step > 0, "steps count from 1");
        assert!(param.len() == grad.len() && param.len() == z.len() && param.len() == square.len(), "lengths");
        let correction = (1.0 / (1.0 - f64::from(h.beta2).powf(step as f64))) as f32;
        let y_step = (f64::from(h.lr) * (f64::from(h.beta1) * (1.0 - f64::from(h.share)) - 1.0)) as f32;
        let square_rest = complement(h.beta2);
        param
            .par_chunks_mut(CHUNK)
            .zip(grad.par_chunks(CHUNK))
            .zip(z.par_chunks_mut(CHUNK))
            .zip(square.par_chunks_mut(CHUNK))
            .for_each(|(((y, grad), z), square)| {
                self.run(Chunk { h, square_rest, correction, y_step, y, grad, z, square });
            });
    }
}
