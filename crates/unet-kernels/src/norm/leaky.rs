//! Norm and leaky rectifier written out as an activation, and back: for what a [`Source`](crate::Source) cannot fold into its reader,
//! statistics of each image (instance and group norm), a slope below zero, or no rectifier at all.
//!
//! A slope of 0 is ReLU (He et al. 2015 call other values leaky), 1 leaves values as they are. With x̂ = (x−μ)/σ, g the gradient behind
//! the rectifier, and m values that share their μ and σ (a channel, or the channels of a group, over the pixels of the map):
//! ∂β = Σg, ∂γ = Σ g·x̂, ∂x = (γ·g − Σγ·g/m − x̂·Σγ·g·x̂/m)/σ (Ioffe & Szegedy 2015; Wu & He 2018 with groups of channels).

use rayon::prelude::*;

use super::stats::spans;
use super::{BatchStats, NormState};
use crate::channels::{ByChannels, Group, Vs, each_group, pixels_to_pass, pixels_to_sum};
use crate::simd::{Simd, Vectorized};
use crate::{Affine, Element, Kernels, Map, MapMut};

/// Passes of all groups that one task makes.
pub(super) const PASSES: usize = 32;

/// Sums over the pixels of a map, per channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NormSums {
    /// Σg.
    pub grad: Vec<f64>,
    /// Σ g·(x−μ).
    pub grad_x: Vec<f64>,
}

/// What a norm's statistics add to the gradient of its input, per channel: slope·(x−μ) + offset beside scale·g.
#[derive(Clone, Debug, PartialEq)]
pub struct NormFold {
    slope: Vec<f32>,
    offset: Vec<f32>,
}

impl BatchStats {
    /// The same values parted into `groups` of neighbouring channels, which share mean and variance: each channel has its group's.
    ///
    /// # Panics
    /// The channels do not part evenly.
    pub fn grouped(&self, groups: usize) -> Self {
        let size = group_size(self.mean.len(), groups);
        let (mut mean, mut var) = (Vec::new(), Vec::new());
        for (means, vars) in self.mean.chunks(size).zip(self.var.chunks(size)) {
            let n = means.len() as f64;
            let centre = means.iter().map(|m| f64::from(*m)).sum::<f64>() / n;
            let spread = means.iter().zip(vars).map(|(m, v)| f64::from(*v) + (f64::from(*m) - centre).powi(2));
            let spread = spread.sum::<f64>() / n;
            mean.extend(means.iter().map(|_| centre as f32));
            var.extend(means.iter().map(|_| spread as f32));
        }
        Self { count: self.count * size, mean, var }
    }
}

/// Channels of a group.
fn group_size(channels: usize, groups: usize) -> usize {
    assert!(groups > 0 && channels.is_multiple_of(groups), "{channels} channels in {groups} groups");
    channels / groups
}

impl NormFold {
    /// Of statistics that were taken over `pixels` pixels, channels parted into `groups` (as many as there are for batch and instance norm).
    ///
    /// # Panics
    /// The channels do not part evenly.
    pub fn of_statistics(state: &NormState, sums: &NormSums, pixels: usize, groups: usize) -> Self {
        let channels = state.scale.len();
        let size = group_size(channels, groups);
        let values = (pixels * size) as f64;
        let mut fold = Self::without(channels);
        for first in (0..channels).step_by(size) {
            let group = first..first + size;
            let weighed = |of: &[f64]| group.clone().map(|c| f64::from(state.scale[c]) * of[c]).sum::<f64>() / values;
            // The scales are γ/σ, and σ is the group's: what is left of 1/σ is in the product with x−μ.
            let (grad, grad_x) = (weighed(&sums.grad), weighed(&sums.grad_x));
            for c in group.clone() {
                fold.slope[c] = (-grad_x * f64::from(state.inv_std[c]).powi(2)) as f32;
                fold.offset[c] = -grad as f32;
            }
        }
        fold
    }

    /// Of a scale and a shift that do not depend on the values.
    pub fn without(channels: usize) -> Self {
        Self { slope: vec![0.0; channels], offset: vec![0.0; channels] }
    }
}

