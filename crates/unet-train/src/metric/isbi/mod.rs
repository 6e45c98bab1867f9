//! The scores of the ISBI 2012 challenge: takes truths and proposals of a stack, yields the best of each score over the
//! thresholds, the curves behind them, and a row for each slice.
//!
//! At each threshold a score is the mean over the slices; then the best threshold counts. V_rand and V_info (the ranking
//! since 2013) compare with the thinned proposal, the older Rand error with its four-connected components; both rest on
//! the foreground of the truth alone, so slices without a cell have no such score and are left out of those means.

mod counts;
mod grown;
mod labels;
mod pairs;
mod runs;
mod sweep;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::ScoreError;
use super::rand_info::SplitMerge;
use crate::objects::Grid;
pub use counts::IsbiCounts;
use counts::{Counts, THRESHOLDS};
pub use grown::{GrownPoint, GrownReport, GrownScores, GrownSlice, grown_cells, grown_report};
pub use labels::{LabelScores, isbi_of_labels};

/// A slice to score.
#[derive(Debug, Clone, Copy)]
pub struct IsbiSlice<'a> {
    /// Size of the slice.
    pub grid: Grid,
    /// The truth: cell where it is not 0, membrane where it is.
    pub truth: &'a [u8],
    /// What a model says.
    pub proposal: Proposal<'a>,
}

/// What a model says of a slice.
#[derive(Debug, Clone, Copy)]
pub enum Proposal<'a> {
    /// The probability of cell.
    Probability(&'a [f32]),
    /// Cell where it is not 0; the same at every threshold.
    Mask(&'a [u8]),
}

/// The scores of a stack; serialises to the `isbi` object of reports.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IsbiScores {
    /// One minus the largest F-score of the pixels of cells.
    pub pixel_error_f: f64,
    /// Largest V_rand after thinning.
    pub v_rand: f64,
    /// Where it is reached; nothing where only masks were given.
    pub v_rand_threshold: Option<f64>,
    /// Largest V_info after thinning.
    pub v_info: f64,
    /// Where it is reached; nothing where only masks were given.
    pub v_info_threshold: Option<f64>,
    /// One minus the largest Rand F-score without thinning.
    pub rand_error: f64,
    /// Smallest warping error.
    pub warping_error: f64,
}

/// All that is known of a stack's scores.
#[derive(Debug, Clone, PartialEq)]
pub struct IsbiReport {
    /// Means over the slices at the best threshold of each score.
    pub scores: IsbiScores,
    /// The same with the counts of all slices pooled in place of a mean of scores.
    pub micro: IsbiScores,
    /// Means over the slices at each threshold, ascending.
    pub curve: Vec<IsbiPoint>,
    /// A row for each slice, in the order given.
    pub slices: Vec<IsbiSliceScores>,
}

/// Scores at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IsbiPoint {
    /// A pixel is cell where its probability is larger; nothing for masks.
    pub threshold: Option<f64>,
    /// V_rand after thinning.
    pub v_rand: SplitMerge,
    /// V_info after thinning.
    pub v_info: SplitMerge,
    /// Rand F-score without thinning.
    pub rand_f: f64,
    /// F-score of the pixels of cells.
    pub pixel_f: f64,
    /// Pixels of cells found, of those called cell; 1 where none is.
    pub pixel_precision: f64,
    /// Pixels of cells found, of those that there are.
    pub pixel_recall: f64,
    /// Warping error.
    pub warping_error: f64,
}

/// Scores of one slice, each at the threshold that is best for the whole stack, so that their mean is the stack's score.
/// A slice without a cell in its truth has a warping error only.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IsbiSliceScores {
    /// One minus the F-score of the pixels of cells.
    pub pixel_error_f: Option<f64>,
    /// V_rand after thinning.
    pub v_rand: Option<f64>,
    /// V_info after thinning.
    pub v_info: Option<f64>,
    /// One minus the Rand F-score without thinning.
    pub rand_error: Option<f64>,
    /// Fraction of pixels left wrong.
    pub warping_error: f64,
}

