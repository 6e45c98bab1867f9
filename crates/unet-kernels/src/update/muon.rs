//! Muon (Jordan et al. 2024): momentum, made orthogonal as a matrix by five Newton–Schulz iterations. `torch.optim.Muon` in f32, where
//! PyTorch iterates in bf16.

use rayon::prelude::*;

use super::complement;
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

/// Coefficients of the quintic iteration, chosen for the largest slope at zero.
const A: f32 = 3.4445;
const B: f32 = -4.775;
const C: f32 = 2.0315;
/// Iterations.
const ITERATIONS: usize = 5;
/// The least norm that is divided by.
const LEAST_NORM: f64 = 1e-7;
/// Rows of the product that are worked on side by side, and columns at a time.
const ROWS: usize = 4;
const COLUMNS: usize = 32;

/// Muon's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// Step size; the update is scaled by √max(1, rows/columns) on top.
    pub lr: f32,
    /// Decay of the momentum, an average: `buffer += (1 − momentum)·(gradient − buffer)`.
    pub momentum: f32,
    /// Whether to look ahead along the momentum.
    pub nesterov: bool,
    /// Times lr times the parameter, subtracted from it.
    pub weight_decay: f32,
}

impl Kernels {
    /// One step in place of a matrix of `rows` rows. `buffer` starts as zeros.
    ///
    /// # Panics
    /// Lengths differ, or are no multiple of `rows`.
    pub fn muon(&self, h: Muon, rows: usize, param: &mut [f32], grad: &[f32], buffer: &mut [f32]) {
        assert!(param.len() == grad.len() && param.len() == buffer.len(), "lengths of parameter, gradient and buffer");
        assert!(rows > 0 && param.len().is_multiple_of(rows), "{} values in {rows} rows", param.len());
        let rest = complement(h.momentum);
        let mut update = Vec::with_capacity(grad.len());
        for (b, g) in buffer.iter_mut().zip(grad) {
            *b += rest * (g - *b);
            update.push(if h.nesterov { g + h.momentum * (*b - g) } else { *b });
        }
        self.orthogonalize(rows, &mut update);
        let columns = param.len() / rows;
        let scale = (rows as f64 / columns.max(1) as f64).max(1.0).sqrt();
        let size = (f64::from(h.lr) * scale) as f32;
        let keep = (1.0 - f64::from(h.lr) * f64::from(h.weight_decay)) as f32;
        param.iter_mut().zip(&update).for_each(|(p, u)| *p = *p * keep - size * u);
    }

    /// Replaces a matrix of `rows` rows by one with the same singular vectors and singular values near 1.
    fn orthogonalize(&self, rows: usize, values: &mut [f32]) {
        let columns = values.len() / rows;
        let norm = self.sum_of_squares(values).sqrt().max(LEAST_NORM);
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        // The iteration works on the side that makes the smaller square.
        let tall = rows > columns;
        let (m, n) = if tall { (columns, rows) } else { (rows, columns) };
        let mut x = if tall { transposed(values, rows) } else { values.to_vec() };
        for _ in 0..ITERATIONS {
            let gram = self.product(&x, &transposed(&x, m), m); // X·Xᵀ: (m, m)
            let mut polynomial = self.product(&gram, &gram, m);
            polynomial.iter_mut().zip(&gram).for_each(|(square, g)| *square = B * g + C * *square);
            let moved = self.product(&polynomial, &x, m); // (m, n)
            x.iter_mut().zip(&moved).for_each(|(x, moved)| *x = A * *x + moved);
        }
        debug_assert_eq!(x.len(), m * n);
        values.copy_from_slice(&if tall { transposed(&x, m) } else { x });
    }

    /// The product of `a`, with `rows` rows, and `b`, both row by row. Each value is summed in the order of the inner index, so that its
    /// bits depend on neither the threads nor the tier.
    fn product(&self, a: &[f32], b: &[f32], rows: usize) -> Vec<f32> {
        let inner = a.len() / rows;
        let columns = b.len() / inner;
        let mut out = vec![0.0; rows * columns];
        out.par_chunks_mut(ROWS * columns).zip(a.par_chunks(ROWS * inner)).for_each(|(out, a)| {
            self.run(Product { a, b, inner, columns, out });
        });
        out
    }
}

/// A few rows of a product.
struct Product<'a> {
    a: &'a [f32],
    b: &'a [f32],
    inner: usize,
    columns: usize,
    out: &'a mut [f32],
}

impl Vectorized for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { a, b, inner, columns, out } = self;
        let rows = a.len() / inner;
        for start in (0..columns).step_by(COLUMNS) {
            let width = COLUMNS.min(columns - start);
            let mut sums = [[0.0f32; COLUMNS]; ROWS];
            for k in 0..inner {
                let from = &b[k * columns + start..][..width];
                let mut lanes = [0.0f32; COLUMNS];
                lanes[..width].copy_from_slice(from);
                for r in 0..rows {
                    let factor = a[r * inner + k];
                    for (sum, v) in sums[r].iter_mut().zip(&lanes) {
                        *sum += factor * v;
                    }
                }
            }
            for r in 0..rows {
                out[r * columns + start..][..width].copy_from_slice(&sums[r][..width]);
            }
        }
    }
}

/// The transpose of a matrix of `rows` rows.
fn transposed(values: &[f32], rows: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    let mut out = vec![0.0; values.len()];
    out.par_chunks_mut(rows.max(1)).enumerate().for_each(|(c, column)| {
        column.iter_mut().enumerate().for_each(|(r, v)| *v = values[r * columns + c]);
    });
    out
}
