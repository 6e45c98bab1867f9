//! The challenge's two scores of a segmentation into objects that have labels already, touching ones too: takes label images, yields
//! V_rand and V_info.

use crate::metric::rand_info::{PairSums, SplitMerge};
use crate::metric::thinning::grow;
use crate::metric::{Contingency, ScoreError};
use crate::objects::{Components, Grid};

/// V_rand and V_info of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabelScores {
    /// V_rand after thinning.
    pub v_rand: SplitMerge,
    /// V_info after thinning.
    pub v_info: SplitMerge,
}

/// Scores objects against the cells of the truth, 0 being membrane in both. As with masks, what the proposal leaves at 0 is flooded by the
/// objects around it until they meet; objects that touch meet already, where the connected parts of a mask would be one. Nothing where the
/// truth has no cell.
///
/// # Errors
/// [`ScoreError`] where an image does not fit the size.
pub fn isbi_of_labels(truth: &[u32], proposal: &[u32], grid: Grid) -> Result<Option<LabelScores>, ScoreError> {
    grid.check("the truth", truth.len())?;
    grid.check("the label image", proposal.len())?;
    let count = proposal.iter().copied().max().unwrap_or(0);
    let basins = grow(&Components { labels: proposal.to_vec(), count }, grid);
    let sums = PairSums::of_foreground(&Contingency::new(truth, &basins.labels)?);
    Ok(sums.v_rand().zip(sums.v_info()).map(|(v_rand, v_info)| LabelScores { v_rand, v_info }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metric::{IsbiSlice, Proposal, isbi_scores};
    use crate::objects::{Connectivity, components};

    const GRID: Grid = Grid::new(6, 2);
    const TRUTH: [u32; 12] = [1, 1, 0, 2, 2, 2, 1, 1, 0, 2, 2, 2];

    #[test]
    fn labels_that_touch_are_apart_and_the_rest_is_flooded() {
        let perfect = isbi_of_labels(&TRUTH, &TRUTH, GRID).unwrap().unwrap();
        assert_eq!((perfect.v_rand.score, perfect.v_info.score), (1.0, 1.0));
        // Nothing between the two but their labels, one of them far from 1; the last column is flooded.
        let touching = [1, 1, 1, 70, 70, 0, 1, 1, 1, 70, 70, 0];
        assert_eq!(isbi_of_labels(&TRUTH, &touching, GRID).unwrap().unwrap(), perfect);
        // As one object: 4 and 6 of 10 pixels merged, precision (16 + 36) / 100.
        let merged = isbi_of_labels(&TRUTH, &[5; 12], GRID).unwrap().unwrap();
        assert!((merged.v_rand.precision - 0.52).abs() < 1e-12 && merged.v_rand.recall == 1.0, "{merged:?}");
        assert_eq!(isbi_of_labels(&[0; 12], &TRUTH, GRID).unwrap(), None);
        assert!(isbi_of_labels(&TRUTH, &TRUTH[1..], GRID).is_err());
    }

    #[test]
    fn the_connected_parts_of_a_mask_score_as_the_mask_does() {
        let grid = Grid::new(40, 30);
        let wave = |p: usize, phase: f32| {
            let (x, y) = ((p % 40) as f32 / 4.0 + phase, (p / 40) as f32 / 5.0 - phase);
            u8::from((x.sin() * y.cos()).abs() > 0.25)
        };
        let mask = |phase: f32| (0..grid.pixels()).map(|p| wave(p, phase)).collect::<Vec<u8>>();
        let (truth, found) = (mask(0.0), mask(0.3));
        let labels = |mask: &[u8]| components(mask, grid, Connectivity::Four).unwrap().labels;
        let slice = IsbiSlice { grid, truth: &truth, proposal: Proposal::Mask(&found) };
        let expected = isbi_scores(&[slice]).unwrap().scores;
        let scores = isbi_of_labels(&labels(&truth), &labels(&found), grid).unwrap().unwrap();
        assert!((scores.v_rand.score - expected.v_rand).abs() < 1e-12, "{scores:?} {expected:?}");
        assert!((scores.v_info.score - expected.v_info).abs() < 1e-12 && expected.v_info < 1.0);
    }
}
