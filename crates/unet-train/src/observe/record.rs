//! What is kept of each epoch: one line of `metrics.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::metric::Scores;

/// One epoch in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Which one, from 1.
    pub epoch: u64,
    /// Steps of the run done by its end.
    pub step: u64,
    /// Mean loss of its training steps, each weighted by its images; no number where every batch was left out.
    #[serde(deserialize_with = "number")]
    pub train_loss: f64,
    /// Learning rate of its last step.
    pub lr: f64,
    /// Mean norm of the gradient, before clipping.
    pub grad_norm: f64,
    /// On the validation images, if there are any.
    pub val: Option<ValidationRecord>,
    /// Whether it is the best so far.
    pub best: bool,
    /// Seconds it took, validation included.
    pub seconds: f64,
    /// Training images per second, validation left out.
    pub images_per_second: f64,
}

/// The validation images in numbers: scores from the counts of all of their pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValidationRecord {
    /// Images.
    pub images: usize,
    /// Mean loss over all pixels.
    pub loss: f64,
    /// Scores at the threshold.
    #[serde(flatten)]
    pub scores: Scores,
    /// Of two classes, the threshold on P(class 1) with the best score; the scores here are those at one half. The best checkpoint
    /// carries that of its epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// The challenge's V_rand and V_info where an epoch is chosen by one of them, and a caller's own metrics by name: means over the
    /// images that have a value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
}

/// A number that may be none: JSON has neither NaN nor infinity, and null stands for both.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

/// Numbers by name, those left out that are none.
fn numbers<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, f64>, D::Error> {
    let all = BTreeMap::<String, Option<f64>>::deserialize(from)?;
    Ok(all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}
