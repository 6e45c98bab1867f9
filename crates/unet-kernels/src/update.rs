//! Optimizer updates, one fused pass over parameter, gradient and state each.

use crate::Kernels;

/// RMSprop as PyTorch defines it (`torch.optim.RMSprop`, not centered).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    /// Step size.
    pub lr: f32,
    /// Decay of the running mean of squares.
    pub alpha: f32,
    /// Added to the root.
    pub eps: f32,
    /// Times the parameter, added to the gradient.
    pub weight_decay: f32,
    /// Decay of the momentum buffer; 0 uses none.
    pub momentum: f32,
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

impl Kernels {
    /// One RMSprop step in place. `square_avg` and `buffer` start as zeros.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn rmsprop(&self, h: RmsProp, param: &mut [f32], grad: &[f32], square_avg: &mut [f32], buffer: &mut [f32]) {
        assert!(param.len() == grad.len() && param.len() == square_avg.len() && param.len() == buffer.len());
        for i in 0..param.len() {
            let g = h.weight_decay.mul_add(param[i], grad[i]);
            square_avg[i] = h.alpha * square_avg[i] + (1.0 - h.alpha) * g * g;
            let d = g / (square_avg[i].sqrt() + h.eps);
            buffer[i] = h.momentum * buffer[i] + d;
            param[i] -= h.lr * buffer[i];
        }
    }

    /// One AdamW step in place; `step` counts from 1. `mean` and `square` start as zeros.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn adamw(&self, h: AdamW, step: u64, param: &mut [f32], grad: &[f32], mean: &mut [f32], square: &mut [f32]) {
        assert!(param.len() == grad.len() && param.len() == mean.len() && param.len() == square.len());
        let c1 = (1.0 - f64::from(h.beta1).powf(step as f64)) as f32;
        let c2 = (1.0 - f64::from(h.beta2).powf(step as f64)) as f32;
        for i in 0..param.len() {
            let g = grad[i];
            param[i] *= 1.0 - h.lr * h.weight_decay;
            mean[i] += (1.0 - h.beta1) * (g - mean[i]);
            square[i] = h.beta2 * square[i] + (1.0 - h.beta2) * g * g;
            param[i] -= h.lr / c1 * mean[i] / ((square[i] / c2).sqrt() + h.eps);
        }
    }

    /// Exponential moving average: `avg += (1 − decay)·(param − avg)`.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn ema(&self, decay: f32, avg: &mut [f32], param: &[f32]) {
        assert_eq!(avg.len(), param.len());
        avg.iter_mut().zip(param).for_each(|(a, p)| *a += (1.0 - decay) * (p - *a));
    }
}
