//! Topology of a segmentation: takes masks, yields skeletons, clDice and errors in the numbers of objects and holes.

use serde::Serialize;

use crate::objects::{Connectivity, Grid, GridError, label};

/// Betti numbers of a mask in the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Betti {
    /// Connected components, b0.
    pub components: u32,
    /// Holes, b1.
    pub holes: u32,
}

/// Absolute differences of Betti numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BettiError {
    /// Difference of the numbers of components.
    pub components: u32,
    /// Difference of the numbers of holes.
    pub holes: u32,
}

/// Counts components (of the given connectivity) and holes (components of the rest, of the dual connectivity, that do
/// not reach the outside of the image).
///
/// # Errors
/// [`GridError`] where `mask` does not cover the image.
pub fn betti_numbers(mask: &[u8], grid: Grid, connectivity: Connectivity) -> Result<Betti, GridError> {
    grid.check("the mask", mask.len())?;
    let components = label(grid, connectivity, |pixel| mask[pixel] != 0, |_, _| true).count;
    let gaps = label(grid, connectivity.dual(), |pixel| mask[pixel] == 0, |_, _| true);
    let mut open = vec![false; gaps.count as usize + 1];
    for (pixel, &gap) in gaps.labels.iter().enumerate().filter(|&(_, &gap)| gap != 0) {
        open[gap as usize] |= grid.on_border(pixel);
    }
    let holes = open.iter().skip(1).filter(|&&open| !open).count() as u32;
    Ok(Betti { components, holes })
}

/// How far the Betti numbers of a proposal are from those of the truth.
///
/// # Errors
/// [`GridError`] where a mask does not cover the image.
pub fn betti_error(
    truth: &[u8],
    proposal: &[u8],
    grid: Grid,
    connectivity: Connectivity,
) -> Result<BettiError, GridError> {
    let (truth, proposal) = (betti_numbers(truth, grid, connectivity)?, betti_numbers(proposal, grid, connectivity)?);
    Ok(BettiError {
        components: truth.components.abs_diff(proposal.components),
        holes: truth.holes.abs_diff(proposal.holes),
    })
}

/// Thins a mask to lines that keep its components and holes (eight-connected): Guo and Hall, Communications of the ACM
/// 32 (1989), two passes in turn until nothing changes. The outside of the image counts as 0; the result is 1 on the
/// skeleton, as `skimage.morphology.thin` gives it. Unlike the thinning of Zhang and Suen no small object vanishes.
///
/// # Errors
/// [`GridError`] where `mask` does not cover the image.
pub fn skeletonize(mask: &[u8], grid: Grid) -> Result<Vec<u8>, GridError> {
    grid.check("the mask", mask.len())?;
    let Grid { width, height } = grid;
    let stride = width + 2;
    let framed = |pixel: usize| (pixel / width + 1) * stride + pixel % width + 1;
    let mut image = vec![false; stride * (height + 2)];
    for (pixel, &value) in mask.iter().enumerate() {
        image[framed(pixel)] = value != 0;
    }
    // Only pixels that are still set can go; the list shrinks as the mask does.
    let mut left: Vec<usize> = (0..image.len()).filter(|&at| image[at]).collect();
    loop {
        let before = left.len();
        for turned in [false, true] {
            let gone: Vec<usize> =
                left.iter().copied().filter(|&at| is_removable(&image, at, stride, turned)).collect();
            for &at in &gone {
                image[at] = false;
            }
            left.retain(|&at| image[at]);
        }
        if left.len() == before {
            break;
        }
    }
    Ok((0..mask.len()).map(|pixel| u8::from(image[framed(pixel)])).collect())
}

/// The conditions G1 to G3 of the paper, for the second pass with the neighbourhood turned by half.
fn is_removable(image: &[bool], at: usize, stride: usize, turned: bool) -> bool {
    // Counter-clockwise from the east: the paper's x1 … x8.
    let mut x = [
        image[at + 1],
        image[at - stride + 1],
        image[at - stride],
        image[at - stride - 1],
        image[at - 1],
        image[at + stride - 1],
        image[at + stride],
        image[at + stride + 1],
    ];
    if turned {
        x.rotate_left(4);
    }
    let count = |holds: &dyn Fn(usize) -> bool| [0, 2, 4, 6].into_iter().filter(|&k| holds(k)).count();
    let joined = count(&|k| !x[k] && (x[k + 1] || x[(k + 2) % 8]));
    let thickness = count(&|k| x[k] || x[k + 1]).min(count(&|k| x[k + 1] || x[(k + 2) % 8]));
    let keeps_side = x[0] && (x[1] || x[2] || !x[7]);
    joined == 1 && (2..=3).contains(&thickness) && !keeps_side
}

