//! Softmax cross-entropy: one logit per class and pixel (`torch.nn.CrossEntropyLoss`).

use unet_kernels::Kernels;

use super::{Loss, LossSum, Targets, mean_scale, total_weight};

/// `ln Σ e^x − x_label` per pixel.
#[derive(Debug)]
pub struct CrossEntropy {
    classes: usize,
}

impl CrossEntropy {
    /// For so many classes.
    pub fn new(classes: usize) -> Self {
        Self { classes }
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
        targets: Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> LossSum {
        let weight = total_weight(targets.labels.len(), targets.weights);
        let grad = grad.map(|g| (g, mean_scale(weight)));
        let sum = kernels.softmax_cross_entropy(logits, self.classes, targets.labels, targets.weights, grad);
        LossSum { sum, weight }
    }
}
