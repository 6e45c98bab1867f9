//! Muon (Jordan et al. 2024): momentum, made orthogonal as a matrix by five Newton–Schulz iterations. `torch.optim.Muon` in f32, where
//! PyTorch iterates in bf16.
//!
//! The iteration X ← (a·I + b·G + c·G²)·X with G = X·Xᵀ works on the smaller square alone: its polynomials P commute with G, so that
//! the next G is P·G·P, and what all iterations do to X is the product of their polynomials. X itself is read twice, for the first G and at
//! the end. A matrix of m × 9m takes 44 m³ multiply-adds so, and 190 m³ step by step.

use rayon::prelude::*;

use super::matrix::{Square, View};
use super::{CHUNK, complement};
use crate::Kernels;
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};

/// Coefficients of the quintic iteration, chosen for the largest slope at zero: of X, G·X and G²·X.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// Iterations.
const ITERATIONS: usize = 5;
/// The least norm that is divided by.
const LEAST_NORM: f64 = 1e-7;

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
    /// One step in place of a matrix of `rows` rows. `buffer` starts as zeros. Bits do not depend on the threads; from tier to tier they do,
    /// by the rounding of multiply-adds.
    ///
    /// # Panics
    /// Lengths differ, or are no multiple of `rows`.
    pub fn muon(&self, h: Muon, rows: usize, param: &mut [f32], grad: &[f32], buffer: &mut [f32]) {
        assert!(param.len() == grad.len() && param.len() == buffer.len(), "lengths of parameter, gradient and buffer");
        assert!(rows > 0 && param.len().is_multiple_of(rows), "{} values in {rows} rows", param.len());
        let columns = param.len() / rows;
        if columns == 0 {
            return;
        }
        let mut update = Scratch::take(grad.len());
        let chunks = update.par_chunks_mut(CHUNK).zip(buffer.par_chunks_mut(CHUNK)).zip(grad.par_chunks(CHUNK));
        chunks.for_each(|((update, buffer), grad)| self.run(Momentum { h, update, buffer, grad }));
        let norm = self.sum_of_squares(&update).sqrt().max(LEAST_NORM);
        update.par_chunks_mut(CHUNK).for_each(|values| self.run(Normalize { values, norm }));

        let scale = (rows as f64 / columns as f64).max(1.0).sqrt();
        let size = (f64::from(h.lr) * scale) as f32;
        let keep = (1.0 - f64::from(h.lr) * f64::from(h.weight_decay)) as f32;
        let x = View::dense(&update, rows, columns);
        let tall = rows > columns;
        let q = self.polynomials(if tall { x.turned() } else { x });
        let (a, b) = if tall { (x, q.view()) } else { (q.view(), x) };
        self.product_into(a, b, param, |param, update| {
            param.iter_mut().zip(update).for_each(|(p, u)| *p = *p * keep - size * u);
        });
    }

    /// The matrix that brings the singular values of `x`, which is wider than high, near to 1: the product of all iterations' polynomials.
    fn polynomials(&self, x: View<'_>) -> Square {
        let mut g = self.symmetric_product(x, x.turned());
        let mut all: Option<Square> = None;
        for left in (0..ITERATIONS).rev() {
            let squared = self.symmetric_product(g.view(), g.view());
            let p = g.polynomial(COEFFICIENTS, squared);
            if left > 0 {
                let pg = self.symmetric_product(p.view(), g.view());
                g = self.symmetric_product(pg.view(), p.view());
            }
            all = Some(match all {
                None => p,
                Some(q) => self.symmetric_product(p.view(), q.view()),
            });
        }
        all.unwrap_or(g)
    }
}

/// The direction to go, before it is made orthogonal.
struct Momentum<'a> {
    h: Muon,
    update: &'a mut [f32],
    buffer: &'a mut [f32],
    grad: &'a [f32],
}

impl Vectorized for Momentum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let rest = complement(self.h.momentum);
        for ((u, b), g) in self.update.iter_mut().zip(self.buffer).zip(self.grad) {
            *b += rest * (g - *b);
            *u = if self.h.nesterov { g + self.h.momentum * (*b - g) } else { *b };
        }
    }
}

struct Normalize<'a> {
    values: &'a mut [f32],
    norm: f64,
}

impl Vectorized for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for v in self.values {
            *v = (f64::from(*v) / self.norm) as f32;
        }
    }
}