/// Centreline Dice (Shit et al., CVPR 2021) of two masks of lines, and what it is the harmonic mean of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClDice {
    /// Harmonic mean of the two below; 1 is best.
    pub score: f64,
    /// Fraction of the proposal's skeleton inside the truth.
    pub precision: f64,
    /// Fraction of the truth's skeleton inside the proposal.
    pub sensitivity: f64,
}

/// Scores how well the centrelines of two masks (nonzero is inside) lie in each other. An empty skeleton lies inside
/// everything; so two empty masks score 1, and one against something scores 0.
///
/// # Errors
/// [`GridError`] where a mask does not cover the image.
pub fn cl_dice(truth: &[u8], proposal: &[u8], grid: Grid) -> Result<ClDice, GridError> {
    let inside = |skeleton: &[u8], mask: &[u8]| {
        let length = skeleton.iter().filter(|&&on| on != 0).count();
        let within = skeleton.iter().zip(mask).filter(|&(&on, &value)| on != 0 && value != 0).count();
        if length == 0 { 1.0 } else { within as f64 / length as f64 }
    };
    let precision = inside(&skeletonize(proposal, grid)?, truth);
    let sensitivity = inside(&skeletonize(truth, grid)?, proposal);
    let sum = precision + sensitivity;
    let score = if sum > 0.0 { 2.0 * precision * sensitivity / sum } else { 0.0 };
    Ok(ClDice { score, precision, sensitivity })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_has_a_hole_until_it_leaks() {
        let grid = Grid::new(4, 4);
        let ring = [1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 1];
        let four = betti_numbers(&ring, grid, Connectivity::Four).expect("sizes fit");
        assert_eq!((four.components, four.holes), (2, 1));
        let eight = betti_numbers(&ring, grid, Connectivity::Eight).expect("sizes fit");
        assert_eq!((eight.components, eight.holes), (1, 1));
        let mut broken = ring;
        broken[2] = 0;
        let four = betti_error(&ring, &broken, grid, Connectivity::Four).expect("sizes fit");
        assert_eq!((four.components, four.holes), (0, 1), "the hole leaks across the corner");
        let eight = betti_error(&ring, &broken, grid, Connectivity::Eight).expect("sizes fit");
        assert_eq!((eight.components, eight.holes), (0, 0), "across a corner that is closed");
    }

    #[test]
    fn a_bar_thins_to_a_line() {
        let grid = Grid::new(9, 5);
        let bar: Vec<u8> =
            (0..45).map(|pixel| u8::from((1..4).contains(&(pixel / 9)) && (1..8).contains(&(pixel % 9)))).collect();
        let skeleton = skeletonize(&bar, grid).expect("sizes fit");
        assert!(skeleton.iter().enumerate().all(|(pixel, &on)| on == 0 || pixel / 9 == 2));
        assert!(skeleton.contains(&1));
    }

    #[test]
    fn a_square_of_four_pixels_does_not_vanish() {
        let skeleton = skeletonize(&[1, 1, 0, 1, 1, 0], Grid::new(3, 2)).expect("sizes fit");
        assert!(skeleton.contains(&1), "the rules of Zhang and Suen would remove all of it");
    }

    #[test]
    fn a_broken_line_loses_sensitivity_alone() {
        let grid = Grid::new(10, 1);
        let found = cl_dice(&[1; 10], &[1, 1, 1, 1, 1, 1, 1, 0, 0, 0], grid).expect("sizes fit");
        assert_eq!((found.precision, found.sensitivity), (1.0, 0.7));
        assert_eq!(cl_dice(&[0; 10], &[0; 10], grid).map(|found| found.score), Ok(1.0));
        assert_eq!(cl_dice(&[0; 10], &[1; 10], grid).map(|found| found.score), Ok(0.0));
    }
}
