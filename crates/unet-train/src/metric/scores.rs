//! [`Scores`]: what a [`Confusion`] says in the field's terms.
//!
//! A ratio without pixels to count has no value (`None`, JSON `null`) and is left out of means: the Dice and IoU of a class that is
//! neither in the prediction nor in the truth, the precision of one that was never predicted, the recall of one that never occurs.
//! A class that is in only one of the two has Dice and IoU 0.

use serde::{Deserialize, Serialize};

use super::Confusion;

/// Pixel scores of one image or of many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Share of pixels with the right label.
    pub pixel_accuracy: Option<f64>,
    /// 1 − accuracy.
    pub pixel_error: Option<f64>,
    /// Per class, in the order of the class table.
    pub per_class: Vec<ClassScores>,
    /// Mean Dice of the classes that have one.
    pub mean_dice: Option<f64>,
    /// Mean IoU of the classes that have one.
    pub mean_iou: Option<f64>,
}

/// One class against all others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScores {
    /// 2·TP / (2·TP + FP + FN), the F1 score.
    pub dice: Option<f64>,
    /// TP / (TP + FP + FN), the Jaccard index.
    pub iou: Option<f64>,
    /// TP / (TP + FP).
    pub precision: Option<f64>,
    /// TP / (TP + FN).
    pub recall: Option<f64>,
}

impl Scores {
    /// The scores of these counts.
    pub fn of(counts: &Confusion) -> Self {
        let per_class: Vec<_> = (0..counts.classes()).map(|c| ClassScores::of(counts, c)).collect();
        let pixel_accuracy = ratio(counts.correct(), counts.total());
        Self {
            pixel_accuracy,
            pixel_error: ratio(counts.total() - counts.correct(), counts.total()),
            mean_dice: mean(per_class.iter().filter_map(|c| c.dice)),
            mean_iou: mean(per_class.iter().filter_map(|c| c.iou)),
            per_class,
        }
    }
}

impl ClassScores {
    /// The scores of class `class` in these counts.
    pub fn of(counts: &Confusion, class: usize) -> Self {
        let hit = counts.count(class, class);
        let (predicted, actual) = (counts.predicted(class), counts.actual(class));
        Self {
            dice: ratio(2 * hit, predicted + actual),
            iou: ratio(hit, predicted + actual - hit),
            precision: ratio(hit, predicted),
            recall: ratio(hit, actual),
        }
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0u32), |(s, n), v| (s + v, n + 1));
    (n > 0).then(|| sum / f64::from(n))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scores(classes: usize, predicted: &[u8], truth: &[u8]) -> Scores {
        let mut counts = Confusion::new(classes);
        counts.add(predicted, truth);
        Scores::of(&counts)
    }

    #[test]
    fn hand_counted() {
        // Class 1: TP 2, FP 1, FN 1; class 0: TP 2, FP 1, FN 1.
        let s = scores(2, &[1, 1, 1, 0, 0, 0], &[1, 1, 0, 1, 0, 0]);
        let c =
            ClassScores { dice: Some(4.0 / 6.0), iou: Some(0.5), precision: Some(2.0 / 3.0), recall: Some(2.0 / 3.0) };
        assert_eq!(s.per_class, [c, c]);
        assert_eq!((s.pixel_accuracy, s.pixel_error), (Some(4.0 / 6.0), Some(2.0 / 6.0)));
        assert_eq!((s.mean_dice, s.mean_iou), (Some(4.0 / 6.0), Some(0.5)));
    }

    #[test]
    fn absent_classes_have_no_score_and_no_share_in_the_mean() {
        let s = scores(3, &[0, 0], &[0, 0]);
        assert_eq!(s.per_class[1], ClassScores { dice: None, iou: None, precision: None, recall: None });
        assert_eq!(s.mean_dice, Some(1.0));
        let missed = scores(2, &[0, 0], &[0, 1]);
        let c = missed.per_class[1];
        assert_eq!((c.dice, c.iou, c.precision, c.recall), (Some(0.0), Some(0.0), None, Some(0.0)));
        let invented = scores(2, &[0, 1], &[0, 0]).per_class[1];
        assert_eq!((invented.dice, invented.precision, invented.recall), (Some(0.0), Some(0.0), None));
        assert_eq!(scores(2, &[], &[]).pixel_accuracy, None);
    }

    proptest! {
        #[test]
        fn global_scores_are_those_of_the_joined_images(
            a in prop::collection::vec((0u8..3, 0u8..3), 0..60),
            b in prop::collection::vec((0u8..3, 0u8..3), 0..60),
        ) {
            let split = |v: &[(u8, u8)]| -> (Vec<u8>, Vec<u8>) { v.iter().copied().unzip() };
            let mut sum = Confusion::new(3);
            for part in [&a, &b] {
                let (p, t) = split(part);
                let mut one = Confusion::new(3);
                one.add(&p, &t);
                sum.merge(&one);
            }
            let (p, t) = split(&[a, b].concat());
            prop_assert_eq!(Scores::of(&sum), scores(3, &p, &t));
            // Dice and IoU of a class determine each other.
            for c in Scores::of(&sum).per_class {
                if let (Some(d), Some(j)) = (c.dice, c.iou) {
                    prop_assert!((d - 2.0 * j / (1.0 + j)).abs() < 1e-12);
                }
            }
        }
    }
}
