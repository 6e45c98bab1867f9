//! What training minimises: a [`Loss`] takes logits and class indices, yields the sum over pixels and its gradient by the logits.
//! Values stay finite at any logit.

mod bce;
mod cross_entropy;
mod ignore;

pub use bce::BceWithLogits;
pub use cross_entropy::CrossEntropy;
pub(crate) use ignore::Ignore;

use serde::{Deserialize, Serialize};
use unet_kernels::Kernels;

use crate::TrainError;

/// What the logits should say.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Class index of each pixel: (N, H, W).
    pub labels: &'a [u8],
    /// Weight of each pixel, (N, H, W): 0 ignores it. `None` weighs all by 1.
    pub weights: Option<&'a [f32]>,
}

/// A loss summed over pixels. Sums of several batches add up; the mean is taken once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Σ weight · loss.
    pub sum: f64,
    /// Σ weight: the number of pixels where all weigh 1.
    pub weight: f64,
}

impl LossSum {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        self.sum += other.sum;
        self.weight += other.weight;
    }

    /// The mean per unit of weight; 0 where nothing was weighed.
    pub fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }
}

/// A loss from logits.
pub trait Loss: Send {
    /// Its name in logs.
    fn name(&self) -> &'static str;

    /// Logits per pixel that it takes, for so many classes.
    fn logits_per_pixel(&self, classes: usize) -> usize;

    /// The loss of `logits` (N, H, W, K). `grad`, of the same length, is overwritten with the gradient of the *mean*.
    ///
    /// # Panics
    /// Lengths do not fit, or a label is no class.
    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> LossSum;
}

/// Which loss to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LossKind {
    /// [`BceWithLogits`] for two classes, [`CrossEntropy`] for more.
    #[default]
    Auto,
    /// [`BceWithLogits`].
    Bce,
    /// [`CrossEntropy`].
    CrossEntropy,
}

impl LossKind {
    /// The loss for so many classes.
    ///
    /// # Errors
    /// Binary cross-entropy was asked for, and there are not two classes.
    pub fn build(self, classes: usize) -> Result<Box<dyn Loss>, TrainError> {
        match self {
            Self::Bce if classes != 2 => {
                Err(TrainError::config("loss.kind", format!("bce with {classes} classes"), "cross_entropy or auto"))
            }
            Self::Auto if classes == 2 => Ok(Box::new(BceWithLogits::default())),
            Self::Bce => Ok(Box::new(BceWithLogits::default())),
            Self::Auto | Self::CrossEntropy => Ok(Box::new(CrossEntropy::new(classes))),
        }
    }
}

/// The sum of the weights of `pixels` pixels.
fn total_weight(pixels: usize, weights: Option<&[f32]>) -> f64 {
    weights.map_or(pixels as f64, |w| w.iter().map(|w| f64::from(*w)).sum())
}

/// What turns the gradient of the sum into that of the mean.
fn mean_scale(weight: f64) -> f32 {
    if weight > 0.0 { (1.0 / weight) as f32 } else { 0.0 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The gradient against central differences of the mean, with a weight of 0 among the weights.
    fn check(mut loss: Box<dyn Loss>, k: usize, labels: &[u8]) {
        let kernels = Kernels::detect();
        let weights: Vec<f32> = (0..labels.len()).map(|i| (i % 3) as f32 * 0.5).collect();
        let logits: Vec<f32> = (0..labels.len() * k).map(|i| ((i * 37 % 23) as f32 - 11.0) / 4.0).collect();
        for weights in [None, Some(weights.as_slice())] {
            let targets = Targets { labels, weights };
            let mut grad = vec![0.0; logits.len()];
            loss.evaluate(&kernels, &logits, targets, Some(&mut grad));
            for i in 0..logits.len() {
                let mut at = |d: f32| {
                    let mut l = logits.clone();
                    l[i] += d;
                    loss.evaluate(&kernels, &l, targets, None).mean()
                };
                let numeric = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!(
                    (numeric - f64::from(grad[i])).abs() < 2e-5,
                    "{} at {i}: {numeric} for {}",
                    loss.name(),
                    grad[i]
                );
            }
        }
    }

    #[test]
    fn gradients_are_those_of_the_mean() {
        check(LossKind::Auto.build(2).unwrap(), 1, &[0, 1, 1, 0, 1]);
        check(LossKind::Auto.build(3).unwrap(), 3, &[0, 2, 1, 1, 0]);
        check(LossKind::CrossEntropy.build(2).unwrap(), 2, &[0, 1, 1, 0, 1]);
    }

    #[test]
    fn two_logits_whose_difference_is_the_one_give_the_same_loss() {
        let kernels = Kernels::detect();
        let labels = [0, 1, 1, 0];
        let one = [-3.0, 0.5, -40.0, 2.0];
        let two: Vec<f32> = one.iter().flat_map(|x| [0.0, *x]).collect();
        let targets = Targets { labels: &labels, weights: None };
        let bce = BceWithLogits::default().evaluate(&kernels, &one, targets, None);
        let ce = CrossEntropy::new(2).evaluate(&kernels, &two, targets, None);
        assert!((bce.sum - ce.sum).abs() < 1e-5 * bce.sum, "{bce:?} {ce:?}");
        assert_eq!(bce.weight, 4.0);
    }

    #[test]
    fn extreme_logits_and_ignored_images_stay_finite() {
        let kernels = Kernels::detect();
        let mut grad = [f32::NAN; 2];
        let logits = [1e4, -1e4];
        let mut loss = BceWithLogits::default();
        let sum = loss.evaluate(&kernels, &logits, Targets { labels: &[0, 1], weights: None }, Some(&mut grad));
        assert!(sum.mean().is_finite() && grad.iter().all(|g| g.is_finite()));
        let ignored = Targets { labels: &[0, 1], weights: Some(&[0.0, 0.0]) };
        assert_eq!(loss.evaluate(&kernels, &logits, ignored, Some(&mut grad)).mean(), 0.0);
        assert_eq!(grad, [0.0, 0.0]);
    }

    #[test]
    fn bce_of_three_classes_is_refused() {
        let text = LossKind::Bce.build(3).err().unwrap().to_string();
        assert!(text.contains("loss.kind") && text.contains('3'), "{text}");
    }
}
