//! Marker-controlled watershed: takes a landscape, markers and a mask, yields the basin of each pixel.
//!
//! Priority flooding (Meyer 1992; Soille and Ansoult 1990) with the order of `skimage.segmentation.watershed`: lowest
//! value first, then first in, first out, neighbours nearest first, then in row-major order; no dams, no compactness.
//! Markers of equal height start in row-major order, which scikit-image leaves to its heap.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::grid::{Connectivity, Grid, GridError};

/// A pixel that waits for the flood: the lowest value goes first, then the one that has waited longest.
struct Waiting {
    value: f32,
    age: u64,
    pixel: usize,
}

/// Floods `landscape` from `markers` (0 is none): each pixel of `mask` (nonzero) that a marker's flood reaches gets the
/// label of the marker that reaches it first; every other pixel gets 0. Markers outside the mask are ignored. Values
/// that are not numbers flood last.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn watershed(
    landscape: &[f32],
    markers: &[u32],
    mask: &[u8],
    grid: Grid,
    connectivity: Connectivity,
) -> Result<Vec<u32>, GridError> {
    grid.check("the landscape", landscape.len())?;
    grid.check("the marker image", markers.len())?;
    grid.check("the mask", mask.len())?;
    let mut labels: Vec<u32> = markers.iter().zip(mask).map(|(&m, &inside)| if inside != 0 { m } else { 0 }).collect();
    let mut heap = BinaryHeap::new();
    for pixel in (0..labels.len()).filter(|&pixel| labels[pixel] != 0) {
        heap.push(Reverse(Waiting { value: landscape[pixel], age: 0, pixel }));
    }
    let mut age = 0;
    while let Some(Reverse(lowest)) = heap.pop() {
        for pixel in grid.neighbors(lowest.pixel, connectivity) {
            if mask[pixel] == 0 || labels[pixel] != 0 {
                continue;
            }
            age += 1;
            labels[pixel] = labels[lowest.pixel];
            // Behind a ridge the flood stands as high as the ridge.
            let value = if landscape[pixel] < lowest.value { lowest.value } else { landscape[pixel] };
            heap.push(Reverse(Waiting { value, age, pixel }));
        }
    }
    Ok(labels)
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = match (self.value.is_nan(), other.value.is_nan()) {
            // Both zeros are one height, as in IEEE comparison.
            (false, false) => self.value.partial_cmp(&other.value).unwrap_or(Ordering::Equal),
            (a, b) => a.cmp(&b),
        };
        by_value.then(self.age.cmp(&other.age)).then(self.pixel.cmp(&other.pixel))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basins_meet_on_the_ridge() {
        let landscape = [0.0, 1.0, 5.0, 2.0, 0.5];
        let labels = watershed(&landscape, &[7, 0, 0, 0, 3], &[1; 5], Grid::new(5, 1), Connectivity::Four);
        assert_eq!(labels, Ok(vec![7, 7, 7, 3, 3]), "the lower side reaches the ridge first");
    }

    #[test]
    fn the_mask_is_a_wall() {
        let labels = watershed(&[0.0; 5], &[1, 0, 0, 0, 2], &[1, 1, 0, 1, 0], Grid::new(5, 1), Connectivity::Four);
        assert_eq!(labels, Ok(vec![1, 1, 0, 0, 0]), "no flood crosses it, and a marker outside it is ignored");
    }

    #[test]
    fn what_is_not_a_number_floods_last() {
        let landscape = [0.0, f32::NAN, 9.0, 9.5, f32::NAN, 0.0];
        let mut markers = [0; 12];
        (markers[0], markers[5]) = (1, 2);
        let landscape: Vec<f32> = landscape.into_iter().chain([1.0; 6]).collect();
        let labels = watershed(&landscape, &markers, &[1; 12], Grid::new(6, 2), Connectivity::Four).expect("sizes fit");
        assert!(labels.iter().all(|&label| label != 0));
    }
}
