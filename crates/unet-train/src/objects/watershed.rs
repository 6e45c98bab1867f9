//! Marker-controlled watershed: takes a landscape, markers and a mask, yields the basin of each pixel.
//!
//! Priority flooding (Meyer 1992; Soille and Ansoult 1990) with the order of `skimage.segmentation.watershed`: lowest
//! value first, then first in, first out, neighbours nearest first, then in row-major order; no dams, no compactness.
//! Markers of equal height start in row-major order, which scikit-image leaves to its heap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::grid::{Connectivity, Grid, GridError};

/// Bits of the age and of the place of a pixel that waits; what is left of 128 holds its height.
const BITS: u32 = 48;

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
    // Pixels that wait for the flood, as one number: the lowest goes first, then the one that has waited longest.
    let waiting = |height: u32, age: u64, pixel: usize| {
        Reverse(u128::from(height) << (2 * BITS) | u128::from(age) << BITS | pixel as u128)
    };
    // From inside a marker no flood comes.
    let is_dry = |labels: &[u32], pixel: usize| mask[pixel] != 0 && labels[pixel] == 0;
    let is_shore =
        |pixel: &usize| labels[*pixel] != 0 && grid.neighbors(*pixel, connectivity).any(|next| is_dry(&labels, next));
    let shores = (0..labels.len()).filter(is_shore).map(|pixel| waiting(height(landscape[pixel]), 0, pixel));
    let mut heap: BinaryHeap<Reverse<u128>> = shores.collect();
    let mut age = 0;
    while let Some(Reverse(lowest)) = heap.pop() {
        let (stands, from) = ((lowest >> (2 * BITS)) as u32, (lowest & ((1 << BITS) - 1)) as usize);
        for pixel in grid.neighbors(from, connectivity) {
            if is_dry(&labels, pixel) {
                age += 1;
                labels[pixel] = labels[from];
                // Behind a ridge the flood stands as high as the ridge.
                heap.push(waiting(height(landscape[pixel]).max(stands), age, pixel));
            }
        }
    }
    Ok(labels)
}

/// A number that is higher where the value is; both zeros are one height, as in IEEE comparison, and what is no number is highest.
fn height(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    match value {
        v if v.is_nan() => u32::MAX,
        _ if bits >> 31 == 0 => bits | 1 << 31,
        _ => !bits,
    }
}

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
    fn heights_are_in_the_order_of_the_values() {
        let ascending = [f32::NEG_INFINITY, -3.5, -1e-40, 0.0, 1e-40, 0.5, 2.0, f32::INFINITY, f32::NAN];
        assert!(ascending.windows(2).all(|pair| height(pair[0]) < height(pair[1])));
        assert_eq!((height(-0.0), height(-f32::NAN)), (height(0.0), height(f32::NAN)));
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
