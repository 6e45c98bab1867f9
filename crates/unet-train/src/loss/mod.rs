//! What training minimises: a [`Loss`] takes logits and class indices, yields the sum over pixels (or images) and its gradient by the
//! logits. Values and gradients stay finite at any finite logit, on empty and on full masks.

mod affinity;
mod bce;
mod candle;
mod compound;
mod config;
mod cross_entropy;
mod focal;
mod per_class;
mod region;
mod weights;

pub(crate) use affinity::Affinity;
pub use affinity::AffinityConfig;
pub use bce::BceWithLogits;
pub use candle::{CandleLoss, CandleTargets};
pub use compound::Compound;
pub use config::LossConfig;
pub use cross_entropy::CrossEntropy;
pub use focal::Focal;
pub use per_class::PerClass;
pub use region::{Overlap, Region, Scope};

use unet_kernels::Kernels;

use crate::TrainError;

/// Pixels that one task works on.
const CHUNK: usize = 1 << 12;

/// What the logits should say.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// Class index of each pixel, (N, H, W), or [`unet_data::IGNORE`] where it takes part in no loss; for [`PerClass`] sets of classes.
    pub labels: &'a [u8],
    /// Weight of each pixel, (N, H, W): 0 ignores it. `None` weighs all by 1.
    pub weights: Option<&'a [f32]>,
    /// N.
    pub images: usize,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
}

impl<'a> Targets<'a> {
    /// Labels (N, H, W) that all weigh 1.
    pub fn new(labels: &'a [u8], (images, height, width): (usize, usize, usize)) -> Self {
        Self { labels, weights: None, images, height, width }
    }
}

/// A loss summed over pixels, or over images. Sums of several batches add up; the mean is taken once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// Σ weight · loss.
    pub sum: f64,
    /// Σ weight: the number of pixels (or images) where all weigh 1.
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
    /// # Errors
    /// Those of a caller's own loss; the built-in ones have none.
    ///
    /// # Panics
    /// Lengths do not fit, or a label is no class.
    fn evaluate(
        &mut self,
        kernels: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError>;
}

/// What turns the gradient of the sum into that of the mean.
fn mean_scale(weight: f64) -> f32 {
    if weight > 0.0 { (1.0 / weight) as f32 } else { 0.0 }
}

#[cfg(test)]
mod tests;
