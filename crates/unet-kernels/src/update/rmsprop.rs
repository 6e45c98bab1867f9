//! RMSprop (Tieleman & Hinton 2012, lecture 6.5), with momentum, plain and centered (Graves 2013).

use rayon::prelude::*;

use super::{CHUNK, complement};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// RMSprop as PyTorch defines it (`torch.optim.RMSprop`).
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

impl Kernels {
    /// One RMSprop step in place. `square_avg` and `buffer` start as zeros; without momentum `buffer` may be empty.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn rmsprop(&self, h: RmsProp, param: &mut [f32], grad: &[f32], square_avg: &mut [f32], buffer: &mut [f32]) {
        assert!(
            param.len() == grad.len() && param.len() == square_avg.len(),
            "lengths of parameter, gradient and state"
        );
        let chunks = param.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).zip(square_avg.par_chunks_mut(CHUNK));
        if buffer.is_empty() && h.momentum == 0.0 {
            chunks.for_each(|((param, grad), square_avg)| self.run(Step { h, param, grad, square_avg, buffer: None }));
            return;
        }
        assert_eq!(buffer.len(), grad.len(), "length of the momentum buffer");
        chunks.zip(buffer.par_chunks_mut(CHUNK)).for_each(|(((param, grad), square_avg), buffer)| {
            self.run(Step { h, param, grad, square_avg, buffer: Some(buffer) });
        });
    }

    /// One step of centered RMSprop in place: the root is that of the gradient's variance, `square_avg − grad_avg²`. All three states
    /// start as zeros; `buffer` is needed with or without momentum.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn rmsprop_centered(
        &self,
        h: RmsProp,
        param: &mut [f32],
        grad: &[f32],
        square_avg: &mut [f32],
        grad_avg: &mut [f32],
        buffer: &mut [f32],
    ) {
        let states = [square_avg.len(), grad_avg.len(), buffer.len()];
        assert!(param.len() == grad.len() && states == [grad.len(); 3], "lengths of parameter, gradient and state");
        param
            .par_chunks_mut(CHUNK)
            .zip(grad.par_chunks(CHUNK))
            .zip(square_avg.par_chunks_mut(CHUNK))
            .zip(grad_avg.par_chunks_mut(CHUNK))
            .zip(buffer.par_chunks_mut(CHUNK))
            .for_each(|((((param, grad), square_avg), grad_avg), buffer)| {
                self.run(Centered { h, param, grad, square_avg, grad_avg, buffer });
            });
    }
}

/// One chunk's step of the centered form.
struct Centered<'a> {
    h: RmsProp,
    param: &'a mut [f32],
    grad: &'a [f32],
    square_avg: &'a mut [f32],
    grad_avg: &'a mut [f32],
    buffer: &'a mut [f32],
}

impl Vectorized for Centered<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (h, rest) = (self.h, complement(self.h.alpha));
        let states = self.square_avg.iter_mut().zip(self.grad_avg).zip(self.buffer);
        for ((p, g), ((s, mean), b)) in self.param.iter_mut().zip(self.grad).zip(states) {
            let g = *g + h.weight_decay * *p;
            *s = h.alpha * *s + rest * g * g;
            *mean += rest * (g - *mean);
            // Rounding can leave a variance of zero a little below it, whose root would be no number.
            let variance = *s - *mean * *mean;
            let variance = if variance > 0.0 { variance } else { 0.0 };
            *b = h.momentum * *b + g / (variance.sqrt() + h.eps);
            *p -= h.lr * *b;
        }
    }
}

/// One chunk's step.
struct Step<'a> {
    h: RmsProp,
    param: &'a mut [f32],
    grad: &'a [f32],
    square_avg: &'a mut [f32],
    buffer: Option<&'a mut [f32]>,
}

impl Vectorized for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (h, rest) = (self.h, complement(self.h.alpha));
        let values = self.param.iter_mut().zip(self.grad).zip(self.square_avg);
        match self.buffer {
            None => {
                for ((p, g), s) in values {
                    *p -= h.lr * normalised(h, rest, *p, *g, s);
                }
            }
            Some(buffer) => {
                for (((p, g), s), b) in values.zip(buffer) {
                    *b = h.momentum * *b + normalised(h, rest, *p, *g, s);
                    *p -= h.lr * *b;
                }
            }
        }
    }
}

/// Renews the mean of squares; yields the gradient divided by its root.
#[inline(always)]
fn normalised(h: RmsProp, rest: f32, param: f32, grad: f32, square_avg: &mut f32) -> f32 {
    let g = grad + h.weight_decay * param;
    *square_avg = h.alpha * *square_avg + rest * g * g;
    g / (square_avg.sqrt() + h.eps)
}
