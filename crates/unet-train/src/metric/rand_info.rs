//! Rand and information scores of a segmentation: takes overlaps, yields V_rand, V_info, the adapted Rand error and the
//! variation of information.
//!
//! V_rand and V_info are those of Arganda-Carreras et al., *Crowdsourcing the creation of image segmentation algorithms
//! for connectomics*, Frontiers in Neuroanatomy 9:142 (2015): over the foreground of the truth only, each pixel that the
//! proposal leaves at 0 (a dam) being a cluster of its own.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::ScoreError;
use super::contingency::{Contingency, Overlap};

/// A score and what it is the harmonic mean of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SplitMerge {
    /// Harmonic mean of precision and recall; 1 is best.
    pub score: f64,
    /// Falls where the proposal merges what is apart in the truth.
    pub precision: f64,
    /// Falls where the proposal splits what is one in the truth.
    pub recall: f64,
}

/// Sums over the overlaps of one or more images, from which both scores follow. Sums of several images add up to those
/// of all of them as one, objects of different images being different.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PairSums {
    /// Foreground pixels of the truth, n.
    pixels: u64,
    /// Those among them that the proposal leaves at 0.
    dams: u64,
    /// Sums of squared sizes: truth, proposal and overlaps, dams left out of the latter two.
    truth_squares: u128,
    proposal_squares: u128,
    overlap_squares: u128,
    /// Sums of `c ln c` over the same sizes; those of dams are zero.
    truth_logs: f64,
    proposal_logs: f64,
    overlap_logs: f64,
}

impl PairSums {
    /// Sums over the part of a table where the truth is not 0.
    pub fn of_foreground(table: &Contingency) -> Self {
        let of_foreground = |overlap: &&Overlap| overlap.truth != 0;
        let size = |label: fn(&Overlap) -> u32| {
            let last = table.overlaps.iter().filter(of_foreground).map(label).max();
            last.map_or(0, |last| last as usize + 1)
        };
        let (truths, proposals) = (size(|o| o.truth), size(|o| o.proposal));
        let pairs = table.overlaps.iter().filter(of_foreground).map(|o| (o.truth, o.proposal, o.pixels));
        if truths.max(proposals) <= 2 * table.overlaps.len() + 1024 {
            return Self::of_pairs(pairs, &mut vec![0; truths], &mut vec![0; proposals]);
        }
        // Labels far apart are numbered anew.
        let numbered = |label: fn(&Overlap) -> u32| {
            let mut labels: Vec<u32> = table.overlaps.iter().map(label).chain([0]).collect();
            labels.sort_unstable();
            labels.dedup();
            labels
        };
        let (rows, columns) = (numbered(|o| o.truth), numbered(|o| o.proposal));
        let place = |labels: &[u32], label: u32| labels.partition_point(|&other| other < label) as u32;
        let pairs = pairs.map(|(t, p, pixels)| (place(&rows, t), place(&columns, p), pixels));
        Self::of_pairs(pairs, &mut vec![0; rows.len()], &mut vec![0; columns.len()])
    }

    /// Sums over pairs of labels of truth and proposal that occur, each once, and their pixels. No label of the truth is 0. The two
    /// slices have room for every label, are all 0 and become so again.
    pub(super) fn of_pairs(
        pairs: impl Iterator<Item = (u32, u32, u64)>,
        truth_sizes: &mut [u64],
        proposal_sizes: &mut [u64],
    ) -> Self {
        let mut sums = Self::default();
        for (truth, proposal, pixels) in pairs {
            truth_sizes[truth as usize] += pixels;
            sums.pixels += pixels;
            if proposal == 0 {
                sums.dams += pixels;
            } else {
                proposal_sizes[proposal as usize] += pixels;
                sums.overlap_squares += square(pixels);
                sums.overlap_logs += x_ln_x(pixels);
            }
        }
        for size in truth_sizes.iter_mut().map(std::mem::take) {
            sums.truth_squares += square(size);
            sums.truth_logs += x_ln_x(size);
        }
        for size in proposal_sizes.iter_mut().map(std::mem::take) {
            sums.proposal_squares += square(size);
            sums.proposal_logs += x_ln_x(size);
        }
        sums
    }

