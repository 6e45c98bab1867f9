//! Deep supervision: the loss of a network that has logits at several levels of its decoder, weighed as nnU-Net does.

use unet_kernels::Kernels;
use unet_model::Side;

use crate::TrainError;
use crate::loss::{Loss, LossSum, Targets};

/// What the levels share.
pub(super) struct Levels<'a> {
    pub kernels: &'a Kernels,
    /// By level, from 0, with sum 1.
    pub weights: &'a [f64],
    /// At full size.
    pub targets: Targets<'a>,
}

impl Levels<'_> {
    /// Adds the lower levels' losses to that of level 0, `first`, each at the labels that lie in the middle of its pixels. `dlogits`, the
    /// gradient of level 0, is weighed; the others are given in the order of `sides`. The sum weighs what level 0 weighs.
    pub fn add(
        &self,
        loss: &mut dyn Loss,
        first: LossSum,
        dlogits: &mut [f32],
        sides: &[Side],
    ) -> Result<(LossSum, Vec<Vec<f32>>), TrainError> {
        let mut mean = self.weights[0] * first.mean();
        self.kernels.scale(dlogits, self.weights[0] as f32);
        let mut gradients = Vec::with_capacity(sides.len());
        for side in sides {
            let (weight, size) = (self.weights[side.level], (side.dims.h, side.dims.w));
            let labels = self.at(self.targets.labels, side.level, size);
            let weights = self.targets.weights.map(|weights| self.at(weights, side.level, size));
            let targets = Targets::new(&labels, (side.dims.n, size.0, size.1));
            let targets = Targets { weights: weights.as_deref(), ..targets };
            let mut gradient = vec![0.0; side.logits.len()];
            mean += weight * loss.evaluate(self.kernels, &side.logits, &targets, Some(&mut gradient))?.mean();
            self.kernels.scale(&mut gradient, weight as f32);
            gradients.push(gradient);
        }
        Ok((LossSum { sum: mean * first.weight, weight: first.weight }, gradients))
    }

    /// The values in the middle of a level's pixels.
    fn at<T: Copy>(&self, values: &[T], level: usize, (rows, columns): (usize, usize)) -> Vec<T> {
        let Targets { images, height, width, .. } = self.targets;
        let middle = |i: usize, end: usize| ((i << level) + (1 << level) / 2).min(end - 1);
        let lines = (0..images).flat_map(|n| (0..rows).map(move |y| (n * height + middle(y, height)) * width));
        lines.flat_map(|line| (0..columns).map(move |x| values[line + middle(x, width)])).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use unet_kernels::Dims;

    use super::*;
    use crate::loss::BceWithLogits;

    #[test]
    fn lower_levels_are_scored_at_the_middles_and_weighed() {
        let kernels = Kernels::detect();
        // 4×4 labels, whose middles of 2×2 pixels are at rows and columns 1 and 3.
        let labels: Vec<u8> = (0..16).map(|i| u8::from([5, 15].contains(&i))).collect();
        let levels =
            Levels { kernels: &kernels, weights: &[2.0 / 3.0, 1.0 / 3.0], targets: Targets::new(&labels, (1, 4, 4)) };
        assert_eq!(levels.at(&labels, 1, (2, 2)), [1, 0, 0, 1]);
        let side = Side { level: 1, logits: vec![0.0, 1.0, 2.0, 3.0], dims: Dims::new(1, 2, 2, 1) };
        let (first, mut dlogits) = (LossSum { sum: 8.0, weight: 16.0 }, vec![3.0; 16]);
        let (sum, gradients) =
            levels.add(&mut BceWithLogits::default(), first, &mut dlogits, std::slice::from_ref(&side)).unwrap();
        let softplus = |x: f64| x.exp().ln_1p();
        let expected = (softplus(0.0) + softplus(1.0) + softplus(2.0) + softplus(-3.0)) / 4.0;
        assert!((sum.mean() - (0.5 * 2.0 / 3.0 + expected / 3.0)).abs() < 1e-6 && sum.weight == 16.0);
        assert!(dlogits.iter().all(|d| (d - 2.0).abs() < 1e-6));
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        for (found, (x, t)) in gradients[0].iter().zip([(0.0, 1.0), (1.0, 0.0), (2.0, 0.0), (3.0, 1.0)]) {
            assert!((found - (sigmoid(x) - t) / 12.0).abs() < 1e-6);
        }
    }
}
