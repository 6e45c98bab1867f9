//! Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019).

use rayon::prelude::*;

use super::{CHUNK, complement};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// Adam as PyTorch defines it (`torch.optim.Adam`): decay goes through the gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Step size.
    pub lr: f32,
    /// Decay of the mean.
    pub beta1: f32,
    /// Decay of the mean of squares.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Times the parameter, added to the gradient.
    pub weight_decay: f32,
}

/// AdamW as PyTorch defines it (`torch.optim.AdamW`), decoupled decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Step size.
    pub lr: f32,
    /// Decay of the mean.
    pub beta1: f32,
    /// Decay of the mean of squares.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Times lr times the parameter, subtracted from it.
    pub weight_decay: f32,
}

/// What one step of either does to a value, constants worked out in f64.
#[derive(Clone, Copy)]
struct Step {
    /// The parameter's factor, 1 − lr·decay.
    keep: f32,
    /// Times the parameter, added to the gradient.
    l2: f32,
    mean_rest: f32,
    beta2: f32,
    square_rest: f32,
    /// lr / (1 − β₁ᵗ).
    size: f32,
    /// √(1 − β₂ᵗ).
    root: f32,
    eps: f32,
}

impl Step {
    /// Without decay of either kind.
    fn new(h: Adam, step: u64) -> Self {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(step as f64);
        Self {
            keep: 1.0,
            l2: 0.0,
            mean_rest: complement(h.beta1),
            beta2: h.beta2,
            square_rest: complement(h.beta2),
            size: (f64::from(h.lr) / correction(h.beta1)) as f32,
            root: correction(h.beta2).sqrt() as f32,
            eps: h.eps,
        }
    }
}

/// One chunk's step.
struct Chunk<'a> {
    h: Step,
    param: &'a mut [f32],
    grad: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

impl Vectorized for Chunk<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let h = self.h;
        for (((p, g), m), s) in self.param.iter_mut().zip(self.grad).zip(self.mean).zip(self.square) {
            let g = *g + h.l2 * *p;
            *m += h.mean_rest * (g - *m);
            *s = h.beta2 * *s + h.square_rest * g * g;
            *p = *p * h.keep - h.size * (*m / (s.sqrt() / h.root + h.eps));
        }
    }
}

impl Kernels {
    /// One Adam step in place; `step` counts from 1. `mean` and `square` start as zeros.
    ///
    /// # Panics
    /// Lengths differ, or `step` is 0.
    pub fn adam(&self, h: Adam, step: u64, param: &mut [f32], grad: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let constants = Step { l2: h.weight_decay, ..Step::new(h, step) };
        self.adam_step(constants, step, param, grad, mean, square);
    }

    /// One AdamW step in place; `step` counts from 1. `mean` and `square` start as zeros.
    ///
    /// # Panics
    /// Lengths differ, or `step` is 0.
    pub fn adamw(&self, h: AdamW, step: u64, param: &mut [f32], grad: &[f32], mean: &mut [f32], square: &mut [f32]) {
        let AdamW { lr, beta1, beta2, eps, weight_decay } = h;
        let keep = (1.0 - f64::from(lr) * f64::from(weight_decay)) as f32;
        let constants = Step { keep, ..Step::new(Adam { lr, beta1, beta2, eps, weight_decay: 0.0 }, step) };
        self.adam_step(constants, step, param, grad, mean, square);
    }

    fn adam_step(&self, h: Step, step: u64, param: &mut [f32], grad: &[f32], mean: &mut [f32], square: &mut [f32]) {
        assert!(step > 0, "steps count from 1");
        assert!(param.len() == grad.len() && param.len() == mean.len() && param.len() == square.len(), "lengths");
        param
            .par_chunks_mut(CHUNK)
            .zip(grad.par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK))
            .zip(square.par_chunks_mut(CHUNK))
            .for_each(|(((param, grad), mean), square)| self.run(Chunk { h, param, grad, mean, square }));
    }
}