/// Scores a stack at the thresholds 0.0, 0.1, … 1.0, or at the masks where there are no probabilities. Slices may differ
/// in size. Of equally good thresholds the one nearest to 0.5 is named.
///
/// # Errors
/// [`ScoreError`] where a slice does not fit its size, a value is no probability, or no truth has a cell.
pub fn isbi_scores(slices: &[IsbiSlice<'_>]) -> Result<IsbiReport, ScoreError> {
    for (image, slice) in slices.iter().enumerate() {
        slice.check(image)?;
    }
    let counts: Vec<IsbiCounts> = slices.par_iter().map(IsbiCounts::of).collect::<Result<_, _>>()?;
    isbi_report(&counts)
}

/// Scores a stack whose slices have been counted one by one, as [`isbi_scores`] does for one at hand.
///
/// # Errors
/// [`ScoreError::NoForeground`] where no truth has a cell.
pub fn isbi_report(slices: &[IsbiCounts]) -> Result<IsbiReport, ScoreError> {
    if !slices.iter().any(IsbiCounts::has_cells) {
        return Err(ScoreError::NoForeground { images: slices.len() });
    }
    let only_masks = slices.iter().all(IsbiCounts::is_mask);
    let at_threshold = |step: usize| -> Vec<Counts> { slices.iter().map(|slice| slice.at(step)).collect() };
    let thresholds: Vec<(Option<f64>, Vec<Counts>)> = match only_masks {
        true => vec![(None, at_threshold(0))],
        false => (0..THRESHOLDS).map(|tenth| (Some(tenth as f64 / 10.0), at_threshold(tenth))).collect(),
    };
    let curve: Vec<IsbiPoint> = thresholds.iter().map(|(threshold, counts)| point(*threshold, counts)).collect();
    let pooled = |counts: &[Counts]| {
        counts.iter().fold(Counts::default(), |mut sum, &one| {
            sum += one;
            sum
        })
    };
    let micro: Vec<IsbiPoint> =
        thresholds.iter().map(|(threshold, counts)| point(*threshold, &[pooled(counts)])).collect();
    let row = |slice: usize| {
        let at = |score: fn(&IsbiPoint) -> f64| &thresholds[best_point(&curve, score)].1[slice];
        IsbiSliceScores {
            pixel_error_f: at(|point| point.pixel_f).pixel_f().map(|f| 1.0 - f),
            v_rand: at(|point| point.v_rand.score).thinned.v_rand().map(|found| found.score),
            v_info: at(|point| point.v_info.score).thinned.v_info().map(|found| found.score),
            rand_error: at(|point| point.rand_f).plain.v_rand().map(|found| 1.0 - found.score),
            warping_error: at(|point| -point.warping_error).warping_error(),
        }
    };
    let slices = (0..slices.len()).map(row).collect();
    Ok(IsbiReport { scores: IsbiScores::of(&curve), micro: IsbiScores::of(&micro), curve, slices })
}

impl IsbiScores {
    fn of(curve: &[IsbiPoint]) -> Self {
        let at = |score: fn(&IsbiPoint) -> f64| &curve[best_point(curve, score)];
        let (by_rand, by_info) = (at(|point| point.v_rand.score), at(|point| point.v_info.score));
        Self {
            pixel_error_f: 1.0 - at(|point| point.pixel_f).pixel_f,
            v_rand: by_rand.v_rand.score,
            v_rand_threshold: by_rand.threshold,
            v_info: by_info.v_info.score,
            v_info_threshold: by_info.threshold,
            rand_error: 1.0 - at(|point| point.rand_f).rand_f,
            warping_error: at(|point| -point.warping_error).warping_error,
        }
    }
}

/// Place of the point with the largest score; of equal ones, that nearest to 0.5, then the first.
fn best<P>(curve: &[P], threshold: impl Fn(&P) -> Option<f64>, score: impl Fn(&P) -> f64) -> usize {
    let off_middle = |point: &P| threshold(point).map_or(0.0, |threshold| (threshold - 0.5).abs());
    let order = |a: &usize, b: &usize| {
        let (a_point, b_point) = (&curve[*a], &curve[*b]);
        score(a_point)
            .total_cmp(&score(b_point))
            .then(off_middle(b_point).total_cmp(&off_middle(a_point)))
            .then(b.cmp(a))
    };
    (0..curve.len()).max_by(order).unwrap_or(0)
}

fn best_point(curve: &[IsbiPoint], score: impl Fn(&IsbiPoint) -> f64) -> usize {
    best(curve, |point| point.threshold, score)
}

/// Means over slices of the scores that they have.
fn point(threshold: Option<f64>, counts: &[Counts]) -> IsbiPoint {
    let mean = |score: &dyn Fn(&Counts) -> Option<f64>| {
        let found: Vec<f64> = counts.iter().filter_map(score).collect();
        found.iter().sum::<f64>() / found.len().max(1) as f64
    };
    let means = |score: fn(&Counts) -> Option<SplitMerge>| SplitMerge {
        score: mean(&|counts| score(counts).map(|found| found.score)),
        precision: mean(&|counts| score(counts).map(|found| found.precision)),
        recall: mean(&|counts| score(counts).map(|found| found.recall)),
    };
    IsbiPoint {
        threshold,
        v_rand: means(|counts| counts.thinned.v_rand()),
        v_info: means(|counts| counts.thinned.v_info()),
        rand_f: mean(&|counts| counts.plain.v_rand().map(|found| found.score)),
        pixel_f: mean(&Counts::pixel_f),
        pixel_precision: mean(&Counts::pixel_precision),
        pixel_recall: mean(&Counts::pixel_recall),
        warping_error: mean(&|counts| Some(counts.warping_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid::new(5, 3);
    /// Two cells, each six pixels, and a wall.
    const TRUTH: [u8; 15] = [1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1];

    fn slice<'a>(truth: &'a [u8], probability: &'a [f32]) -> IsbiSlice<'a> {
        IsbiSlice { grid: GRID, truth, proposal: Proposal::Probability(probability) }
    }

    #[test]
    fn the_truth_itself_is_perfect_at_the_middle_threshold() {
        let probability = TRUTH.map(f32::from);
        let report = isbi_scores(&[slice(&TRUTH, &probability)]).expect("there are cells");
        let perfect = IsbiScores {
            pixel_error_f: 0.0,
            v_rand: 1.0,
            v_rand_threshold: Some(0.5),
            v_info: 1.0,
            v_info_threshold: Some(0.5),
            rand_error: 0.0,
            warping_error: 0.0,
        };
        assert_eq!(report.scores, perfect);
        assert_eq!(report.micro, perfect);
        assert_eq!(report.curve.len(), 11);
        let as_mask = IsbiSlice { grid: GRID, truth: &TRUTH, proposal: Proposal::Mask(&TRUTH) };
        let report = isbi_scores(&[as_mask]).expect("there are cells");
        assert_eq!(report.scores, IsbiScores { v_rand_threshold: None, v_info_threshold: None, ..perfect });
        assert_eq!(report.curve.len(), 1);
    }

    #[test]
    fn a_merger_by_hand() {
        // The wall has a gap at every threshold below 0.8: cells joined, A = 1/2, B = 1, AB = 1/2, so F = 2/3.
        let mut probability = TRUTH.map(f32::from);
        probability[7] = 0.8;
        let report = isbi_scores(&[slice(&TRUTH, &probability)]).expect("there are cells");
        assert!((report.curve[5].v_rand.score - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(report.curve[5].v_info.score, 0.0);
        assert!((report.curve[5].pixel_f - 24.0 / 25.0).abs() < 1e-12);
        assert!((report.curve[5].warping_error - 1.0 / 15.0).abs() < 1e-12);
        assert_eq!(report.scores.v_rand, 1.0);
        assert_eq!(report.scores.v_rand_threshold, Some(0.8), "0.8 is not above 0.8");
        // Above every value there is no cell: one basin for V_rand, each pixel alone without thinning (12 of 12 dams).
        assert!((report.curve[10].v_rand.score - 2.0 / 3.0).abs() < 1e-12);
        assert!((report.curve[10].rand_f - 2.0 * (12.0 / 144.0) / (0.5 + 12.0 / 144.0)).abs() < 1e-12);
    }

    #[test]
    fn rows_average_to_the_stack_and_slices_without_cells_have_none() {
        let good = TRUTH.map(f32::from);
        let mut bad = good;
        (bad[7], bad[0], bad[14]) = (0.9, 0.2, 0.4);
        let empty = [0; 15];
        let stack = [slice(&TRUTH, &good), slice(&TRUTH, &bad), slice(&empty, &bad)];
        let report = isbi_scores(&stack).expect("there are cells");
        let mean = |score: fn(&IsbiSliceScores) -> Option<f64>| {
            let found: Vec<f64> = report.slices.iter().filter_map(score).collect();
            (found.len(), found.iter().sum::<f64>() / found.len() as f64)
        };
        assert_eq!(mean(|row| row.v_rand), (2, report.scores.v_rand));
        assert_eq!(mean(|row| row.v_info), (2, report.scores.v_info));
        assert!((mean(|row| row.pixel_error_f).1 - report.scores.pixel_error_f).abs() < 1e-12);
        assert!((mean(|row| Some(row.warping_error)).1 - report.scores.warping_error).abs() < 1e-12);
        assert!(report.micro.v_rand <= 1.0 && report.slices[2].rand_error.is_none());
    }

    #[test]
    fn slices_pooled_by_hand() {
        // Four cells of a quarter each, A = 1/4; the second slice's two are joined, B = 2/16 + 1/4 and AB = 1/4, so F = 4/5. Their
        // entropies are 2 ln 2 and 1.5 ln 2, all of the latter shared: 2 * 1.5 / 3.5. Each slice by itself: 1 and 2/3, 1 and 0.
        let all = [1; 15];
        let mask = |cells| IsbiSlice { grid: GRID, truth: &TRUTH, proposal: Proposal::Mask(cells) };
        let report = isbi_scores(&[mask(&TRUTH), mask(&all)]).expect("there are cells");
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        close(report.micro.v_rand, 4.0 / 5.0);
        close(report.micro.v_info, 6.0 / 7.0);
        close(report.micro.rand_error, 1.0 - 4.0 / 5.0);
        close(report.micro.pixel_error_f, 1.0 - 48.0 / 51.0);
        close(report.scores.v_rand, (1.0 + 2.0 / 3.0) / 2.0);
        close(report.scores.v_info, 0.5);
    }

    #[test]
    fn what_cannot_be_scored_is_named() {
        let mut probability = TRUTH.map(f32::from);
        probability[6] = f32::NAN;
        let error = isbi_scores(&[slice(&TRUTH, &probability)]).expect_err("NaN is no probability");
        assert!(matches!(error, ScoreError::Probability { image: 0, x: 1, y: 1, .. }), "{error}");
        assert_eq!(isbi_scores(&[]), Err(ScoreError::NoForeground { images: 0 }));
        assert_eq!(isbi_scores(&[slice(&[0; 15], &[0.5; 15])]), Err(ScoreError::NoForeground { images: 1 }));
        assert!(matches!(isbi_scores(&[slice(&TRUTH[1..], &[0.5; 15])]), Err(ScoreError::Grid(_))));
    }

    #[test]
    fn scores_serialise_under_the_names_of_reports() {
        let probability = TRUTH.map(f32::from);
        let report = isbi_scores(&[slice(&TRUTH, &probability)]).expect("there are cells");
        let json = serde_json::to_value(report.scores).expect("plain numbers");
        let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = [
            "pixel_error_f",
            "v_rand",
            "v_rand_threshold",
            "v_info",
            "v_info_threshold",
            "rand_error",
            "warping_error",
        ];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }
}
