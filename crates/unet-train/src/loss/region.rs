//! Losses of whole regions: soft Dice (Milletari et al. 2016), the Tversky index (Salehi et al. 2017) and its focal form (Abraham & Khan
//! 2019), from probabilities, per image or over the whole batch.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use unet_kernels::Kernels;

use super::weights::PixelWeights;
use super::{CHUNK, Loss, LossSum, Targets};
use crate::TrainError;

/// What gets one index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Each image: the mean over images, which does not depend on how they are batched.
    #[default]
    Image,
    /// The whole batch taken as one image: steadier where a class is rare.
    Batch,
}

/// `(TP + s) / (TP + α·FP + β·FN + s)` of soft counts, and what is made of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overlap {
    /// Weight of false positives.
    pub alpha: f64,
    /// Weight of false negatives.
    pub beta: f64,
    /// Exponent of (1 − index).
    pub gamma: f64,
    /// What gets one index.
    pub scope: Scope,
    /// s, above 0: the index of an empty mask that is predicted empty is 1.
    pub smooth: f64,
    /// Whether class 0 counts, where there is a logit per class.
    pub background: bool,
}

impl Overlap {
    /// Soft Dice, `(2·TP + s) / (2·TP + FP + FN + s)`: the Tversky index with α = β = ½ and half of `smooth`.
    pub fn dice(scope: Scope, smooth: f64, background: bool) -> Self {
        Self { alpha: 0.5, beta: 0.5, gamma: 1.0, scope, smooth: smooth / 2.0, background }
    }
}

/// The mean of (1 − index)^γ over images (or the batch) and classes. With two classes there is one logit, and class 1 alone counts unless
/// [`Region::of_classes`] says which do.
#[derive(Debug)]
pub struct Region {
    /// Whether a class counts, by its index.
    counts: Vec<bool>,
    overlap: Overlap,
    weights: PixelWeights,
    probabilities: Vec<f32>,
}

/// Soft counts of one class in one region.
#[derive(Clone, Copy, Default)]
struct Counts {
    /// Σ w.
    all: f64,
    /// Σ w·p·t.
    hit: f64,
    /// Σ w·p.
    predicted: f64,
    /// Σ w·t.
    actual: f64,
}

/// How a class's term changes with a probability: by `always·w`, and by `if_true·w` more where the pixel is of the class.
#[derive(Clone, Copy, Default)]
struct Slope {
    always: f64,
    if_true: f64,
}

impl Counts {
    /// Those of the other one of two classes.
    fn of_other(self) -> Self {
        let Self { all, hit, predicted, actual } = self;
        Self { all, hit: all - predicted - actual + hit, predicted: all - predicted, actual: all - actual }
    }
}

impl Slope {
    /// By the other one's probability, from that of one of two classes, which are each other's rest.
    fn of_other(self) -> Self {
        Self { always: -(self.always + self.if_true), if_true: self.if_true }
    }

    fn add(&mut self, other: Self, share: f64) {
        self.always += share * other.always;
        self.if_true += share * other.if_true;
    }
}

impl Region {
    /// For so many classes: of two class 1 counts, of more all, class 0 where [`Overlap::background`] says so.
    pub fn new(classes: usize, overlap: Overlap) -> Self {
        let first = usize::from(classes == 2 || !overlap.background);
        Self::of_classes(classes, overlap, &(first..classes).collect::<Vec<_>>())
    }

    /// For so many classes, of which those `counted` have an index, whatever [`Overlap::background`] says.
    pub fn of_classes(classes: usize, overlap: Overlap, counted: &[usize]) -> Self {
        let counts = (0..classes).map(|class| counted.contains(&class)).collect();
        Self { counts, overlap, weights: PixelWeights::default(), probabilities: Vec::new() }
    }

    /// The mean term of a region's classes that count, times `share`, and the slopes by each probability, from the counts by each.
    fn terms(&self, counts: &[Counts], share: f64) -> (f64, Vec<Slope>) {
        let (mut mean, mut slopes) = (0.0, vec![Slope::default(); counts.len()]);
        for class in (0..self.counts.len()).filter(|&class| self.counts[class]) {
            let (value, slope, at) = match counts {
                [of_one] if class == 0 => {
                    let (value, slope) = self.term(of_one.of_other());
                    (value, slope.of_other(), 0)
                }
                [of_one] => {
                    let (value, slope) = self.term(*of_one);
                    (value, slope, 0)
                }
                _ => {
                    let (value, slope) = self.term(counts[class]);
                    (value, slope, class)
                }
            };
            mean += share * value;
            slopes[at].add(slope, share);
        }
        (mean, slopes)
    }

    /// A term and its slope, from the counts.
    fn term(&self, c: Counts) -> (f64, Slope) {
        let Overlap { alpha, beta, gamma, smooth, .. } = self.overlap;
        let above = c.hit + smooth;
        let below = c.hit + alpha * (c.predicted - c.hit) + beta * (c.actual - c.hit) + smooth;
        let missing = (1.0 - above / below).max(0.0);
        // The root's slope at a perfect region is infinite where gamma < 1: it is held there.
        let outer = if gamma == 1.0 { 1.0 } else { gamma * missing.max(1e-7).powf(gamma - 1.0) };
        // d(1 − N/D) = (N·dD − dN·D)/D², with dD = w·(α + t·(1 − α − β)), dN = w·t.
        let square = below * below;
        let slope = Slope {
            always: outer * above * alpha / square,
            if_true: outer * (above * (1.0 - alpha - beta) - below) / square,
        };
        (missing.powf(gamma), slope)
    }
}

