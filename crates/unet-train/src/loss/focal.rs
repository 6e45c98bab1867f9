//! Focal loss (Lin et al. 2017): cross-entropy in which pixels that are right already count little. `torchvision.ops.sigmoid_focal_loss`
//! for two classes, the same on the softmax for more.

use rayon::prelude::*;
use unet_kernels::Kernels;

use super::weights::{PixelWeights, Weighed};
use super::{CHUNK, Loss, LossSum, Targets, mean_scale};
use crate::TrainError;

/// `−α·(1 − p)^γ·ln p` per pixel, p the probability of its true class. The mean is taken over the pixels' weights, without α.
#[derive(Debug)]
pub struct Focal {
    classes: usize,
    gamma: f64,
    of_class: Vec<f32>,
    weights: PixelWeights,
}

impl Focal {
    /// For so many classes. `alpha` weighs class 1 of two, against 1 − alpha for class 0; `class_weights` those of more.
    pub fn new(classes: usize, gamma: f64, alpha: Option<f64>, class_weights: &[f64]) -> Self {
        let of_class = match alpha {
            Some(alpha) => vec![(1.0 - alpha) as f32, alpha as f32],
            None => class_weights.iter().map(|w| *w as f32).collect(),
        };
        Self { classes, gamma, of_class, weights: PixelWeights::default() }
    }
}

impl Loss for Focal {
    fn name(&self) -> &'static str {
        "focal"
    }

    fn logits_per_pixel(&self, classes: usize) -> usize {
        if classes == 2 { 1 } else { classes }
    }

    fn evaluate(
        &mut self,
        _: &Kernels,
        logits: &[f32],
        targets: &Targets<'_>,
        grad: Option<&mut [f32]>,
    ) -> Result<LossSum, TrainError> {
        let (gamma, k) = (self.gamma, if self.classes == 2 { 1 } else { self.classes });
        let pixels = self.weights.of(targets, &self.of_class);
        assert_eq!(logits.len(), pixels.labels.len() * k, "logits of {} pixels", pixels.labels.len());
        let weight = pixels.total;
        let scale = f64::from(mean_scale(weight));
        let chunk = |i: usize, grad: Option<&mut [f32]>| sum_of_chunk(i, k, gamma, scale, logits, &pixels, grad);
        let parts: Vec<f64> = match grad {
            Some(grad) => {
                let chunks = grad.par_chunks_mut(CHUNK * k).enumerate();
                chunks.map(|(i, grad)| chunk(i, Some(grad))).collect()
            }
            None => (0..pixels.labels.len().div_ceil(CHUNK)).into_par_iter().map(|i| chunk(i, None)).collect(),
        };
        Ok(LossSum { sum: parts.iter().sum(), weight })
    }
}

/// The loss of one chunk of pixels, and its gradient times `scale`.
fn sum_of_chunk(
    chunk: usize,
    k: usize,
    gamma: f64,
    scale: f64,
    logits: &[f32],
    pixels: &Weighed<'_>,
    mut grad: Option<&mut [f32]>,
) -> f64 {
    let start = chunk * CHUNK;
    let mut sum = 0.0;
    for i in start..pixels.labels.len().min(start + CHUNK) {
        let weight = pixels.weights.map_or(1.0, |w| f64::from(w[i]));
        let at = (i - start) * k..(i - start + 1) * k;
        let (x, out) = (&logits[i * k..(i + 1) * k], grad.as_mut().map(|g| &mut g[at]));
        let value = match k {
            1 => binary(x[0], pixels.labels[i] == 1, gamma, scale * weight, out),
            _ => softmax(x, usize::from(pixels.labels[i]), gamma, scale * weight, out),
        };
        // A pixel without weight adds nothing, whatever its logit is.
        sum += if weight == 0.0 { 0.0 } else { weight * value };
    }
    sum
}

/// One logit. With x the logit of the true class: q = σ(−x) = 1 − p, −ln p = softplus(−x).
fn binary(logit: f32, is_one: bool, gamma: f64, scale: f64, grad: Option<&mut [f32]>) -> f64 {
    let sign = if is_one { 1.0 } else { -1.0 };
    let x = sign * f64::from(logit);
    let e = (-x.abs()).exp();
    let (large, small) = (1.0 / (1.0 + e), e / (1.0 + e));
    let (p, q) = if x >= 0.0 { (large, small) } else { (small, large) };
    let surprise = e.ln_1p() + (-x).max(0.0);
    let focus = q.powf(gamma);
    if let Some(grad) = grad {
        grad[0] = (-sign * scale * focus * (gamma * p * surprise + q)) as f32;
    }
    focus * surprise
}

/// A logit per class; u = 1 − p is summed over the other classes, so that it does not cancel.
fn softmax(x: &[f32], label: usize, gamma: f64, scale: f64, grad: Option<&mut [f32]>) -> f64 {
    assert!(label < x.len(), "label {label} of {} classes", x.len());
    let most = x.iter().fold(f64::NEG_INFINITY, |m, v| m.max(f64::from(*v)));
    let exp = |v: f32| (f64::from(v) - most).exp();
    let total: f64 = x.iter().map(|v| exp(*v)).sum();
    let others: f64 = x.iter().enumerate().filter(|(c, _)| *c != label).map(|(_, v)| exp(*v)).sum();
    let (p, u) = (exp(x[label]) / total, others / total);
    let log_p = f64::from(x[label]) - most - total.ln();
    let log_p = if u < 1e-3 { (-u).ln_1p() } else { log_p };
    let focus = u.powf(gamma);
    if let Some(grad) = grad {
        // ln p / u tends to −1 as u tends to 0.
        let slope = if u > 1e-9 { log_p / u } else { -1.0 };
        let common = scale * focus * (gamma * p * slope - 1.0);
        for (c, (g, v)) in grad.iter_mut().zip(x).enumerate() {
            *g = (common * if c == label { u } else { -exp(*v) / total }) as f32;
        }
    }
    -focus * log_p
}
