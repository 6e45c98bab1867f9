//! Objects found, missed and invented: takes label images, yields average precision, panoptic quality and count errors.
//!
//! A match is a pair of objects whose intersection over union is above the threshold, strictly; from one half on, no
//! object can have two. Counts of several images add up before anything is divided.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::ScoreError;
use super::contingency::Contingency;

/// Thresholds of the intersection over union, in percent: 50, 55, … 95.
pub const IOU_PERCENT: [u8; 10] = [50, 55, 60, 65, 70, 75, 80, 85, 90, 95];

/// Counts of matched objects, additive over images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ObjectCounts {
    /// Objects of the truth.
    pub truth: u64,
    /// Objects of the proposal.
    pub proposal: u64,
    /// Matches above each of [`IOU_PERCENT`].
    pub matched: [u64; 10],
    /// Sum of the intersections over unions of the matches above 50 %.
    pub matched_iou: f64,
    /// Sum over images of the absolute difference of the numbers of objects.
    pub count_difference: u64,
}

/// Scores of objects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ObjectScores {
    /// Objects of the truth.
    pub truth: u64,
    /// Objects of the proposal.
    pub proposal: u64,
    /// Matches / (matches + missed + invented) above each of [`IOU_PERCENT`], as in the Data Science Bowl of 2018;
    /// 1 where there is nothing in either.
    pub average_precision: [f64; 10],
    /// Mean of those.
    pub mean_average_precision: f64,
    /// Panoptic quality at 50 % (Kirillov et al., CVPR 2019): segmentation times recognition quality.
    pub panoptic_quality: f64,
    /// Mean intersection over union of the matches; 0 where there are none, 1 where there is nothing to match.
    pub segmentation_quality: f64,
    /// F-score of the matches at 50 %.
    pub recognition_quality: f64,
    /// Objects of the proposal minus objects of the truth, over all images.
    pub count_error: i64,
    /// Sum over images of the absolute difference, by the objects of the truth; 0 where there is nothing in either,
    /// nothing where there is something in the proposal alone.
    pub relative_count_error: Option<f64>,
}

impl ObjectCounts {
    /// Matches the objects of one image; 0 is background, and an object is all pixels of one label.
    ///
    /// # Errors
    /// [`ScoreError::Lengths`] where the images have different numbers of pixels.
    pub fn new(truth: &[u32], proposal: &[u32]) -> Result<Self, ScoreError> {
        let table = Contingency::new(truth, proposal)?;
        let (of_truth, of_proposal) = (table.truth_sizes(), table.proposal_sizes());
        let objects = |sizes: &[(u32, u64)]| sizes.iter().filter(|&&(label, _)| label != 0).count() as u64;
        let mut counts = Self { truth: objects(&of_truth), proposal: objects(&of_proposal), ..Self::default() };
        counts.count_difference = counts.truth.abs_diff(counts.proposal);
        let size = |sizes: &[(u32, u64)], label: u32| {
            sizes.binary_search_by_key(&label, |&(label, _)| label).map_or(0, |place| sizes[place].1)
        };
        for pair in table.overlaps.iter().filter(|pair| pair.truth != 0 && pair.proposal != 0) {
            let union = size(&of_truth, pair.truth) + size(&of_proposal, pair.proposal) - pair.pixels;
            for (matched, percent) in counts.matched.iter_mut().zip(IOU_PERCENT) {
                *matched += u64::from(u128::from(pair.pixels) * 100 > u128::from(union) * u128::from(percent));
            }
            if pair.pixels * 2 > union {
                counts.matched_iou += pair.pixels as f64 / union as f64;
            }
        }
        Ok(counts)
    }

    /// The scores of all images counted so far.
    pub fn scores(&self) -> ObjectScores {
        let all = self.truth + self.proposal;
        let average_precision = self.matched.map(|matched| ratio(matched as f64, (all - matched) as f64, 1.0));
        let matched = self.matched[0] as f64;
        let (segmentation_quality, recognition_quality) =
            if all == 0 { (1.0, 1.0) } else { (ratio(self.matched_iou, matched, 0.0), 2.0 * matched / all as f64) };
        ObjectScores {
            truth: self.truth,
            proposal: self.proposal,
            average_precision,
            mean_average_precision: average_precision.iter().sum::<f64>() / average_precision.len() as f64,
            panoptic_quality: segmentation_quality * recognition_quality,
            segmentation_quality,
            recognition_quality,
            count_error: self.proposal as i64 - self.truth as i64,
            relative_count_error: match (self.count_difference, self.truth) {
                (0, _) => Some(0.0),
                (_, 0) => None,
                (difference, truth) => Some(difference as f64 / truth as f64),
            },
        }
    }
}

impl AddAssign for ObjectCounts {
    fn add_assign(&mut self, other: Self) {
        self.truth += other.truth;
        self.proposal += other.proposal;
        for (sum, matched) in self.matched.iter_mut().zip(other.matched) {
            *sum += matched;
        }
        self.matched_iou += other.matched_iou;
        self.count_difference += other.count_difference;
    }
}

fn ratio(part: f64, whole: f64, of_nothing: f64) -> f64 {
    if whole == 0.0 { of_nothing } else { part / whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_by_hand() {
        // Object 1: 3 of 4 pixels in common, union 4, 75 %. Object 2: half, which is not above 50 %. Object 9 invented.
        let truth = [1, 1, 1, 1, 2, 2, 0, 0];
        let proposal = [1, 1, 1, 0, 2, 0, 9, 9];
        let counts = ObjectCounts::new(&truth, &proposal).expect("lengths agree");
        assert_eq!(counts.matched, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
        let scores = counts.scores();
        assert_eq!(scores.average_precision[0], 1.0 / 4.0);
        assert_eq!(scores.mean_average_precision, 0.125);
        assert_eq!((scores.segmentation_quality, scores.recognition_quality), (0.75, 0.4));
        assert!((scores.panoptic_quality - 0.3).abs() < 1e-12);
        assert_eq!((scores.count_error, scores.relative_count_error), (1, Some(0.5)));
    }

    #[test]
    fn counts_of_images_add_up_and_differences_do_not_cancel() {
        let mut counts = ObjectCounts::new(&[1, 2], &[1, 1]).expect("lengths agree");
        counts += ObjectCounts::new(&[1, 1], &[1, 2]).expect("lengths agree");
        let scores = counts.scores();
        assert_eq!((scores.truth, scores.proposal, scores.count_error), (3, 3, 0));
        assert_eq!(scores.relative_count_error, Some(2.0 / 3.0));
        assert_eq!(counts.matched[0], 0, "every intersection is exactly half the union");
    }

    #[test]
    fn nothing_in_either_is_perfect_and_in_one_is_not() {
        let nothing = ObjectCounts::new(&[0; 4], &[0; 4]).expect("lengths agree").scores();
        assert_eq!((nothing.mean_average_precision, nothing.panoptic_quality), (1.0, 1.0));
        assert_eq!(nothing.relative_count_error, Some(0.0));
        let invented = ObjectCounts::new(&[0; 4], &[1; 4]).expect("lengths agree").scores();
        assert_eq!((invented.mean_average_precision, invented.panoptic_quality), (0.0, 0.0));
        assert_eq!(invented.relative_count_error, None);
        let missed = ObjectCounts::new(&[1; 4], &[0; 4]).expect("lengths agree").scores();
        assert_eq!((missed.relative_count_error, missed.count_error), (Some(1.0), -1));
    }
}
