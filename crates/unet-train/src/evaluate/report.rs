//! [`Report`]: the scores of an evaluation, global counts and per image. Its keys are those that `unet evaluate --json` documents; a
//! score without a value is `null` (see [`crate::metric::Scores`]).

use serde::{Deserialize, Serialize};
use unet_data::ClassTable;

use crate::metric::{ClassScores, Confusion, Scores};

/// The scores of many images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Images.
    pub images: usize,
    /// Mask values of the classes.
    pub classes: Vec<u32>,
    /// Threshold on the probability of class 1; `null` where masks were scored.
    pub threshold: Option<f64>,
    /// Share of pixels with the right label.
    pub pixel_accuracy: Option<f64>,
    /// 1 − accuracy.
    pub pixel_error: Option<f64>,
    /// Per class, in the order of `classes`.
    pub per_class: Vec<ClassReport>,
    /// Mean Dice of the classes that have one.
    pub mean_dice: Option<f64>,
    /// Mean IoU of the classes that have one.
    pub mean_iou: Option<f64>,
    /// Image by image.
    pub per_image: Vec<ImageReport>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassReport {
    /// Its mask value.
    pub value: u32,
    /// Its scores.
    #[serde(flatten)]
    pub scores: ClassScores,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageReport {
    /// Its name.
    pub id: String,
    /// Share of pixels with the right label.
    pub pixel_accuracy: Option<f64>,
    /// 1 − accuracy.
    pub pixel_error: Option<f64>,
    /// Per class.
    pub per_class: Vec<ClassReport>,
    /// Mean Dice of the classes that have one.
    pub mean_dice: Option<f64>,
    /// Mean IoU of the classes that have one.
    pub mean_iou: Option<f64>,
}

/// Counts images until they are scored.
pub(super) struct Tally {
    values: Vec<u32>,
    total: Confusion,
    images: Vec<ImageReport>,
}

impl Tally {
    pub(super) fn new(classes: &ClassTable) -> Self {
        let values: Vec<u32> = classes.classes().iter().map(|c| c.value).collect();
        Self { total: Confusion::new(values.len()), values, images: Vec::new() }
    }

    /// Counts one image: class indices of equal length.
    pub(super) fn add(&mut self, id: String, predicted: &[u8], truth: &[u8]) {
        let mut counts = Confusion::new(self.values.len());
        counts.add(predicted, truth);
        self.total.merge(&counts);
        let Scores { pixel_accuracy, pixel_error, per_class, mean_dice, mean_iou } = Scores::of(&counts);
        let per_class = named(&self.values, per_class);
        self.images.push(ImageReport { id, pixel_accuracy, pixel_error, per_class, mean_dice, mean_iou });
    }

    pub(super) fn report(self, threshold: Option<f64>) -> Report {
        let Scores { pixel_accuracy, pixel_error, per_class, mean_dice, mean_iou } = Scores::of(&self.total);
        Report {
            images: self.images.len(),
            per_class: named(&self.values, per_class),
            classes: self.values,
            threshold,
            pixel_accuracy,
            pixel_error,
            mean_dice,
            mean_iou,
            per_image: self.images,
        }
    }
}

fn named(values: &[u32], scores: Vec<ClassScores>) -> Vec<ClassReport> {
    values.iter().zip(scores).map(|(&value, scores)| ClassReport { value, scores }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_documented_keys_and_reads_back() {
        let mut tally = Tally::new(&ClassTable::from_values(&[0, 255]).unwrap());
        tally.add("0".into(), &[0, 1], &[0, 0]);
        tally.add("1".into(), &[0, 0], &[0, 0]);
        let report = tally.report(None);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["classes"], serde_json::json!([0, 255]));
        assert_eq!(json["threshold"], serde_json::Value::Null);
        assert_eq!((json["images"].as_u64(), json["pixel_accuracy"].as_f64()), (Some(2), Some(0.75)));
        assert_eq!(
            (json["per_class"][1]["value"].as_u64(), json["per_class"][1]["dice"].as_f64()),
            (Some(255), Some(0.0))
        );
        assert_eq!(json["per_image"][1]["per_class"][1]["dice"], serde_json::Value::Null);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }
}
