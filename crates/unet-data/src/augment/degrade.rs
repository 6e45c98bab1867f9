//! Blur, low resolution and coarse dropout: what a worse microscope would have made of a patch, never of its mask.

use rand::Rng;
use unet_kernels::{Dims, Kernels, Map, MapMut, ShapeError};

/// Gaussian blur of `sigma` pixels, mirrored at the borders.
pub(super) fn blur(kernels: Kernels, values: &mut [f32], dims: Dims, sigma: f32) -> Result<(), ShapeError> {
    let sharp = values.to_vec();
    kernels.gaussian_blur(Map::new(&sharp, dims)?, sigma, MapMut::new(values, dims)?);
    Ok(())
}

/// Every `factor`-th pixel, enlarged again, bicubic, and within the range of the values there were.
pub(super) fn reduce(kernels: Kernels, values: &mut [f32], dims: Dims, factor: f32) -> Result<(), ShapeError> {
    let small = |side: usize| ((side as f32 / factor).round() as usize).clamp(1, side);
    let reduced = Dims::new(1, small(dims.h), small(dims.w), dims.c);
    // Pixel i of the small image is the one in the middle of those that it stands for.
    let middle = |i: usize, side: usize, of: usize| ((2 * i + 1) * side / (2 * of)).min(side - 1);
    let columns: Vec<usize> = (0..reduced.w).map(|x| middle(x, dims.w, reduced.w) * dims.c).collect();
    let mut few = Vec::with_capacity(reduced.len());
    for y in 0..reduced.h {
        let row = &values[middle(y, dims.h, reduced.h) * dims.w * dims.c..];
        match dims.c {
            1 => few.extend(columns.iter().map(|&x| row[x])),
            c => columns.iter().for_each(|&x| few.extend_from_slice(&row[x..x + c])),
        }
    }
    kernels.magnify(Map::new(&few, reduced)?, MapMut::new(values, dims)?);
    Ok(())
}

/// 1 to `most` rectangles with sides of up to `size` of the patch's take the mean of each channel.
pub(super) fn drop_out(kernels: Kernels, values: &mut [f32], dims: Dims, most: u32, size: f32, rng: &mut impl Rng) {
    let pixels = dims.pixels().max(1) as f64;
    let mean = |c: usize| values.iter().skip(c).step_by(dims.c).map(|&v| f64::from(v)).sum::<f64>() / pixels;
    let means: Vec<f32> = match dims.c {
        1 => vec![kernels.mean(values) as f32],
        c => (0..c).map(|c| mean(c) as f32).collect(),
    };
    for _ in 0..rng.random_range(1..=most) {
        let mut span = |side: usize| {
            let length = ((rng.random::<f32>() * size * side as f32).ceil() as usize).clamp(1, side);
            let start = rng.random_range(0..=(side - length) as u64) as usize;
            start..start + length
        };
        let (rows, columns) = (span(dims.h), span(dims.w));
        for y in rows {
            for x in columns.clone() {
                let at = (y * dims.w + x) * dims.c;
                values[at..at + dims.c].copy_from_slice(&means);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::random::{Purpose, rng};

    #[test]
    fn a_reduced_ramp_stays_a_ramp_and_a_checkerboard_is_lost() {
        let dims = Dims::new(1, 40, 60, 2);
        let ramp: Vec<f32> = (0..2400).flat_map(|i| [(i % 60) as f32, (i / 60) as f32]).collect();
        let mut reduced = ramp.clone();
        reduce(Kernels::detect(), &mut reduced, dims, 3.0).unwrap();
        for y in 6..34 {
            for x in 6..54 {
                for c in 0..2 {
                    let at = (y * 60 + x) * 2 + c;
                    // Half a pixel for the nearest one that was kept; cubic weights add up to at most 1.25 in size.
                    assert!((reduced[at] - ramp[at]).abs() <= 0.625, "({x}, {y}) {}: {}", ramp[at], reduced[at]);
                }
            }
        }
        let mut board: Vec<f32> = (0..2400).flat_map(|i| [((i % 60 + i / 60) % 2) as f32; 2]).collect();
        let before = board.clone();
        reduce(Kernels::detect(), &mut board, dims, 2.0).unwrap();
        assert_ne!(board, before);
        assert!(board.iter().all(|v| (0.0..=1.0).contains(v)));
        let mut one = vec![3.0];
        reduce(Kernels::detect(), &mut one, Dims::new(1, 1, 1, 1), 9.0).unwrap();
        assert_eq!(one, [3.0]);
    }

    #[test]
    fn holes_take_the_mean_and_cover_no_more_than_asked() {
        let dims = Dims::new(1, 50, 50, 1);
        let values: Vec<f32> = (0..2500).map(|i| (i % 2) as f32).collect();
        for seed in 0..30 {
            let mut dropped = values.clone();
            drop_out(Kernels::detect(), &mut dropped, dims, 3, 0.2, &mut rng(seed, 0, 0, Purpose::Augment));
            let holes = dropped.iter().filter(|&&v| v == 0.5).count();
            assert!((1..=300).contains(&holes), "{holes}");
            assert!(dropped.iter().zip(&values).all(|(d, v)| *d == 0.5 || d == v));
        }
    }
}
