//! What stands between a convolution's raw output and what the next layer reads: [`Finish`]. Where it is one scale and shift per channel and
//! ReLU, whatever reads the map applies it on the way in; where each image has its own, or the rectifier leaks, the activation is written
//! out for as long as it is read.

use unet_kernels::{Element, Kernels, Map, MapMut, NormFold, NormGrads, NormState, NormSums, ShapeError};

use super::Stored;
use crate::NORM_EPS;
use crate::options::Norm;
use crate::unet::ConvNorm;

/// Norm and rectifier of a raw map.
#[derive(Clone, Debug)]
pub struct Finish {
    pub kind: Norm,
    /// What negative values are multiplied by: 0 is ReLU, 1 no rectifier.
    pub slope: f32,
    /// One for all images, or one for each.
    pub states: Vec<NormState>,
}

impl Finish {
    /// Of statistics over the batch, or of running ones.
    pub fn batch(state: NormState, slope: f32) -> Self {
        Self { kind: Norm::Batch, slope, states: vec![state] }
    }

    /// Of the statistics of the images of `y` themselves, or of none.
    pub fn of_images<T: Element>(
        kernels: &Kernels,
        (kind, slope): (Norm, f32),
        y: Map<'_, T>,
        affine: Option<(&[f32], &[f32])>,
    ) -> Self {
        let c = y.dims().c;
        let (ones, zeros) = (vec![1.0; c], vec![0.0; c]);
        let (gamma, beta) = affine.unwrap_or((&ones, &zeros));
        let state = |n| {
            let stats = kernels.batch_stats(y.image(n)).grouped(kind.groups(c));
            NormState::new(&stats.mean, &stats.var, gamma, beta, NORM_EPS)
        };
        let states = match kind {
            Norm::None => vec![NormState { mean: zeros.clone(), inv_std: ones.clone(), scale: ones, shift: zeros }],
            _ => (0..y.dims().n).map(state).collect(),
        };
        Self { kind, slope, states }
    }

    /// Whether a reader can apply it on the way in.
    pub fn folds(&self) -> bool {
        self.states.len() == 1 && self.slope == 0.0
    }

    /// Whether one fused kernel goes back through it.
    pub fn is_plain(&self) -> bool {
        self.kind == Norm::Batch && self.slope == 0.0
    }

    /// Whether all its numbers are finite.
    pub fn is_finite(&self) -> bool {
        self.states.iter().all(|s| s.scale.iter().chain(&s.shift).all(|v| v.is_finite()))
    }

    /// Backward, in place: `d` holds the gradient by the activation and receives that by the raw map `x`; sums over all images go to `grads`.
    pub fn backward<T: Element>(&self, kernels: &Kernels, x: Map<'_, T>, d: MapMut<'_, T>, grads: NormGrads<'_>) {
        let whole = self.states.len() == 1;
        let parts = if whole { vec![d] } else { d.into_images() };
        let (mut by_gamma, mut by_beta) = (vec![0.0f64; grads.gamma.len()], vec![0.0f64; grads.beta.len()]);
        for (n, (mut d, state)) in parts.into_iter().zip(&self.states).enumerate() {
            let x = if whole { x } else { x.image(n) };
            let sums = kernels.norm_leaky_sums(x, state, self.slope, d.as_map());
            self.add_sums(state, &sums, &mut by_gamma, &mut by_beta);
            let fold = match self.kind {
                Norm::None => NormFold::without(state.scale.len()),
                kind => NormFold::of_statistics(state, &sums, x.dims().pixels(), kind.groups(x.dims().c)),
            };
            kernels.norm_leaky_backward(x, state, self.slope, &fold, d.reborrow());
        }
        grads.gamma.iter_mut().zip(by_gamma).for_each(|(g, sum)| *g = sum as f32);
        grads.beta.iter_mut().zip(by_beta).for_each(|(g, sum)| *g = sum as f32);
    }

    fn add_sums(&self, state: &NormState, sums: &NormSums, by_gamma: &mut [f64], by_beta: &mut [f64]) {
        for c in 0..by_gamma.len() {
            by_gamma[c] += sums.grad_x[c] * f64::from(state.inv_std[c]);
            by_beta[c] += sums.grad[c];
        }
    }
}

/// How a map's readers get at its activation.
#[derive(Clone, Copy, PartialEq)]
pub enum Read {
    /// It lies as it is, or is made on the way in.
    Direct,
    /// It is raw, and made on the way in but for what needs a buffer of its own.
    Raw,
    /// It has to be written out.
    Written,
}

impl Read {
    /// That of a layer's output, for so many images: as [`Finish`] has it.
    pub fn of(layer: &ConvNorm, images: usize) -> Self {
        let one = images == 1 || matches!(layer.kind, Norm::Batch | Norm::None);
        if one && layer.slope == 0.0 { Self::Raw } else { Self::Written }
    }
}

impl<T: Element> Stored<T> {
    /// Writes the activation to `y`.
    pub fn activate(&self, kernels: &Kernels, y: MapMut<'_, T>) -> Result<(), ShapeError> {
        let x = self.map()?;
        match &self.norm {
            None => kernels.activate(x.into(), y, None),
            Some(f) if f.folds() => kernels.activate(self.source(None)?, y, None),
            Some(f) if f.states.len() == 1 => kernels.norm_leaky(x, f.states[0].affine(), f.slope, y),
            Some(f) => {
                for (n, (y, state)) in y.into_images().into_iter().zip(&f.states).enumerate() {
                    kernels.norm_leaky(x.image(n), state.affine(), f.slope, y);
                }
            }
        }
        Ok(())
    }
}
