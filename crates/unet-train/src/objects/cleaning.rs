//! Cleaning of masks and label images: holes, objects at the border, small objects, numbering. Each takes a slice and
//! changes it in place.

use std::collections::HashMap;

use super::components::label;
use super::grid::{Connectivity, Grid, GridError};

/// Fills the holes of a mask: components of zeros that do not touch the border of the image and have at most
/// `max_area` pixels become `1`. Returns the number of pixels filled. With no limit (`usize::MAX`) and four-connected
/// zeros as `scipy.ndimage.binary_fill_holes`.
///
/// # Errors
/// [`GridError`] where `mask` does not cover the image.
pub fn fill_holes(
    mask: &mut [u8],
    grid: Grid,
    hole_connectivity: Connectivity,
    max_area: usize,
) -> Result<usize, GridError> {
    grid.check("the mask", mask.len())?;
    let zeros = label(grid, hole_connectivity, |pixel| mask[pixel] == 0, |_, _| true);
    let mut areas = vec![0usize; zeros.count as usize + 1];
    let mut open = vec![false; zeros.count as usize + 1];
    open[0] = true;
    for (pixel, &part) in zeros.labels.iter().enumerate() {
        areas[part as usize] += 1;
        open[part as usize] |= grid.on_border(pixel);
    }
    let mut filled = 0;
    for (value, &part) in mask.iter_mut().zip(&zeros.labels) {
        if !open[part as usize] && areas[part as usize] <= max_area {
            *value = 1;
            filled += 1;
        }
    }
    Ok(filled)
}

/// Removes every object that has a pixel within `margin` pixels of the border: 0 takes those that touch it, as
/// `skimage.segmentation.clear_border` with that buffer size, an object being all pixels of one label. A margin as
/// wide as the image removes them all.
///
/// # Errors
/// [`GridError`] where `labels` does not cover the image.
pub fn clear_border(labels: &mut [u32], grid: Grid, margin: usize) -> Result<(), GridError> {
    grid.check("the label image", labels.len())?;
    let Grid { width, height } = grid;
    let near = |at: usize, size: usize| at <= margin || size - 1 - at <= margin;
    let mut doomed: Vec<u32> = labels
        .iter()
        .enumerate()
        .filter(|&(pixel, &label)| label != 0 && (near(pixel % width, width) || near(pixel / width, height)))
        .map(|(_, &label)| label)
        .collect();
    doomed.sort_unstable();
    doomed.dedup();
    erase(labels, |label| doomed.binary_search(&label).is_ok());
    Ok(())
}

/// Removes objects of fewer than `min_area` pixels, all pixels of one label being an object.
pub fn remove_small(labels: &mut [u32], min_area: usize) {
    let mut areas: HashMap<u32, usize> = HashMap::new();
    for &label in labels.iter().filter(|&&label| label != 0) {
        *areas.entry(label).or_default() += 1;
    }
    erase(labels, |label| areas.get(&label).is_some_and(|&area| area < min_area));
}

/// Renumbers objects 1, 2, … in ascending order of their labels and returns how many there are; 0 stays.
pub fn renumber(labels: &mut [u32]) -> u32 {
    let mut ids: Vec<u32> = labels.iter().copied().filter(|&label| label != 0).collect();
    ids.sort_unstable();
    ids.dedup();
    for label in labels.iter_mut().filter(|label| **label != 0) {
        *label = ids.partition_point(|id| id < label) as u32 + 1;
    }
    ids.len() as u32
}

fn erase(labels: &mut [u32], gone: impl Fn(u32) -> bool) {
    for label in labels.iter_mut().filter(|label| **label != 0) {
        if gone(*label) {
            *label = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: [u8; 25] = [0, 1, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0];

    #[test]
    fn holes_fill_up_to_their_limit_and_leaks_do_not() {
        let grid = Grid::new(5, 5);
        let mut ring = RING;
        assert_eq!(fill_holes(&mut ring, grid, Connectivity::Four, 3), Ok(0), "the hole has four pixels");
        assert_eq!(fill_holes(&mut ring, grid, Connectivity::Four, 4), Ok(4));
        assert_eq!(&ring[5..9], [1, 1, 1, 1]);
        let mut leaking = RING;
        // The hole touches the outside at the ring's open corner, south-west.
        assert_eq!(fill_holes(&mut leaking, grid, Connectivity::Eight, usize::MAX), Ok(0));
        assert_eq!(leaking, RING);
    }

    #[test]
    fn the_border_takes_whole_objects() {
        let mut labels = [4, 0, 0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0];
        let grid = Grid::new(5, 4);
        clear_border(&mut labels, grid, 0).expect("sizes fit");
        assert_eq!(labels.iter().filter(|&&label| label == 4).count(), 0, "also its part inside");
        assert_eq!(labels.iter().filter(|&&label| label == 8).count(), 2);
        clear_border(&mut labels, grid, 1).expect("sizes fit");
        assert_eq!(labels, [0; 20]);
    }

    #[test]
    fn small_objects_go_and_the_rest_is_numbered() {
        let mut labels = [9, 9, 0, u32::MAX, u32::MAX, 5];
        remove_small(&mut labels, 2);
        assert_eq!(labels, [9, 9, 0, u32::MAX, u32::MAX, 0]);
        assert_eq!(renumber(&mut labels), 2);
        assert_eq!(labels, [1, 1, 0, 2, 2, 0]);
        assert_eq!(renumber(&mut []), 0);
    }
}
