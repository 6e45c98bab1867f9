//! Softmax cross-entropy.

use rayon::prelude::*;

use super::math::{exp_negative, ln_1p};
use super::{CHUNK, LANES, Lanes, load};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

impl Kernels {
    /// Softmax cross-entropy of logits (pixels × classes) against class indices: the *sum* over all pixels of
    /// `w·(ln Σ e^x − x_label)`. With `grad`, `scale·w·(softmax − onehot)` is written into it.
    ///
    /// # Panics
    /// Lengths do not fit, or a label is no class.
    pub fn softmax_cross_entropy(
        &self,
        logits: &[f32],
        classes: usize,
        labels: &[u8],
        weights: Option<&[f32]>,
        grad: Option<(&mut [f32], f32)>,
    ) -> f64 {
        let pixels = labels.len();
        assert_eq!(logits.len(), pixels * classes, "logits of {pixels} pixels with {classes} classes");
        assert!(weights.is_none_or(|w| w.len() == pixels), "weights for pixels");
        let part = |i: usize, grad: Option<(&mut [f32], f32)>| {
            let range = i * CHUNK..pixels.min((i + 1) * CHUNK);
            let logits = &logits[range.start * classes..range.end * classes];
            let weights = weights.map(|w| &w[range.clone()]);
            self.run(Chunk { logits, classes, labels: &labels[range], weights, grad })
        };
        let parts: Vec<f64> = match grad {
            None => (0..pixels.div_ceil(CHUNK)).into_par_iter().map(|i| part(i, None)).collect(),
            Some((grad, scale)) => {
                assert_eq!(grad.len(), logits.len(), "gradient of logits");
                let chunks = grad.par_chunks_mut((CHUNK * classes).max(1)).enumerate();
                chunks.map(|(i, grad)| part(i, Some((grad, scale)))).collect()
            }
        };
        parts.iter().sum()
    }
}

/// One chunk's sum, and its gradient.
struct Chunk<'a> {
    logits: &'a [f32],
    classes: usize,
    labels: &'a [u8],
    weights: Option<&'a [f32]>,
    grad: Option<(&'a mut [f32], f32)>,
}

impl Vectorized for Chunk<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let Self { logits, classes, labels, weights, mut grad } = self;
        let mut sums = [0.0f64; LANES];
        let mut columns = vec![[0.0; LANES]; classes];
        for (start, labels) in (0..).step_by(LANES).zip(labels.chunks(LANES)) {
            let block = &logits[start * classes..(start + labels.len()) * classes];
            for (i, pixel) in block.chunks_exact(classes).enumerate() {
                columns.iter_mut().zip(pixel).for_each(|(column, v)| column[i] = *v);
            }
            let at_label = gather(&columns, labels);
            let (log_total, max) = softmax(&mut columns);
            let w = match weights {
                Some(weights) => load(&weights[start..]),
                None => [1.0; LANES],
            };
            for (sum, i) in sums.iter_mut().zip(0..labels.len()) {
                *sum += f64::from(w[i] * (log_total[i] + (max[i] - at_label[i])));
            }
            if let Some((grad, scale)) = &mut grad {
                let block = &mut grad[start * classes..][..labels.len() * classes];
                for (i, (pixel, label)) in block.chunks_exact_mut(classes).zip(labels).enumerate() {
                    pixel.iter_mut().zip(&columns).for_each(|(g, column)| *g = *scale * w[i] * column[i]);
                    pixel[usize::from(*label)] = *scale * w[i] * (columns[usize::from(*label)][i] - 1.0);
                }
            }
        }
        sums.iter().sum()
    }
}

/// Each pixel's logit at its label.
#[inline(always)]
fn gather(columns: &[Lanes], labels: &[u8]) -> Lanes {
    let mut at_label = [0.0; LANES];
    for (i, label) in labels.iter().enumerate() {
        at_label[i] = columns[usize::from(*label)][i];
    }
    at_label
}

/// Turns logits (class by class) into probabilities; yields ln Σ e^(x−max) and max. One of the maxima is left out of the sum
/// and put back as `ln(1 + …)`, so that a nearly certain pixel keeps its small loss.
#[inline(always)]
fn softmax(columns: &mut [Lanes]) -> (Lanes, Lanes) {
    let mut max = [f32::NEG_INFINITY; LANES];
    for column in columns.iter() {
        for i in 0..LANES {
            max[i] = if column[i] > max[i] { column[i] } else { max[i] };
        }
    }
    let (mut rest, mut found) = ([0.0f32; LANES], [0.0f32; LANES]);
    for column in columns.iter_mut() {
        for i in 0..LANES {
            let first = if column[i] == max[i] && found[i] == 0.0 { 1.0 } else { 0.0 };
            found[i] += first;
            column[i] = exp_negative(column[i] - max[i]);
            rest[i] += column[i] - first;
        }
    }
    let mut log_total = [0.0; LANES];
    for i in 0..LANES {
        log_total[i] = ln_1p(rest[i]);
    }
    for column in columns.iter_mut() {
        for i in 0..LANES {
            column[i] /= 1.0 + rest[i];
        }
    }
    (log_total, max)
}
