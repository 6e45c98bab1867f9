//! Gaussian smoothing of a map: takes values and a deviation, yields as many values. Plain arithmetic in one order, so that every
//! processor yields the same bits: neighbours that are nearly equal decide which way a watershed flows.

use rayon::prelude::*;

use super::grid::{Grid, GridError};

/// Gaussian smoothing with a deviation of `sigma` pixels, cut off at 4σ, the image mirrored at its borders (its last pixel not twice):
/// `scipy.ndimage.gaussian_filter` with mode "mirror". Nothing is smoothed for 0 or what is no positive number.
///
/// # Errors
/// [`GridError`] where `values` does not cover the image.
pub fn smooth(values: &[f32], grid: Grid, sigma: f64) -> Result<Vec<f32>, GridError> {
    grid.check("the map", values.len())?;
    let weights = weights(sigma);
    if weights.len() == 1 || values.is_empty() {
        return Ok(values.to_vec());
    }
    let (width, radius) = (grid.width, weights.len() / 2);
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(width).enumerate().for_each_init(
        || (vec![0.0f64; width], vec![0.0f64; width + 2 * radius]),
        |(column, row), (y, to)| {
            column.fill(0.0);
            for (k, weight) in weights.iter().enumerate() {
                let from = mirrored(y as isize + k as isize - radius as isize, grid.height) * width;
                column.iter_mut().zip(&values[from..from + width]).for_each(|(sum, &v)| *sum += weight * f64::from(v));
            }
            for (x, value) in row.iter_mut().enumerate() {
                *value = column[mirrored(x as isize - radius as isize, width)];
            }
            for (to, around) in to.iter_mut().zip(row.windows(weights.len())) {
                *to = around.iter().zip(&weights).map(|(v, weight)| v * weight).sum::<f64>() as f32;
            }
        },
    );
    Ok(out)
}

/// e^(−k²/2σ²) for |k| ≤ 4σ + ½, with a sum of one.
fn weights(sigma: f64) -> Vec<f64> {
    // The cast makes 0 of what is negative or no number; beyond the largest, all is one mean.
    let radius = ((4.0 * sigma + 0.5) as usize).min(1_000_000) as i64;
    let value = |k: i64| if k == 0 { 1.0 } else { (-0.5 * (k as f64 / sigma).powi(2)).exp() };
    let total: f64 = (-radius..=radius).map(value).sum();
    (-radius..=radius).map(|k| value(k) / total).collect()
}

/// The pixel of a side that stands at `at` when the side is mirrored again and again.
fn mirrored(at: isize, length: usize) -> usize {
    if length < 2 {
        return 0;
    }
    let period = 2 * (length as isize - 1);
    let at = at.rem_euclid(period);
    at.min(period - at) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_spreads_and_an_even_map_stays() {
        let grid = Grid::new(9, 7);
        let mut point = vec![0.0; 63];
        point[3 * 9 + 4] = 1.0;
        let spread = smooth(&point, grid, 0.5).expect("sizes fit");
        let total: f32 = spread.iter().sum();
        assert!((total - 1.0).abs() < 1e-6 && spread[3 * 9 + 4] > spread[3 * 9 + 3]);
        assert_eq!((spread[3 * 9 + 3], spread[2 * 9 + 4]), (spread[3 * 9 + 5], spread[4 * 9 + 4]));
        for sigma in [0.0, -1.0, f64::NAN] {
            assert_eq!(smooth(&point, grid, sigma).as_deref(), Ok(&point[..]), "{sigma}");
        }
        let even = smooth(&[0.7; 63], grid, 3.0).expect("sizes fit");
        assert!(even.iter().all(|v| (v - 0.7).abs() < 1e-6), "also where the map is smaller than the window");
        assert!(smooth(&[0.0; 4], grid, 1.0).is_err() && smooth(&[], Grid::new(0, 3), 1.0).is_ok());
    }
}
