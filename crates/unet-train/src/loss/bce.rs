//! Binary cross-entropy with logits: one logit per pixel, the log-odds of class 1 (`torch.nn.BCEWithLogitsLoss`).

use unet_kernels::Kernels;

use super::{Loss, LossSum, Targets, mean_scale, total_weight};

/// `max(x, 0) − x·t + ln(1 + e^−|x|)` per pixel.
#[derive(Debug, Default)]
pub struct BceWithLogits {
    /// Targets as floats, reused from batch to batch.
    targets: Vec<f32>,
}

impl Loss for BceWithLogits {
    fn name(&self) -> &'static str {
        "bce"
    }

    fn logits_per_pixel(&self, _classes: usize) -> usize {
        1
    }

    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> LossSum {
        self.targets.clear();
        self.targets.extend(targets.labels.iter().map(|&l| {
            assert!(l < 2, "label {l} of two classes");
            f32::from(l)
        }));
        let weight = total_weight(targets.labels.len(), targets.weights);
        let grad = grad.map(|g| (g, mean_scale(weight)));
        LossSum { sum: kernels.bce_with_logits(logits, &self.targets, targets.weights, grad), weight }
    }
}
