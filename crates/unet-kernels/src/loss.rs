//! Losses from logits, value and gradient in one pass, finite at any logit.

use crate::{Kernels, reference};

impl Kernels {
    /// Binary cross-entropy of logits against targets in [0, 1]: the *sum* over all values of
    /// `w·(max(x, 0) − x·t + ln(1 + e^−|x|))`. With `grad`, `scale·w·(σ(x) − t)` is written into it.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn bce_with_logits(
        &self,
        logits: &[f32],
        targets: &[f32],
        weights: Option<&[f32]>,
        grad: Option<(&mut [f32], f32)>,
    ) -> f64 {
        reference::bce_with_logits(logits, targets, weights, grad)
    }

    /// Softmax cross-entropy of logits (pixels × classes) against class indices: the *sum* over all pixels of
    /// `w·(ln Σ e^x − x_label)`. With `grad`, `scale·w·(softmax − onehot)` is written into it.
    ///
    /// # Panics
    /// Lengths do not fit, or a label is no class.
    pub fn softmax_cross_entropy(
        &self,
        logits: &[f32],
        classes: usize,
        labels: &[u8],
        weights: Option<&[f32]>,
        grad: Option<(&mut [f32], f32)>,
    ) -> f64 {
        reference::softmax_cross_entropy(logits, classes, labels, weights, grad)
    }
}