impl Loss for Region {
    fn name(&self) -> &'static str {
        match self.overlap {
            Overlap { alpha: 0.5, beta: 0.5, gamma: 1.0, .. } => "dice",
            Overlap { gamma: 1.0, .. } => "tversky",
            _ => "focal_tversky",
        }
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
        let k = self.logits_per_pixel(self.counts.len());
        let mut probabilities = std::mem::take(&mut self.probabilities);
        probabilities.resize(logits.len(), 0.0);
        probabilities.par_chunks_mut(CHUNK * k).zip(logits.par_chunks(CHUNK * k)).for_each(|(p, x)| match k {
            1 => p.iter_mut().zip(x).for_each(|(p, x)| *p = sigmoid(*x)),
            _ => p.chunks_exact_mut(k).zip(x.chunks_exact(k)).for_each(|(p, x)| softmax(x, p)),
        });
        let mut own = std::mem::take(&mut self.weights);
        let pixels = own.of(targets, &[]);
        assert_eq!(logits.len(), pixels.labels.len() * k, "logits of {} pixels", pixels.labels.len());
        let images = targets.images.max(1);
        let regions = if self.overlap.scope == Scope::Image { images } else { 1 };
        let per_region = (pixels.labels.len() / regions).max(1);
        let counted = self.counts.iter().filter(|counts| **counts).count();
        let share = 1.0 / (regions * counted.max(1)) as f64;
        let weight_of = |i: usize| pixels.weights.map_or(1.0, |w| w[i]);

        let (mut mean, mut slopes) = (0.0, Vec::with_capacity(regions * k));
        for region in 0..regions {
            let range = region * per_region..(region + 1) * per_region;
            let counts = count(&probabilities, pixels.labels, &weight_of, range, k);
            let (value, of_region) = self.terms(&counts, share);
            mean += value;
            slopes.extend(of_region);
        }
        if let Some(grad) = grad {
            grad.par_chunks_mut(CHUNK * k).enumerate().for_each(|(chunk, grad)| {
                for (j, grad) in grad.chunks_exact_mut(k).enumerate() {
                    let i = chunk * CHUNK + j;
                    let slopes = &slopes[i / per_region * k..][..k];
                    let p = &probabilities[i * k..(i + 1) * k];
                    chain(p, pixels.labels[i], f64::from(weight_of(i)), slopes, grad);
                }
            });
        }
        let sum = LossSum { sum: mean * images as f64, weight: images as f64 };
        (self.probabilities, self.weights) = (probabilities, own);
        Ok(sum)
    }
}

/// Whether a pixel of this label is of the class that probability `c` of `k` stands for.
fn is_of(label: u8, c: usize, k: usize) -> bool {
    if k == 1 { label == 1 } else { usize::from(label) == c }
}

/// Soft counts of each class in a range of pixels, in an order that depends on the range alone.
fn count(
    p: &[f32],
    labels: &[u8],
    weight_of: &(impl Fn(usize) -> f32 + Sync),
    range: std::ops::Range<usize>,
    k: usize,
) -> Vec<Counts> {
    let chunks: Vec<usize> = range.clone().step_by(CHUNK).collect();
    let parts: Vec<Vec<Counts>> = chunks
        .into_par_iter()
        .map(|start| {
            let mut counts = vec![Counts::default(); k];
            for i in start..range.end.min(start + CHUNK) {
                let w = f64::from(weight_of(i));
                for (c, counts) in counts.iter_mut().enumerate() {
                    let wp = w * f64::from(p[i * k + c]);
                    counts.all += w;
                    counts.predicted += wp;
                    if is_of(labels[i], c, k) {
                        counts.hit += wp;
                        counts.actual += w;
                    }
                }
            }
            counts
        })
        .collect();
    let mut total = vec![Counts::default(); k];
    for (class, part) in parts.iter().flat_map(|part| part.iter().enumerate()) {
        total[class].all += part.all;
        total[class].hit += part.hit;
        total[class].predicted += part.predicted;
        total[class].actual += part.actual;
    }
    total
}

/// From slopes by probabilities to the gradient by logits of one pixel.
fn chain(p: &[f32], label: u8, w: f64, slopes: &[Slope], grad: &mut [f32]) {
    let k = p.len();
    let by_probability = |c: usize| w * (slopes[c].always + if is_of(label, c, k) { slopes[c].if_true } else { 0.0 });
    if k == 1 {
        let p = f64::from(p[0]);
        grad[0] = (by_probability(0) * p * (1.0 - p)) as f32;
        return;
    }
    let mean: f64 = (0..k).map(|c| by_probability(c) * f64::from(p[c])).sum();
    for (c, g) in grad.iter_mut().enumerate() {
        *g = (f64::from(p[c]) * (by_probability(c) - mean)) as f32;
    }
}

fn sigmoid(x: f32) -> f32 {
    let e = (-x.abs()).exp();
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

fn softmax(x: &[f32], p: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    p.iter_mut().zip(x).for_each(|(p, x)| *p = (x - most).exp());
    let total: f32 = p.iter().sum();
    p.iter_mut().for_each(|p| *p /= total);
}
