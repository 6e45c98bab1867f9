//! [`Compound`]: several losses of the same logits added up, each with its weight.

use unet_kernels::Kernels;

use super::{Loss, LossSum, Targets};
use crate::TrainError;

/// Σ weight · mean loss. The sum weighs each image by 1, whatever its parts weigh.
pub struct Compound {
    name: &'static str,
    parts: Vec<(f64, Box<dyn Loss>)>,
    /// The gradient of one part, reused from batch to batch.
    part_grad: Vec<f32>,
}

impl Compound {
    /// Of these losses, which take the same number of logits per pixel.
    pub fn new(name: &'static str, parts: Vec<(f64, Box<dyn Loss>)>) -> Self {
        Self { name, parts, part_grad: Vec::new() }
    }
}

impl Loss for Compound {
    fn name(&self) -> &'static str {
        self.name
    }

    fn logits_per_pixel(&self, classes: usize) -> usize {
        self.parts.first().map_or(1, |(_, loss)| loss.logits_per_pixel(classes))
    }

    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        mut grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let mut mean = 0.0;
        if let Some(grad) = &mut grad {
            grad.fill(0.0);
            self.part_grad.resize(grad.len(), 0.0);
        }
        for (weight, loss) in self.parts.iter_mut().filter(|(weight, _)| *weight != 0.0) {
            let part = grad.is_some().then_some(self.part_grad.as_mut_slice());
            mean += *weight * loss.evaluate(kernels, logits, targets, part)?.mean();
            if let Some(grad) = &mut grad {
                let weight = *weight as f32;
                grad.iter_mut().zip(&self.part_grad).for_each(|(g, part)| *g += weight * part);
            }
        }
        let images = targets.images as f64;
        Ok(LossSum { sum: mean * images, weight: images })
    }
}
