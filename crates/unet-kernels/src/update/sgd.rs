//! Stochastic gradient descent with momentum (Sutskever et al. 2013 for Nesterov's form).

use rayon::prelude::*;

use super::CHUNK;
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// SGD as PyTorch defines it (`torch.optim.SGD`, dampening 0).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub lr: f32,
    /// Decay of the momentum buffer; 0 uses none.
    pub momentum: f32,
    /// Times the parameter, added to the gradient.
    pub weight_decay: f32,
    /// Whether to step by `gradient + momentum·buffer` instead of `buffer`.
    pub nesterov: bool,
}

impl Kernels {
    /// One step in place. `buffer` starts as zeros; without momentum it may be empty.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn sgd(&self, h: Sgd, param: &mut [f32], grad: &[f32], buffer: &mut [f32]) {
        assert_eq!(param.len(), grad.len(), "lengths of parameter and gradient");
        let chunks = param.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
        if buffer.is_empty() && h.momentum == 0.0 {
            chunks.for_each(|(param, grad)| self.run(Step { h, param, grad, buffer: None }));
            return;
        }
        assert_eq!(buffer.len(), grad.len(), "length of the momentum buffer");
        chunks
            .zip(buffer.par_chunks_mut(CHUNK))
            .for_each(|((param, grad), buffer)| self.run(Step { h, param, grad, buffer: Some(buffer) }));
    }
}

/// One chunk's step.
struct Step<'a> {
    h: Sgd,
    param: &'a mut [f32],
    grad: &'a [f32],
    buffer: Option<&'a mut [f32]>,
}

impl Vectorized for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let h = self.h;
        let values = self.param.iter_mut().zip(self.grad);
        match self.buffer {
            None => {
                for (p, g) in values {
                    *p -= h.lr * (*g + h.weight_decay * *p);
                }
            }
            Some(buffer) => {
                for ((p, g), b) in values.zip(buffer) {
                    let decayed = *g + h.weight_decay * *p;
                    *b = h.momentum * *b + decayed;
                    let ahead = decayed + h.momentum * *b;
                    *p -= h.lr * if h.nesterov { ahead } else { *b };
                }
            }
        }
    }
}
