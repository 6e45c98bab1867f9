//! [`PixelWeights`]: what each pixel counts, from the caller's weights, the class's weight, and labels that are to be ignored.

use unet_data::IGNORE;

use super::Targets;

/// Labels and weights ready for a kernel: no ignored label is left, it weighs 0 instead. Buffers are reused from batch to batch.
#[derive(Debug, Default)]
pub(super) struct PixelWeights {
    labels: Vec<u8>,
    weights: Vec<f32>,
}

/// Labels that are all classes, and their weights if they are not all 1.
pub(super) struct Weighed<'a> {
    /// Class index of each pixel.
    pub labels: &'a [u8],
    /// Weight of each pixel.
    pub weights: Option<&'a [f32]>,
    /// The sum of the caller's weights over the pixels that are not ignored; with no such weights, their number.
    pub total: f64,
}

impl PixelWeights {
    /// Works them out. `of_class` has a factor per class, or is empty. The sum leaves these factors out.
    pub(super) fn of<'a>(&'a mut self, targets: &Targets<'a>, of_class: &[f32]) -> Weighed<'a> {
        let Targets { labels, weights, .. } = *targets;
        let ignores = labels.contains(&IGNORE);
        if !ignores && of_class.is_empty() {
            let total = weights.map_or(labels.len() as f64, |w| w.iter().map(|w| f64::from(*w)).sum());
            return Weighed { labels, weights, total };
        }
        self.labels.clear();
        self.weights.clear();
        let mut total = 0.0;
        for (i, &label) in labels.iter().enumerate() {
            let counts = label != IGNORE;
            let weight = if counts { weights.map_or(1.0, |w| w[i]) } else { 0.0 };
            total += f64::from(weight);
            let label = if counts { label } else { 0 };
            self.labels.push(label);
            self.weights.push(weight * of_class.get(usize::from(label)).copied().unwrap_or(1.0));
        }
        Weighed { labels: &self.labels, weights: Some(&self.weights), total }
    }
}

impl Weighed<'_> {
    /// The sum of the weights, factors of classes included.
    pub(super) fn sum(&self) -> f64 {
        self.weights.map_or(self.labels.len() as f64, |w| w.iter().map(|w| f64::from(*w)).sum())
    }
}
