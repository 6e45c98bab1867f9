//! Binary cross-entropy with logits: one logit per pixel, the log-odds of class 1 (`torch.nn.BCEWithLogitsLoss`).

use unet_kernels::Kernels;

use super::weights::PixelWeights;
use super::{Loss, LossSum, Targets, mean_scale};
use crate::TrainError;

/// `max(x, 0) − x·t + ln(1 + e^−|x|)` per pixel; that of class 1 times `pos_weight`. The mean is taken over the pixels' weights, without
/// `pos_weight`, as PyTorch takes it.
#[derive(Debug)]
pub struct BceWithLogits {
    /// Factors of class 0 and 1, or none.
    of_class: Vec<f32>,
    /// Targets as floats, reused from batch to batch.
    targets: Vec<f32>,
    weights: PixelWeights,
}

impl Default for BceWithLogits {
    /// Both classes alike.
    fn default() -> Self {
        Self::weighted(1.0)
    }
}

impl BceWithLogits {
    /// With a factor for pixels of class 1.
    pub fn weighted(pos_weight: f64) -> Self {
        let of_class = if pos_weight == 1.0 { Vec::new() } else { vec![1.0, pos_weight as f32] };
        Self { of_class, targets: Vec::new(), weights: PixelWeights::default() }
    }
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
        targets: &Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let pixels = self.weights.of(targets, &self.of_class);
        self.targets.clear();
        self.targets.extend(pixels.labels.iter().map(|&l| {
            assert!(l < 2, "label {l} of two classes");
            f32::from(l)
        }));
        let weight = pixels.total;
        let grad = grad.map(|g| (g, mean_scale(weight)));
        Ok(LossSum { sum: kernels.bce_with_logits(logits, &self.targets, pixels.weights, grad), weight })
    }
}
