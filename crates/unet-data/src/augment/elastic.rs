//! Elastic deformation: random displacements on a coarse grid, bicubic between its points (Ronneberger et al. 2015, §3.1).

use rand::Rng;

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

    /// The displacements of output row `y`, written over `out`.
    pub(super) fn row(&self, y: usize, out: &mut [(f32, f32)]) {
        let (first, weights) = tap(y, self.spacing);
        let mut line = vec![(0.0, 0.0); self.columns];
        for (k, weight) in weights.into_iter().enumerate() {
            let nodes = self.nodes.iter().skip((first + k) * self.columns);
            for (sum, node) in line.iter_mut().zip(nodes) {
                *sum = (sum.0 + weight * node.0, sum.1 + weight * node.1);
            }
        }
        for (value, (first, weights)) in out.iter_mut().zip(&self.taps) {
            *value = weights.iter().zip(&line[*first..]).fold((0.0, 0.0), |s, (w, n)| (s.0 + w * n.0, s.1 + w * n.1));
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
    fn displacements_have_the_asked_size() {
        let field = Field::draw((512, 512), 4.0, 3.0, &mut rng(2, 0, 0, Purpose::Augment));
        let n = field.nodes.len() as f32;
        let std = (field.nodes.iter().map(|p| p.0 * p.0).sum::<f32>() / n).sqrt();
        assert!((std - 3.0).abs() < 0.1, "{std}");
    }
}
