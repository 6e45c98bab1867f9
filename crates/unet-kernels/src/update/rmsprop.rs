//! RMSprop (Tieleman & Hinton 2012, lecture 6.5), with momentum.

use rayon::prelude::*;

use super::{CHUNK, complement};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

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
