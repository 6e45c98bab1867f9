//! Softmax cross-entropy: one logit per class and pixel (`torch.nn.CrossEntropyLoss`).

use unet_kernels::Kernels;

use super::weights::PixelWeights;
use super::{Loss, LossSum, Targets, mean_scale};
use crate::TrainError;

/// `ln Σ e^x − x_label` per pixel, times the label's weight. The mean is taken over all weights, those of classes included, as PyTorch
/// takes it.
#[derive(Debug)]
pub struct CrossEntropy {
    classes: usize,
    of_class: Vec<f32>,
    weights: PixelWeights,
}

impl CrossEntropy {
    /// For so many classes.
    pub fn new(classes: usize) -> Self {
        Self::weighted(classes, &[])
    }

    /// With a weight per class; none weighs all alike.
    pub fn weighted(classes: usize, class_weights: &[f64]) -> Self {
        let of_class = class_weights.iter().map(|w| *w as f32).collect();
        Self { classes, of_class, weights: PixelWeights::default() }
    }
}

impl Loss for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn logits_per_pixel(&self, classes: usize) -> usize {
        classes
    }

    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let pixels = self.weights.of(targets, &self.of_class);
        let weight = pixels.sum();
        let grad = grad.map(|g| (g, mean_scale(weight)));
        let sum = kernels.softmax_cross_entropy(logits, self.classes, pixels.labels, pixels.weights, grad);
        Ok(LossSum { sum, weight })
    }
}
