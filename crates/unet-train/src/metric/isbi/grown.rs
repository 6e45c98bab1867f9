//! The challenge's two scores of cells that grow along the ridges of the probability: takes truth and probability, yields V_rand and V_info
//! at the best of the thresholds, of the cells as they meet and of the mask that keeps them apart.
//!
//! The challenge thins a mask of membranes without looking at the probability that it was made of: basins meet half way between two
//! cells. Here they meet where the network is least sure, as the objects do that [`instances`] lets grow. Labels tell them apart where
//! they touch; a mask, which is what the challenge takes, needs a line between them, whose pixels it counts against the proposal where
//! they lie in a cell of the truth.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::counts::THRESHOLDS;
use super::{IsbiSlice, LabelScores, Proposal, best, isbi_of_labels};
use crate::metric::ScoreError;
use crate::metric::rand_info::SplitMerge;
use crate::objects::{Connectivity, InstanceConfig, components, instances, parted};

/// The scores of one slice at every threshold; nothing where its truth has no cell.
#[derive(Debug, Clone, PartialEq)]
pub struct GrownSlice {
    steps: Vec<Option<GrownAt>>,
}

/// The scores of one slice at one threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct GrownAt {
    cells: LabelScores,
    parted: LabelScores,
}

/// The scores of a stack, in both ways.
#[derive(Debug, Clone, PartialEq)]
pub struct GrownReport {
    /// Of the cells as they are labelled, which touch; `isbi.grown` of reports.
    pub cells: GrownScores,
    /// Of the mask that has a line between them ([`parted`]), thinned as the challenge thins any; `isbi.parted` of reports.
    pub parted: GrownScores,
}

/// The scores of a stack in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GrownScores {
    /// Largest V_rand.
    pub v_rand: f64,
    /// Where it is reached.
    pub v_rand_threshold: f64,
    /// Largest V_info.
    pub v_info: f64,
    /// Where it is reached.
    pub v_info_threshold: f64,
    /// Means over the slices at each threshold, ascending.
    pub curve: Vec<GrownPoint>,
}

/// Scores at one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GrownPoint {
    /// A pixel is cell where its probability is larger.
    pub threshold: f64,
    /// V_rand of the cells.
    pub v_rand: SplitMerge,
    /// V_info of the cells.
    pub v_info: SplitMerge,
}

impl GrownSlice {
    /// Scores one slice, its thresholds in parallel: the cells are those of [`grown_cells`]. Nothing where the slice is a mask.
    ///
    /// # Errors
    /// [`ScoreError`] where the slice does not fit its size or a value is no probability.
    pub fn of(slice: &IsbiSlice<'_>) -> Result<Option<Self>, ScoreError> {
        slice.check(0)?;
        let Proposal::Probability(values) = slice.proposal else { return Ok(None) };
        let mask: Vec<u8> = slice.truth.iter().map(|&label| u8::from(label != 0)).collect();
        let truth = components(&mask, slice.grid, Connectivity::Four)?.labels;
        let at = |tenth: usize| {
            let found = instances(values, slice.grid, &grown_cells(tenth as f64 / 10.0))?;
            let mask = components(&parted(&found.labels, slice.grid)?, slice.grid, Connectivity::Four)?;
            let of = |labels: &[u32]| isbi_of_labels(&truth, labels, slice.grid);
            let both = of(&found.labels)?.zip(of(&mask.labels)?);
            Ok::<_, ScoreError>(both.map(|(cells, parted)| GrownAt { cells, parted }))
        };
        Ok(Some(Self { steps: (0..THRESHOLDS).into_par_iter().map(at).collect::<Result<_, _>>()? }))
    }
}

/// How cells are made at a threshold: those that fill the image ([`InstanceConfig::packed`]), grown until they meet.
pub fn grown_cells(threshold: f64) -> InstanceConfig {
    InstanceConfig { grow: usize::MAX, ..InstanceConfig::packed(threshold) }
}

/// Scores of a stack whose slices have been scored one by one: at each threshold the mean over those with a cell, then the best threshold;
/// of equally good ones the one nearest to 0.5. Nothing where no truth has a cell.
pub fn grown_report(slices: &[GrownSlice]) -> Option<GrownReport> {
    Some(GrownReport { cells: scores(slices, |at| at.cells)?, parted: scores(slices, |at| at.parted)? })
}

