//! Distances between outlines: takes two masks, yields Hausdorff-95, average surface distance and the boundary F-score.
//!
//! An outline is the pixels of a mask with one of their four neighbours outside it; the outside of the image counts as
//! outside, so an object that the image cuts has an outline along the cut.

use serde::Serialize;

use super::ScoreError;
use crate::objects::{Grid, squared_distances};

/// How far two outlines are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SurfaceScores {
    /// The larger of the two directed 95th percentiles (linear between ranks) of the distance to the other outline, in
    /// pixels. 0 where both masks are empty, infinite where one is.
    pub hausdorff_95: f64,
    /// Mean distance to the other outline over the pixels of both, in pixels. 0 and infinite as above.
    pub average_surface_distance: f64,
    /// Harmonic mean of the fractions of the two outlines that lie within the tolerance of the other (Csurka et al.,
    /// BMVC 2013). 1 where both masks are empty, 0 where one is.
    pub boundary_f: f64,
}

/// Compares the outlines of two masks (nonzero is inside); `tolerance` is in pixels.
///
/// # Errors
/// [`ScoreError`] where a mask does not cover the image or the tolerance is negative or not a number.
pub fn surface_scores(truth: &[u8], proposal: &[u8], grid: Grid, tolerance: f64) -> Result<SurfaceScores, ScoreError> {
    grid.check("the truth", truth.len())?;
    grid.check("the proposal", proposal.len())?;
    if tolerance.is_nan() || tolerance < 0.0 {
        return Err(ScoreError::Tolerance { found: tolerance });
    }
    let (of_truth, of_proposal) = (outline(truth, grid), outline(proposal, grid));
    match (of_truth.is_empty(), of_proposal.is_empty()) {
        (true, true) => return Ok(SurfaceScores { hausdorff_95: 0.0, average_surface_distance: 0.0, boundary_f: 1.0 }),
        (false, false) => {}
        _ => {
            let far = f64::INFINITY;
            return Ok(SurfaceScores { hausdorff_95: far, average_surface_distance: far, boundary_f: 0.0 });
        }
    }
    let to_truth = distances(&of_proposal, &of_truth, grid);
    let to_proposal = distances(&of_truth, &of_proposal, grid);
    let total: f64 = to_truth.iter().chain(&to_proposal).sum();
    let near = |distances: &[f64]| {
        distances.iter().filter(|&&distance| distance <= tolerance).count() as f64 / distances.len() as f64
    };
    let (precision, recall) = (near(&to_truth), near(&to_proposal));
    Ok(SurfaceScores {
        hausdorff_95: percentile_95(&to_truth).max(percentile_95(&to_proposal)),
        average_surface_distance: total / (to_truth.len() + to_proposal.len()) as f64,
        boundary_f: if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 },
    })
}

fn outline(mask: &[u8], grid: Grid) -> Vec<usize> {
    let Grid { width, .. } = grid;
    let is_inner = |pixel: usize| {
        !grid.on_border(pixel)
            && [pixel - 1, pixel + 1, pixel - width, pixel + width].iter().all(|&next| mask[next] != 0)
    };
    (0..mask.len()).filter(|&pixel| mask[pixel] != 0 && !is_inner(pixel)).collect()
}

/// Distance of each pixel of one outline to the nearest of the other, ascending.
fn distances(from: &[usize], to: &[usize], grid: Grid) -> Vec<f64> {
    let mut is_target = vec![false; grid.pixels()];
    for &pixel in to {
        is_target[pixel] = true;
    }
    let squared = squared_distances(grid, |pixel| is_target[pixel]);
    let mut found: Vec<f64> = from.iter().map(|&pixel| squared[pixel].sqrt()).collect();
    found.sort_unstable_by(f64::total_cmp);
    found
}

/// The 95th percentile of sorted values, linear between neighbouring ranks as NumPy's default.
fn percentile_95(sorted: &[f64]) -> f64 {
    let rank = 0.95 * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_against_a_point() {
        let grid = Grid::new(5, 4);
        let (mut a, mut b) = ([0; 20], [0; 20]);
        (a[0], b[3 * 5 + 4]) = (1, 1);
        let found = surface_scores(&a, &b, grid, 4.9).expect("sizes fit");
        assert_eq!((found.hausdorff_95, found.average_surface_distance, found.boundary_f), (5.0, 5.0, 0.0));
        assert_eq!(surface_scores(&a, &b, grid, 5.0).map(|found| found.boundary_f), Ok(1.0));
    }

    #[test]
    fn a_square_against_a_shifted_one() {
        // Columns 1-3 and 2-4 of rows 1-3. Of eight pixels of an outline the outer column and the middle of the inner
        // one are one pixel off.
        let square = |left: usize| -> Vec<u8> {
            (0..35)
                .map(|pixel| u8::from((left..left + 3).contains(&(pixel % 7)) && (1..4).contains(&(pixel / 7))))
                .collect()
        };
        let found = surface_scores(&square(1), &square(2), Grid::new(7, 5), 0.0).expect("sizes fit");
        assert_eq!(found.hausdorff_95, 1.0);
        assert_eq!(found.average_surface_distance, 0.5);
        assert_eq!(found.boundary_f, 0.5);
    }

    #[test]
    fn empty_masks_and_bad_tolerances() {
        let grid = Grid::new(2, 1);
        let none = surface_scores(&[0, 0], &[0, 0], grid, 1.0).expect("sizes fit");
        assert_eq!((none.hausdorff_95, none.boundary_f), (0.0, 1.0));
        let one = surface_scores(&[0, 1], &[0, 0], grid, 1.0).expect("sizes fit");
        assert_eq!((one.average_surface_distance, one.boundary_f), (f64::INFINITY, 0.0));
        assert!(matches!(surface_scores(&[0, 1], &[0, 0], grid, f64::NAN), Err(ScoreError::Tolerance { .. })));
        assert!(matches!(surface_scores(&[0], &[0, 0], grid, 1.0), Err(ScoreError::Grid(_))));
    }
}
