//! Elastic deformation: random displacements on a coarse grid, bicubic between its points (Ronneberger et al. 2015, §3.1), or drawn for
//! every pixel and smoothed (Simard et al. 2003).

use rand::Rng;
use unet_kernels::{Bend, Dims, Kernels, Map, MapMut, ShapeError};

use super::quick_normal;
use crate::random::normal;

/// A smooth displacement field over an output of given size, in pixels: bicubic between the points of a grid, worked out along the rows
/// once, so that a row of it is four of these mixed.
#[derive(Debug, Clone)]
pub(super) struct Field {
    width: usize,
    spacing: f32,
    /// Displacements along x of the grid's rows, (grid rows, width).
    x: Vec<f32>,
    /// Displacements along y.
    y: Vec<f32>,
}

/// Displacements (dx, dy) of grid points, row-major.
struct Nodes {
    columns: usize,
    values: Vec<[f32; 2]>,
}

impl Nodes {
    /// As many as an output of that size needs, drawn one by one.
    fn draw((width, height): (usize, usize), spacing: f32, mut draw: impl FnMut() -> f32) -> Self {
        let points = |n: usize| (n as f32 / spacing).ceil() as usize + 4;
        let (columns, rows) = (points(width), points(height));
        let values = (0..columns * rows).map(|_| [draw(), draw()]).collect();
        Self { columns, values }
    }
}

impl Field {
    /// Displacements with standard deviation `sigma` pixels on a grid of `spacing` pixels.
    pub(super) fn draw(out: (usize, usize), spacing: f32, sigma: f32, rng: &mut impl Rng) -> Self {
        Self::of(&Nodes::draw(out, spacing, || sigma * normal(rng)), out.0, spacing)
    }

    /// Displacements with standard deviation `sigma` pixels, white noise smoothed by a Gaussian of `smoothing` pixels.
    ///
    /// What is smooth over many pixels is worked out on a grid a third as coarse as the Gaussian is wide, and bicubic between.
    pub(super) fn dense(
        kernels: Kernels,
        out: (usize, usize),
        sigma: f32,
        smoothing: f32,
        rng: &mut impl Rng,
    ) -> Result<Self, ShapeError> {
        let spacing = (smoothing / 3.0).floor().max(1.0);
        let mut nodes = Nodes::draw(out, spacing, || quick_normal(rng));
        let dims = Dims::new(1, nodes.values.len() / nodes.columns, nodes.columns, 2);
        let mut smooth = vec![0.0; dims.len()];
        let width = smoothing / spacing;
        let noise = Map::new(nodes.values.as_flattened(), dims)?;
        kernels.gaussian_blur(noise, width, MapMut::new(&mut smooth, dims)?);
        // White noise of deviation 1 has deviation Σ w² after weights w along both axes.
        let bell = |k: i32| (-0.5 * (k as f32 / width).powi(2)).exp();
        let radius = (4.0 * width + 0.5) as i32;
        let total: f32 = (-radius..=radius).map(bell).sum();
        let deviation: f32 = (-radius..=radius).map(|k| (bell(k) / total).powi(2)).sum();
        let scale = sigma / deviation;
        nodes.values = smooth.as_chunks::<2>().0.iter().map(|&[x, y]| [scale * x, scale * y]).collect();
        Ok(Self::of(&nodes, out.0, spacing))
    }

    fn of(nodes: &Nodes, width: usize, spacing: f32) -> Self {
        let taps: Vec<(usize, [f32; 4])> = (0..width).map(|x| tap(x, spacing)).collect();
        let wide = |axis: usize| -> Vec<f32> {
            let mut wide = Vec::with_capacity(nodes.values.len() / nodes.columns * width);
            for row in nodes.values.chunks_exact(nodes.columns) {
                wide.extend(taps.iter().map(|&(first, [a, b, c, d])| match row[first..].first_chunk() {
                    Some([p, q, r, s]) => a * p[axis] + b * q[axis] + c * r[axis] + d * s[axis],
                    None => 0.0, // a grid reaches four points beyond its output
                }));
            }
            wide
        };
        Self { width, spacing, x: wide(0), y: wide(1) }
    }

    /// The displacements of output row `y`.
    pub(super) fn row(&self, y: usize) -> Bend<'_> {
        let (first, weights) = tap(y, self.spacing);
        let rows = [first, first + 1, first + 2, first + 3].map(|row| row * self.width..(row + 1) * self.width);
        Bend { x: rows.clone().map(|row| &self.x[row]), y: rows.map(|row| &self.y[row]), weights }
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
    use unet_kernels::Line;

    use super::*;
    use crate::random::{Purpose, rng};

    fn values(field: &Field, y: usize) -> Vec<(f32, f32)> {
        let (mut x, mut down) = (vec![0.0; field.width], vec![0.0; field.width]);
        let nowhere = Line { start: (0.0, 0.0), step: (0.0, 0.0) };
        Kernels::detect().place_row(nowhere, &[field.row(y)], &mut x, &mut down);
        x.into_iter().zip(down).collect()
    }

    #[test]
    fn weights_sum_to_one_and_grid_points_keep_their_displacement() {
        for i in 0..100 {
            let sum: f32 = tap(i, 7.3).1.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5);
        }
        let mut r = rng(1, 0, 0, Purpose::Augment);
        let nodes = Nodes::draw((33, 17), 8.0, || normal(&mut r));
        let row = values(&Field::of(&nodes, 33, 8.0), 8); // grid row 1 + 1 (the first row is the margin)
        for (k, x) in (0..33).step_by(8).enumerate() {
            let node = nodes.values[2 * nodes.columns + k + 1];
            assert!((row[x].0 - node[0]).abs() < 1e-5 && (row[x].1 - node[1]).abs() < 1e-5);
        }
    }

    #[test]
    fn smoothed_displacements_have_the_asked_size_and_vary_slowly() {
        for smoothing in [2.0, 7.0, 9.0, 30.0] {
            // A wide Gaussian leaves few independent places in an image: several images.
            let (mut squares, mut steepest) = (0.0, 0.0f32);
            for seed in 0..6 {
                let mut r = rng(seed, 0, 0, Purpose::Augment);
                let field = Field::dense(Kernels::detect(), (600, 400), 4.0, smoothing, &mut r).expect("a field");
                for row in (0..400).map(|y| values(&field, y)) {
                    squares += row.iter().map(|p| f64::from(p.0).powi(2) + f64::from(p.1).powi(2)).sum::<f64>();
                    steepest = row.windows(2).map(|p| (p[1].0 - p[0].0).abs()).fold(steepest, f32::max);
                }
            }
            let std = (squares / (2.0 * 6.0 * 600.0 * 400.0)).sqrt();
            assert!((std - 4.0).abs() < 0.1 + f64::from(smoothing) / 100.0, "{smoothing}: {std}");
            assert!(steepest < 5.5 * 4.0 / smoothing, "{smoothing}: {steepest}");
        }
    }

    #[test]
    fn displacements_have_the_asked_size() {
        // Spaced by one pixel, the grid's points are all there is.
        let field = Field::draw((256, 256), 1.0, 3.0, &mut rng(2, 0, 0, Purpose::Augment));
        let all: Vec<f32> = (0..256).flat_map(|y| values(&field, y)).map(|p| p.0 * p.0).collect();
        let std = (all.iter().sum::<f32>() / all.len() as f32).sqrt();
        assert!((std - 3.0).abs() < 0.1, "{std}");
    }
}
