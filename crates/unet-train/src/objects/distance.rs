//! Exact Euclidean distances: takes a mask, yields for each pixel the distance to the nearest pixel that is zero in it.
//!
//! Felzenszwalb and Huttenlocher, *Distance Transforms of Sampled Functions*, Theory of Computing 8 (2012): the squared
//! distance is the lower envelope of parabolas, first along columns, then along rows; linear in the number of pixels.

use rayon::prelude::*;

use super::grid::{Grid, GridError};

/// Distance, in pixels, from the centre of each pixel to the centre of the nearest pixel that is zero in `mask`; 0 where
/// the mask is zero. As `scipy.ndimage.distance_transform_edt`, except that it is infinite where no pixel is zero.
///
/// # Errors
/// [`GridError`] where `mask` does not cover the image.
pub fn distance_transform(mask: &[u8], grid: Grid) -> Result<Vec<f64>, GridError> {
    grid.check("the mask", mask.len())?;
    let mut squared = squared_distances(grid, |pixel| mask[pixel] == 0);
    squared.par_iter_mut().for_each(|value| *value = value.sqrt());
    Ok(squared)
}

/// Squared distance of each pixel to the nearest pixel that `is_target`, in pixels squared; infinite where there is none.
pub(crate) fn squared_distances(grid: Grid, is_target: impl Fn(usize) -> bool + Sync) -> Vec<f64> {
    let Grid { width, height } = grid;
    if grid.pixels() == 0 {
        return Vec::new();
    }
    let mut along_rows = vec![0.0; width * height];
    along_rows.par_chunks_mut(width).enumerate().for_each(|(y, row)| row_distances(row, |x| is_target(y * width + x)));
    let columns: Vec<f64> = (0..width)
        .into_par_iter()
        .map_init(Envelope::default, |envelope, x| {
            let column: Vec<f64> = (0..height).map(|y| along_rows[y * width + x]).collect();
            envelope.transform(&column)
        })
        .flatten_iter()
        .collect();
    along_rows.par_chunks_mut(width).enumerate().for_each(|(y, row)| {
        for (x, value) in row.iter_mut().enumerate() {
            *value = columns[x * height + y];
        }
    });
    along_rows
}

/// Squared distance along a row to the nearest target: one sweep forward, one back.
fn row_distances(row: &mut [f64], is_target: impl Fn(usize) -> bool) {
    let mut distance = f64::INFINITY;
    for (x, value) in row.iter_mut().enumerate() {
        distance = if is_target(x) { 0.0 } else { distance + 1.0 };
        *value = distance;
    }
    distance = f64::INFINITY;
    for value in row.iter_mut().rev() {
        distance = if *value == 0.0 { 0.0 } else { distance + 1.0 };
        let nearest = value.min(distance);
        *value = nearest * nearest;
    }
}

/// The parabolas on the lower envelope, left to right, and where each begins to be the lowest.
#[derive(Default)]
struct Envelope {
    centers: Vec<usize>,
    starts: Vec<f64>,
}

impl Envelope {
    /// `min over q of (p - q)² + heights[q]` for every p.
    fn transform(&mut self, heights: &[f64]) -> Vec<f64> {
        self.centers.clear();
        self.starts.clear();
        for (q, &height) in heights.iter().enumerate().filter(|(_, height)| height.is_finite()) {
            let mut start = f64::NEG_INFINITY;
            while let (Some(&v), Some(&begins)) = (self.centers.last(), self.starts.last()) {
                let (a, b) = (q as f64, v as f64);
                start = ((height + a * a) - (heights[v] + b * b)) / (2.0 * (a - b));
                if start > begins {
                    break;
                }
                self.centers.pop();
                self.starts.pop();
                start = f64::NEG_INFINITY;
            }
            self.centers.push(q);
            self.starts.push(start);
        }
        let mut current = 0;
        let lowest = |p: usize| {
            let p_at = p as f64;
            while self.starts.get(current + 1).is_some_and(|&start| start < p_at) {
                current += 1;
            }
            self.centers.get(current).map_or(f64::INFINITY, |&v| {
                let offset = p_at - v as f64;
                offset * offset + heights[v]
            })
        };
        (0..heights.len()).map(lowest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_search(mask: &[u8], grid: Grid) -> Vec<f64> {
        let place = |pixel: usize| ((pixel % grid.width) as f64, (pixel / grid.width) as f64);
        let targets: Vec<(f64, f64)> = (0..mask.len()).filter(|&i| mask[i] == 0).map(place).collect();
        let nearest = |(x, y): (f64, f64)| {
            let squares = targets.iter().map(|&(u, v)| (x - u).powi(2) + (y - v).powi(2));
            squares.fold(f64::INFINITY, f64::min).sqrt()
        };
        (0..mask.len()).map(|pixel| nearest(place(pixel))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn agrees_with_a_search_over_all_pixels(
            (width, mask) in (1usize..13, 1usize..13)
                .prop_flat_map(|(w, h)| (Just(w), prop::collection::vec(prop::sample::select(vec![0u8, 1, 1, 1, 1, 1]), w * h)))
        ) {
            let grid = Grid::new(width, mask.len() / width);
            prop_assert_eq!(distance_transform(&mask, grid).expect("sizes fit"), by_search(&mask, grid));
        }
    }

    #[test]
    fn without_a_target_distances_are_infinite() {
        let grid = Grid::new(3, 2);
        assert_eq!(distance_transform(&[1; 6], grid), Ok(vec![f64::INFINITY; 6]));
        assert_eq!(distance_transform(&[0; 6], grid), Ok(vec![0.0; 6]));
        assert_eq!(distance_transform(&[], Grid::new(0, 5)), Ok(vec![]));
    }
}