impl Kernels {
    /// `y = leaky(scale[c]·x + shift[c])`, where negative values are multiplied by `slope`. A NaN stays one.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn norm_leaky<T: Element>(&self, x: Map<'_, T>, norm: Affine<'_>, slope: f32, y: MapMut<'_, T>) {
        T::norm_leaky(self, x, norm, slope, y);
    }

    pub(crate) fn norm_leaky_of<T: Element>(&self, x: Map<'_, T>, norm: Affine<'_>, slope: f32, y: MapMut<'_, T>) {
        assert_eq!(x.dims(), y.dims(), "values and activation");
        check(&[norm.scale, norm.shift], x.dims().c);
        let size = pixels_to_pass(x.dims().c) * PASSES;
        y.into_pieces(size).enumerate().for_each(|(i, y)| {
            let x = x.range(i * size..i * size + y.dims().pixels());
            self.run(Pass { pixels: 0..0, work: Forward { x, norm, slope, y } });
        });
    }

    /// The sums that the gradients by γ and β, and [`NormFold`], are made of. `dy` is the gradient by the activation of `x`.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn norm_leaky_sums<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        slope: f32,
        dy: Map<'_, T>,
    ) -> NormSums {
        T::norm_leaky_sums(self, x, state, slope, dy)
    }

    pub(crate) fn norm_leaky_sums_of<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        slope: f32,
        dy: Map<'_, T>,
    ) -> NormSums {
        let d = x.dims();
        assert_eq!(d, dy.dims(), "values and gradient");
        check(&[&state.mean, &state.scale, &state.shift], d.c);
        let size = pixels_to_sum(d.c);
        let parts: Vec<NormSums> = spans(d.pixels().div_ceil(size))
            .into_par_iter()
            .map(|blocks| {
                let mut sums = NormSums::new(d.c);
                for block in blocks {
                    let pixels = block * size..d.pixels().min((block + 1) * size);
                    let (x, dy) = (x.range(pixels.clone()), dy.range(pixels));
                    self.run(Summed(Sum { x, dy, state, slope, sums: &mut sums }));
                }
                sums
            })
            .collect();
        let mut total = NormSums::new(d.c);
        parts.iter().for_each(|part| total.add(part));
        total
    }

    /// Backward through rectifier and norm, in place: `dy` holds the gradient by the activation and receives that by `x`.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn norm_leaky_backward<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        slope: f32,
        fold: &NormFold,
        dy: MapMut<'_, T>,
    ) {
        T::norm_leaky_backward(self, x, state, slope, fold, dy);
    }

    pub(crate) fn norm_leaky_backward_of<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        slope: f32,
        fold: &NormFold,
        dy: MapMut<'_, T>,
    ) {
        assert_eq!(x.dims(), dy.dims(), "values and gradient");
        check(&[&state.mean, &state.scale, &state.shift, &fold.slope, &fold.offset], x.dims().c);
        let size = pixels_to_pass(x.dims().c) * PASSES;
        dy.into_pieces(size).enumerate().for_each(|(i, dy)| {
            let x = x.range(i * size..i * size + dy.dims().pixels());
            self.run(Pass { pixels: 0..0, work: Backward { x, state, slope, fold, dy } });
        });
    }
}

fn check(per_channel: &[&[f32]], channels: usize) {
    assert!(per_channel.iter().all(|v| v.len() == channels), "a value for each of {channels} channels");
}

impl NormSums {
    fn new(channels: usize) -> Self {
        Self { grad: vec![0.0; channels], grad_x: vec![0.0; channels] }
    }

    fn add(&mut self, other: &Self) {
        self.grad.iter_mut().zip(&other.grad).for_each(|(a, b)| *a += b);
        self.grad_x.iter_mut().zip(&other.grad_x).for_each(|(a, b)| *a += b);
    }
}

/// `v` where it is above zero, else `slope·v`.
#[inline(always)]
pub(super) fn leaky<S: Simd, const G: usize, const PART: bool>(
    g: Group<S, G, PART>,
    slope: Vs<S, G>,
    v: Vs<S, G>,
) -> Vs<S, G> {
    g.select_positive(v, v, g.mul(slope, v))
}

