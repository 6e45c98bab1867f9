//! Batch norm (Ioffe & Szegedy 2015) and the ReLU behind it, in training (statistics of the batch) and, through [`NormState`],
//! in inference.

mod activate;
mod backward;
mod leaky;
mod residual;
mod stats;

pub use leaky::{NormFold, NormSums};

use crate::Affine;

/// Mean and biased variance of each channel over N, H and W.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchStats {
    /// Values per channel.
    pub count: usize,
    /// Means.
    pub mean: Vec<f32>,
    /// Σ(x−mean)²/count.
    pub var: Vec<f32>,
}

/// A batch norm as one scale and shift per channel, with what its backward pass needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NormState {
    /// Means that are subtracted.
    pub mean: Vec<f32>,
    /// 1/√(var+ε).
    pub inv_std: Vec<f32>,
    /// γ·inv_std.
    pub scale: Vec<f32>,
    /// β − mean·scale.
    pub shift: Vec<f32>,
}

impl NormState {
    /// From means and (biased) variances, γ, β and ε.
    ///
    /// # Panics
    /// The slices differ in length.
    pub fn new(mean: &[f32], var: &[f32], gamma: &[f32], beta: &[f32], eps: f32) -> Self {
        assert!(mean.len() == var.len() && mean.len() == gamma.len() && mean.len() == beta.len(), "channels");
        let inv_std: Vec<f32> = var.iter().map(|v| (1.0 / (f64::from(*v) + f64::from(eps)).sqrt()) as f32).collect();
        let scale: Vec<f32> = gamma.iter().zip(&inv_std).map(|(g, s)| g * s).collect();
        let shift = (0..mean.len()).map(|c| (-mean[c]).mul_add(scale[c], beta[c])).collect();
        Self { mean: mean.to_vec(), inv_std, scale, shift }
    }

    /// The scale and shift, as a [`Source`](crate::Source) takes them.
    pub fn affine(&self) -> Affine<'_> {
        Affine { scale: &self.scale, shift: &self.shift }
    }
}

/// Gradients by a batch norm's γ and β.
#[derive(Debug)]
pub struct NormGrads<'a> {
    /// By γ, one per channel.
    pub gamma: &'a mut [f32],
    /// By β, one per channel.
    pub beta: &'a mut [f32],
}