    /// Whether the other has the same sums, those of logarithms but for rounding.
    #[cfg(test)]
    pub(super) fn is_close_to(&self, other: &Self) -> bool {
        let whole = |s: &Self| Self { truth_logs: 0.0, proposal_logs: 0.0, overlap_logs: 0.0, ..*s };
        let logs = |s: &Self| [s.truth_logs, s.proposal_logs, s.overlap_logs];
        let close = |(a, b): (f64, f64)| (a - b).abs() <= 1e-12 * a.abs().max(1.0);
        whole(self) == whole(other) && logs(self).into_iter().zip(logs(other)).all(close)
    }

    /// Number of foreground pixels of the truth.
    pub fn pixels(&self) -> u64 {
        self.pixels
    }

    /// V_rand, or nothing where the truth has no foreground.
    pub fn v_rand(&self) -> Option<SplitMerge> {
        let dams = u128::from(self.dams);
        let both = (self.overlap_squares + dams) as f64;
        let (truth, proposal) = (self.truth_squares as f64, (self.proposal_squares + dams) as f64);
        (self.pixels > 0).then(|| SplitMerge {
            score: 2.0 * both / (truth + proposal),
            precision: both / proposal,
            recall: both / truth,
        })
    }

    /// V_info, or nothing where the truth has no foreground.
    pub fn v_info(&self) -> Option<SplitMerge> {
        if self.pixels == 0 {
            return None;
        }
        let whole = square(self.pixels);
        let truth_is_one = self.truth_squares == whole;
        let proposal_is_one = self.proposal_squares + u128::from(self.dams) == whole;
        // Without entropy nothing can be missed, and nothing said about the other is right.
        let (score, precision, recall) = match (truth_is_one, proposal_is_one) {
            (true, true) => (1.0, 1.0, 1.0),
            (true, false) => (0.0, 0.0, 1.0),
            (false, true) => (0.0, 1.0, 0.0),
            (false, false) => {
                let n = self.pixels as f64;
                let entropy = |logs: f64| n.ln() - logs / n;
                let (truth, proposal) = (entropy(self.truth_logs), entropy(self.proposal_logs));
                let shared = truth + proposal - entropy(self.overlap_logs);
                (2.0 * shared / (truth + proposal), shared / proposal, shared / truth)
            }
        };
        // Rounding alone can leave the unit interval.
        let [score, precision, recall] = [score, precision, recall].map(|value| f64::clamp(value, 0.0, 1.0));
        Some(SplitMerge { score, precision, recall })
    }
}

impl AddAssign for PairSums {
    fn add_assign(&mut self, other: Self) {
        self.pixels += other.pixels;
        self.dams += other.dams;
        self.truth_squares += other.truth_squares;
        self.proposal_squares += other.proposal_squares;
        self.overlap_squares += other.overlap_squares;
        self.truth_logs += other.truth_logs;
        self.proposal_logs += other.proposal_logs;
        self.overlap_logs += other.overlap_logs;
    }
}

/// The adapted Rand error and its parts, as scikit-image names them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AdaptedRand {
    /// One minus the F-score of pairs of pixels.
    pub error: f64,
    /// Pairs together in both, of those together in the truth.
    pub precision: f64,
    /// Pairs together in both, of those together in the proposal.
    pub recall: f64,
}

/// Adapted Rand error of two label images, as `skimage.metrics.adapted_rand_error`: over the pixels where the truth is
/// not 0, a proposal's 0 being one segment like any other. Where no two pixels are together in either, nothing is wrong.
///
/// # Errors
/// [`ScoreError::Lengths`] where the images have different numbers of pixels.
pub fn adapted_rand_error(truth: &[u32], proposal: &[u32]) -> Result<AdaptedRand, ScoreError> {
    let table = Contingency::new(truth, proposal)?.foreground();
    let pairs = |size: u64| square(size) - u128::from(size);
    let both: u128 = table.overlaps.iter().map(|overlap| pairs(overlap.pixels)).sum();
    let of_truth: u128 = table.truth_sizes().iter().map(|&(_, size)| pairs(size)).sum();
    let of_proposal: u128 = table.proposal_sizes().iter().map(|&(_, size)| pairs(size)).sum();
    let ratio = |part: u128, whole: u128| if whole == 0 { 1.0 } else { part as f64 / whole as f64 };
    Ok(AdaptedRand {
        error: 1.0 - ratio(2 * both, of_truth + of_proposal),
        precision: ratio(both, of_truth),
        recall: ratio(both, of_proposal),
    })
}