fn scores(slices: &[GrownSlice], of: fn(&GrownAt) -> LabelScores) -> Option<GrownScores> {
    let point = |tenth: usize| {
        let at = |slice: &GrownSlice| slice.steps.get(tenth)?.as_ref().map(of);
        let scores: Vec<LabelScores> = slices.iter().filter_map(at).collect();
        let mean = |of: &dyn Fn(&LabelScores) -> f64| scores.iter().map(of).sum::<f64>() / scores.len() as f64;
        let means = |of: fn(&LabelScores) -> SplitMerge| SplitMerge {
            score: mean(&|s| of(s).score),
            precision: mean(&|s| of(s).precision),
            recall: mean(&|s| of(s).recall),
        };
        let threshold = tenth as f64 / 10.0;
        (!scores.is_empty()).then(|| GrownPoint { threshold, v_rand: means(|s| s.v_rand), v_info: means(|s| s.v_info) })
    };
    let curve: Vec<GrownPoint> = (0..THRESHOLDS).map(point).collect::<Option<_>>()?;
    let at = |score: fn(&GrownPoint) -> f64| curve[best(&curve, |point| Some(point.threshold), score)];
    let (by_rand, by_info) = (at(|point| point.v_rand.score), at(|point| point.v_info.score));
    Some(GrownScores {
        v_rand: by_rand.v_rand.score,
        v_rand_threshold: by_rand.threshold,
        v_info: by_info.v_info.score,
        v_info_threshold: by_info.threshold,
        curve,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::objects::Grid;

    const GRID: Grid = Grid::new(12, 8);

    /// Two cells whose wall is one column, nearer to the left one than to the right one: to the right of it the network is not sure.
    fn slice() -> (Vec<u8>, Vec<f32>) {
        let truth: Vec<u8> = (0..GRID.pixels()).map(|pixel| u8::from(pixel % 12 != 4)).collect();
        let probability = (0..GRID.pixels()).map(|pixel| match pixel % 12 {
            0..=3 => 0.95,
            4 => 0.1,
            5..=7 => 0.35,
            _ => 0.95,
        });
        (truth, probability.collect())
    }

    #[test]
    fn cells_meet_on_the_ridge_and_not_half_way() {
        let (truth, probability) = slice();
        let slice = IsbiSlice { grid: GRID, truth: &truth, proposal: Proposal::Probability(&probability) };
        let counts = GrownSlice::of(&slice).unwrap().unwrap();
        let GrownReport { cells: scores, parted } = grown_report(&[counts.clone(), counts]).unwrap();
        assert_eq!((scores.v_rand, scores.v_info, scores.v_rand_threshold), (1.0, 1.0, 0.5), "{scores:?}");
        assert_eq!(scores.curve.len(), 11);
        // The line of the mask lies on the wall, which is in no cell of the truth.
        assert_eq!((parted.v_rand, parted.v_info, parted.curve.len()), (1.0, 1.0, 11), "{parted:?}");
        // Everything is one cell below the wall's height.
        assert!(scores.curve[0].v_rand.score < 0.7 && scores.curve[0].v_info.score == 0.0, "{scores:?}");
        // Flooded evenly, the cells meet beyond the wall.
        let flat = crate::metric::isbi_scores(&[slice]).unwrap().curve[5];
        assert!(flat.v_rand.score < 1.0, "{flat:?}");
    }

    #[test]
    fn a_gap_in_a_membrane_does_not_merge_large_cells() {
        // Four cells in a row, the second and the third joined by a gap of two pixels, and a bulge of the fourth behind a neck.
        let grid = Grid::new(48, 10);
        let wall = |x: usize| matches!(x, 11 | 23 | 35);
        let truth: Vec<u8> = (0..grid.pixels()).map(|pixel| u8::from(!wall(pixel % 48))).collect();
        let probability: Vec<f32> = (0..grid.pixels())
            .map(|pixel| match (pixel % 48, pixel / 48) {
                (23, 4..=5) | (44, 4..=5) => 0.8,
                (x, _) if wall(x) || x == 44 => 0.1,
                _ => 0.97,
            })
            .collect();
        let slice = IsbiSlice { grid, truth: &truth, proposal: Proposal::Probability(&probability) };
        let report = grown_report(&[GrownSlice::of(&slice).unwrap().unwrap()]).unwrap();
        let at_half = report.cells.curve[5];
        assert_eq!((at_half.v_rand.score, at_half.v_info.score), (1.0, 1.0), "{at_half:?}");
        let flat = crate::metric::isbi_scores(&[slice]).unwrap().curve[5];
        assert!(flat.v_rand.precision < 0.9, "evenly flooded they are one: {flat:?}");
    }

    #[test]
    fn the_mask_scores_as_the_challenge_scores_it() {
        // Two walls close to each other, of which the truth has one: the line on the other crosses a cell.
        let (truth, mut probability) = slice();
        probability.iter_mut().skip(8).step_by(12).for_each(|p| *p = 0.2);
        let slice = IsbiSlice { grid: GRID, truth: &truth, proposal: Proposal::Probability(&probability) };
        let counts = GrownSlice::of(&slice).unwrap().unwrap();
        let GrownReport { cells, parted: of_mask } = grown_report(&[counts]).unwrap();
        let found = instances(&probability, GRID, &grown_cells(0.3)).unwrap();
        assert_eq!(found.labels.iter().max(), Some(&3));
        let mask = parted(&found.labels, GRID).unwrap();
        let by_mask = IsbiSlice { grid: GRID, truth: &truth, proposal: Proposal::Mask(&mask) };
        let challenge = crate::metric::isbi_scores(&[by_mask]).unwrap().scores;
        let point = of_mask.curve[3];
        assert_eq!((point.v_rand.score, point.v_info.score), (challenge.v_rand, challenge.v_info));
        assert!(point.v_info.score < cells.curve[3].v_info.score, "eight pixels of a line count as cells: {point:?}");
    }

    #[test]
    fn masks_and_truths_without_cells_have_no_such_score() {
        let (truth, probability) = slice();
        let mask = IsbiSlice { grid: GRID, truth: &truth, proposal: Proposal::Mask(&truth) };
        assert_eq!(GrownSlice::of(&mask).unwrap(), None);
        let empty = vec![0; GRID.pixels()];
        let empty = IsbiSlice { grid: GRID, truth: &empty, proposal: Proposal::Probability(&probability) };
        let empty = GrownSlice::of(&empty).unwrap().unwrap();
        assert_eq!(grown_report(std::slice::from_ref(&empty)), None);
        // Beside a slice with cells it counts for nothing.
        let full = IsbiSlice { grid: GRID, truth: &truth, proposal: Proposal::Probability(&probability) };
        let full = GrownSlice::of(&full).unwrap().unwrap();
        assert_eq!(grown_report(&[full.clone(), empty]), grown_report(&[full]));
    }
}
