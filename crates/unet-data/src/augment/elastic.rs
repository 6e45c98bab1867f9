//! Elastic deformation: random displacements on a coarse grid, bicubic between its points (Ronneberger et al. 2015, §3.1), or drawn for
//! every pixel and smoothed (Simard et al. 2003).

use rand::Rng;
use unet_kernels::{Dims, Kernels, Map, MapMut, ShapeError};

use crate::random::normal;

/// A smooth displacement field over an output of given size.
#[derive(Debug, Clone)]
pub(super) struct Field {
    columns: usize,
    spacing: f32,
    /// Displacements (dx, dy) in pixels of the grid points, row-major.
    nodes: Vec<(f32, f32)>,
    /// Per output column: first grid column and the four cubic weights.
    taps: Vec<(usize, [f32; 4])>,
}

impl Field {
    /// Displacements with standard deviation `sigma` pixels on a grid of `spacing` pixels.
    pub(super) fn draw((width, height): (usize, usize), spacing: f32, sigma: f32, rng: &mut impl Rng) -> Self {
        let points = |n: usize| (n as f32 / spacing).ceil() as usize + 4;
        let (columns, rows) = (points(width), points(height));
        let nodes = (0..columns * rows).map(|_| (sigma * normal(rng), sigma * normal(rng))).collect();
        let taps = (0..width).map(|x| tap(x, spacing)).collect();
        Self { columns, spacing, nodes, taps }
    }

    /// Displacements with standard deviation `sigma` pixels, white noise smoothed by a Gaussian of `smoothing` pixels.
    ///
    /// What is smooth over many pixels is worked out on a grid a quarter as coarse as the Gaussian is wide, and bicubic between.
    pub(super) fn dense(
        kernels: Kernels,
        out: (usize, usize),
        sigma: f32,
        smoothing: f32,
        rng: &mut impl Rng,
    ) -> Result<Self, ShapeError> {
        let spacing = (smoothing / 4.0).floor().max(1.0);
        let mut field = Self::draw(out, spacing, 1.0, rng);
        let noise: Vec<f32> = field.nodes.iter().flat_map(|&(x, y)| [x, y]).collect();
        let dims = Dims::new(1, noise.len() / 2 / field.columns, field.columns, 2);
        let mut smooth = vec![0.0; noise.len()];
        let width = smoothing / spacing;
        kernels.gaussian_blur(Map::new(&noise, dims)?, width, MapMut::new(&mut smooth, dims)?);
        // White noise of deviation 1 has deviation Σ w² after weights w along both axes.
        let bell = |k: i32| (-0.5 * (k as f32 / width).powi(2)).exp();
        let radius = (4.0 * width + 0.5) as i32;
        let total: f32 = (-radius..=radius).map(bell).sum();
        let deviation: f32 = (-radius..=radius).map(|k| (bell(k) / total).powi(2)).sum();
        let scale = sigma / deviation;
        field.nodes = smooth.as_chunks::<2>().0.iter().map(|&[x, y]| (scale * x, scale * y)).collect();
        Ok(field)
    }

    /// The displacements of output row `y`, added to `out`.
    pub(super) fn row(&self, y: usize, out: &mut [(f32, f32)]) {
        let (first, weights) = tap(y, self.spacing);
        let mut line = vec![(0.0, 0.0); self.columns];
        for (k, weight) in weights.into_iter().enumerate() {
            let nodes = self.nodes.iter().skip((first + k) * self.columns);
            for (sum, node) in line.iter_mut().zip(nodes) {
                *sum = (sum.0 + weight * node.0, sum.1 + weight * node.1);
            }
        }
        for (value, (first, [a, b, c, d])) in out.iter_mut().zip(&self.taps) {
            let Some(&[p, q, r, s]) = line[*first..].first_chunk() else { continue };
            value.0 = value.0 + a * p.0 + b * q.0 + c * r.0 + d * s.0;
            value.1 = value.1 + a * p.1 + b * q.1 + c * r.1 + d * s.1;
        }
    }
}

/// First of the four grid points around pixel `i`, and their Catmull-Rom weights.
fn tap(i: usize, spacing: f32) -> (usize, [f32; 4]) {
    let at = i as f32 / spacing;
    let first = at.floor();
    let t = at - first;
    let (t2, t3) = (t * t, t * t * t);
    let weights = [
        0.5 * (-t3 + 2.0 * t2 - t),
        0.5 * (3.0 * t3 - 5.0 * t2 + 2.0),
        0.5 * (-3.0 * t3 + 4.0 * t2 + t),
        0.5 * (t3 - t2),
    ];
    (first as usize, weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, rng};

    #[test]
    fn weights_sum_to_one_and_grid_points_keep_their_displacement() {
        for i in 0..100 {
            let sum: f32 = tap(i, 7.3).1.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5);
        }
        let field = Field::draw((33, 17), 8.0, 3.0, &mut rng(1, 0, 0, Purpose::Augment));
        let mut row = vec![(0.0, 0.0); 33];
        field.row(8, &mut row); // grid row 1 + 1 (the first row is the margin)
        for (k, x) in (0..33).step_by(8).enumerate() {
            let node = field.nodes[2 * field.columns + k + 1];
            assert!((row[x].0 - node.0).abs() < 1e-5 && (row[x].1 - node.1).abs() < 1e-5);
        }
    }

    #[test]
    fn smoothed_displacements_have_the_asked_size_and_vary_slowly() {
        for smoothing in [2.0, 9.0, 30.0] {
            let mut r = rng(5, 0, 0, Purpose::Augment);
            let field = Field::dense(Kernels::detect(), (600, 400), 4.0, smoothing, &mut r).expect("a field");
            let mut rows = vec![vec![(0.0f32, 0.0f32); 600]; 400];
            rows.iter_mut().enumerate().for_each(|(y, row)| field.row(y, row));
            let all = || rows.iter().flatten().map(|p| f64::from(p.0));
            let std = (all().map(|v| v * v).sum::<f64>() / all().count() as f64).sqrt();
            let tolerance = 0.1 + f64::from(smoothing) / 40.0; // few independent places where the Gaussian is wide
            assert!((std - 4.0).abs() < tolerance, "{smoothing}: {std}");
            let steepest = rows.iter().flat_map(|r| r.windows(2)).map(|p| (p[1].0 - p[0].0).abs()).fold(0.0, f32::max);
            assert!(steepest < 5.0 * 4.0 / smoothing, "{smoothing}: {steepest}");
        }
    }

    #[test]
    fn displacements_have_the_asked_size() {
        let field = Field::draw((512, 512), 4.0, 3.0, &mut rng(2, 0, 0, Purpose::Augment));
        let n = field.nodes.len() as f32;
        let std = (field.nodes.iter().map(|p| p.0 * p.0).sum::<f32>() / n).sqrt();
        assert!((std - 3.0).abs() < 0.1, "{std}");
    }
}