/// The two halves of the variation of information, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct InformationVariation {
    /// H(proposal | truth): grows as the proposal splits objects of the truth.
    pub split: f64,
    /// H(truth | proposal): grows as the proposal merges objects of the truth.
    pub merge: f64,
}

/// Variation of information of two label images in bits, as `skimage.metrics.variation_of_information`: over all pixels,
/// 0 being a segment like any other. Images without pixels differ in nothing.
///
/// # Errors
/// [`ScoreError::Lengths`] where the images have different numbers of pixels.
pub fn variation_of_information(truth: &[u32], proposal: &[u32]) -> Result<InformationVariation, ScoreError> {
    let table = Contingency::new(truth, proposal)?;
    let n = table.pixels().max(1) as f64;
    let joint: f64 = table.overlaps.iter().map(|overlap| x_ln_x(overlap.pixels)).sum();
    let logs = |sizes: &[(u32, u64)]| sizes.iter().map(|&(_, size)| x_ln_x(size)).sum::<f64>();
    // H(X | Y) = H(X, Y) - H(Y), and the n of both cancels.
    let conditional = |known: f64| ((known - joint) / n / std::f64::consts::LN_2).max(0.0);
    Ok(InformationVariation {
        split: conditional(logs(&table.truth_sizes())),
        merge: conditional(logs(&table.proposal_sizes())),
    })
}

fn square(size: u64) -> u128 {
    u128::from(size) * u128::from(size)
}