/// Work on pixels, a few at a time, each group of channels passing over them anew.
pub(super) trait Pixelwise {
    fn dims(&self) -> crate::Dims;
    fn group<S: Simd, const G: usize, const PART: bool>(
        &mut self,
        g: Group<S, G, PART>,
        pixels: std::ops::Range<usize>,
    );
}

pub(super) struct Pass<W> {
    pub pixels: std::ops::Range<usize>,
    pub work: W,
}

impl<W: Pixelwise> Vectorized for Pass<W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let dims = self.work.dims();
        let size = pixels_to_pass(dims.c);
        for start in (0..dims.w).step_by(size) {
            self.pixels = start..dims.w.min(start + size);
            each_group(s, dims.c, &mut self);
        }
    }
}

impl<W: Pixelwise> ByChannels for Pass<W> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        self.work.group(g, self.pixels.clone());
    }
}

struct Forward<'a, T> {
    x: Map<'a, T>,
    norm: Affine<'a>,
    slope: f32,
    y: MapMut<'a, T>,
}

impl<T: Element> Pixelwise for Forward<'_, T> {
    fn dims(&self) -> crate::Dims {
        self.x.dims()
    }

    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(
        &mut self,
        g: Group<S, G, PART>,
        pixels: std::ops::Range<usize>,
    ) {
        let (scale, shift, slope) = (g.constants(self.norm.scale), g.constants(self.norm.shift), g.splat(self.slope));
        for p in pixels {
            g.store(&mut self.y, p, leaky(g, slope, g.fma(scale, g.load(&self.x, p), shift)));
        }
    }
}

struct Backward<'a, T> {
    x: Map<'a, T>,
    state: &'a NormState,
    slope: f32,
    fold: &'a NormFold,
    dy: MapMut<'a, T>,
}

impl<T: Element> Pixelwise for Backward<'_, T> {
    fn dims(&self) -> crate::Dims {
        self.x.dims()
    }

    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(
        &mut self,
        g: Group<S, G, PART>,
        pixels: std::ops::Range<usize>,
    ) {
        let (scale, shift) = (g.constants(&self.state.scale), g.constants(&self.state.shift));
        let (mean, leak) = (g.constants(&self.state.mean), g.splat(self.slope));
        let (slope, offset) = (g.constants(&self.fold.slope), g.constants(&self.fold.offset));
        for p in pixels {
            let (x, dy) = (g.load(&self.x, p), g.load_mut(&self.dy, p));
            let grad = g.select_positive(g.fma(scale, x, shift), dy, g.mul(leak, dy));
            let rest = g.fma(slope, g.sub(x, mean), offset);
            g.store(&mut self.dy, p, g.fma(scale, grad, rest));
        }
    }
}

/// One block's share of the sums.
struct Sum<'a, T> {
    x: Map<'a, T>,
    dy: Map<'a, T>,
    state: &'a NormState,
    slope: f32,
    sums: &'a mut NormSums,
}

struct Summed<'a, T>(Sum<'a, T>);

impl<T: Element> Vectorized for Summed<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let channels = self.0.x.dims().c;
        each_group(s, channels, &mut self.0);
    }
}

impl<T: Element> ByChannels for Sum<'_, T> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let (scale, shift) = (g.constants(&self.state.scale), g.constants(&self.state.shift));
        let (mean, leak) = (g.constants(&self.state.mean), g.splat(self.slope));
        let (mut grad, mut grad_x) = (g.zero(), g.zero());
        for p in 0..self.x.dims().pixels() {
            let (x, dy) = (g.load(&self.x, p), g.load(&self.dy, p));
            let d = g.select_positive(g.fma(scale, x, shift), dy, g.mul(leak, dy));
            grad = g.add(grad, d);
            grad_x = g.fma(d, g.sub(x, mean), grad_x);
        }
        g.add_to(&mut self.sums.grad, grad);
        g.add_to(&mut self.sums.grad_x, grad_x);
    }
}