fn x_ln_x(size: u64) -> f64 {
    let size = size as f64;
    if size > 1.0 { size * size.ln() } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sums(truth: &[u32], proposal: &[u32]) -> PairSums {
        PairSums::of_foreground(&Contingency::new(truth, proposal).expect("lengths agree"))
    }

    fn rand_of(truth: &[u32], proposal: &[u32]) -> SplitMerge {
        sums(truth, proposal).v_rand().expect("there is foreground")
    }

    fn info_of(truth: &[u32], proposal: &[u32]) -> SplitMerge {
        sums(truth, proposal).v_info().expect("there is foreground")
    }

    #[test]
    fn a_split_by_hand() {
        // n = 4, a = {4}; b = {2} and two dams: A = 1, B = AB = 4/16 + 2/16.
        let found = rand_of(&[1, 1, 1, 1, 0], &[1, 1, 0, 0, 1]);
        assert_eq!((found.precision, found.recall), (1.0, 0.375));
        assert_eq!(found.score, 2.0 * 0.375 / 1.375);
        // H(A) = 0, so V_info is 0, with nothing to recall.
        let found = info_of(&[1, 1, 1, 1, 0], &[1, 1, 0, 0, 1]);
        assert_eq!((found.score, found.precision, found.recall), (0.0, 0.0, 1.0));
    }

    #[test]
    fn a_merger_by_hand() {
        // Two halves merged: A = 1/2, B = 1, AB = 1/2; H(B) = 0.
        let found = rand_of(&[1, 1, 2, 2], &[5, 5, 5, 5]);
        assert_eq!((found.score, found.precision, found.recall), (2.0 / 3.0, 0.5, 1.0));
        let found = info_of(&[1, 1, 2, 2], &[5, 5, 5, 5]);
        assert_eq!((found.score, found.precision, found.recall), (0.0, 1.0, 0.0));
        // Of four pixels in two pairs, one pair split: H(A) = ln 2, H(B) = 3/2 ln 2, I = ln 2.
        let found = info_of(&[1, 1, 2, 2], &[1, 1, 2, 3]);
        assert!((found.score - 0.8).abs() < 1e-12 && (found.precision - 2.0 / 3.0).abs() < 1e-12);
        // The same with two dams in place of the split: a dam is a cluster of its own.
        assert!((info_of(&[1, 1, 2, 2], &[1, 1, 0, 0]).score - found.score).abs() < 1e-12);
    }

    #[test]
    fn one_object_found_whole_is_perfect_and_no_object_has_no_score() {
        assert_eq!(info_of(&[3, 3, 0], &[1, 1, 0]).score, 1.0);
        assert_eq!(rand_of(&[3, 3, 0], &[1, 1, 0]).score, 1.0);
        assert_eq!(info_of(&[3], &[0]).score, 1.0, "a single pixel is one cluster, dam or not");
        assert_eq!(sums(&[0, 0], &[1, 0]).v_rand(), None);
        assert_eq!(sums(&[0, 0], &[1, 0]).v_info(), None);
        let error = adapted_rand_error(&[0, 0], &[1, 1]).expect("lengths agree");
        assert_eq!((error.error, error.precision, error.recall), (0.0, 1.0, 1.0));
        let bits = variation_of_information(&[], &[]).expect("lengths agree");
        assert_eq!((bits.split, bits.merge), (0.0, 0.0));
    }

    #[test]
    fn images_add_up_to_one_image_of_different_objects() {
        let mut two = sums(&[1, 1, 2], &[1, 2, 2]);
        two += sums(&[1, 0, 1], &[1, 1, 0]);
        let one = sums(&[1, 1, 2, 3, 0, 3], &[1, 2, 2, 3, 3, 0]);
        assert_eq!(two.v_rand(), one.v_rand());
        let (two, one) = (two.v_info().expect("scored"), one.v_info().expect("scored"));
        assert!((two.score - one.score).abs() < 1e-12);
    }

    fn labellings() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
        (1usize..60).prop_flat_map(|n| (prop::collection::vec(0u32..5, n), prop::collection::vec(0u32..5, n)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn scores_are_in_range_and_blind_to_names((truth, proposal) in labellings()) {
            let renamed: Vec<u32> = proposal.iter().map(|&label| [0, 40, 3, 999_999, 7][label as usize]).collect();
            let (plain, other) = (sums(&truth, &proposal), sums(&truth, &renamed));
            prop_assert_eq!(plain.v_rand(), other.v_rand());
            for score in [plain.v_rand(), plain.v_info()].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&score.score), "{:?}", score);
            }
            if let (Some(a), Some(b)) = (plain.v_info(), other.v_info()) {
                prop_assert!((a.score - b.score).abs() < 1e-12);
            }
        }

        #[test]
        fn the_truth_itself_is_perfect((truth, _) in labellings()) {
            if let (Some(by_pairs), Some(by_bits)) = (sums(&truth, &truth).v_rand(), sums(&truth, &truth).v_info()) {
                prop_assert_eq!(by_pairs.score, 1.0);
                prop_assert!((by_bits.score - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn without_zeros_swapping_swaps_precision_and_recall((truth, proposal) in labellings()) {
            let shift = |labels: &[u32]| labels.iter().map(|label| label + 1).collect::<Vec<_>>();
            let (truth, proposal) = (shift(&truth), shift(&proposal));
            for (there, back) in [
                (rand_of(&truth, &proposal), rand_of(&proposal, &truth)),
                (info_of(&truth, &proposal), info_of(&proposal, &truth)),
            ] {
                prop_assert!((there.score - back.score).abs() < 1e-12);
                prop_assert!((there.precision - back.recall).abs() < 1e-12);
            }
        }

        #[test]
        fn splitting_the_truth_further_never_helps((truth, cuts) in labellings()) {
            // Each pixel's label gets a second digit, then a third: finer and finer partitions of the truth.
            let finer: Vec<u32> = truth.iter().zip(&cuts).map(|(&t, &c)| 1 + 10 * t + c / 2).collect();
            let finest: Vec<u32> = truth.iter().zip(&cuts).map(|(&t, &c)| 1 + 100 * t + 10 * (c / 2) + c).collect();
            if let (Some(a), Some(b)) = (sums(&truth, &finer).v_rand(), sums(&truth, &finest).v_rand()) {
                prop_assert!(b.recall <= a.recall && b.precision == 1.0 && b.score <= a.score);
            }
            let bits = |proposal: &[u32]| variation_of_information(&truth, proposal).expect("lengths agree");
            prop_assert!(bits(&finest).split >= bits(&finer).split - 1e-12);
            prop_assert!(bits(&finest).merge < 1e-12);
        }
    }
}
