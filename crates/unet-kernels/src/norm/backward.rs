//! Backward through ReLU and batch norm with batch statistics: one pass that sums, one that writes. The ReLU's mask is worked out
//! anew from the raw input, and the gradient that comes through a 2×2 max-pool is put in its place on the way, in both passes, so
//! that neither needs memory or a pass of its own.
//!
//! With x̂ = (x−μ)/σ, g the gradient behind the ReLU and n the pixels: ∂β = Σg, ∂γ = Σ g·x̂,
//! ∂x = γ/σ·(g − ∂β/n − x̂·∂γ/n).

use std::ops::Range;

use rayon::prelude::*;

use super::stats::spans;
use super::{NormGrads, NormState};
use crate::channels::{ByChannels, Group, Vs, each_group, pixels_to_pass, pixels_to_sum};
use crate::pool::route;
use crate::simd::{Simd, Vectorized};
use crate::{Dims, Element, Kernels, Map, MapMut};

impl Kernels {
    /// Backward through ReLU and batch norm with batch statistics, in place: `dz` holds the gradient by the activation and
    /// receives that by the raw convolution output `x` (Ioffe & Szegedy 2015).
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn norm_relu_backward<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        dz: MapMut<'_, T>,
        grads: NormGrads<'_>,
    ) {
        T::norm_backward(self, x, state, None, dz, grads);
    }

    /// As [`Self::norm_relu_backward`] where the activation was also max-pooled: `dpool`, the gradient by the 2×2 maxima, is
    /// added to `dz` first, at the first maximum of each block, as [`Self::max_pool_backward`] would, in the same two passes.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn norm_relu_pool_backward<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        dpool: Option<Map<'_, T>>,
        dz: MapMut<'_, T>,
        grads: NormGrads<'_>,
    ) {
        T::norm_backward(self, x, state, dpool, dz, grads);
    }

    pub(crate) fn norm_backward_of<T: Element>(
        &self,
        x: Map<'_, T>,
        state: &NormState,
        dpool: Option<Map<'_, T>>,
        dz: MapMut<'_, T>,
        grads: NormGrads<'_>,
    ) {
        let d = x.dims();
        assert_eq!(d, dz.dims(), "input and gradient");
        let per_channel = [&state.mean, &state.inv_std, &state.scale, &state.shift].map(Vec::len);
        assert!(per_channel == [d.c; 4], "state of {per_channel:?} channels for {}", d.c);
        assert!(grads.gamma.len() == d.c && grads.beta.len() == d.c, "gradients of {} channels", d.c);
        if let Some(dpool) = dpool {
            assert_eq!(dpool.dims(), Dims::new(d.n, d.h / 2, d.w / 2, d.c), "gradient of the 2×2 maxima of {d:?}");
        }
        let layout = Layout::new(d, dpool.is_some());
        let sums = self.sum(layout, x, state, dpool, dz.as_map());
        let fold = Fold::new(state, &sums, d.pixels());
        for c in 0..d.c {
            grads.beta[c] = sums.grad[c] as f32;
            grads.gamma[c] = (sums.grad_x[c] * f64::from(state.inv_std[c])) as f32;
        }
        let write = |i: usize, mut dz: MapMut<'_, T>| {
            let band = layout.band(i, x, dpool);
            self.run(Write { band, state, fold: &fold, dz: &mut dz, columns: 0..0 });
        };
        match dpool {
            None => dz.into_pieces(layout.width).enumerate().for_each(|(i, dz)| write(i, dz)),
            Some(_) => dz.into_bands(2).into_par_iter().enumerate().for_each(|(i, dz)| write(i, dz)),
        }
    }

    /// Σg and Σ g·(x−μ) over all bands, in an order that the sizes fix.
    fn sum<T: Element>(
        &self,
        layout: Layout,
        x: Map<'_, T>,
        state: &NormState,
        dpool: Option<Map<'_, T>>,
        dz: Map<'_, T>,
    ) -> Sums {
        let task = |bands: Range<usize>| {
            let mut sums = Sums::new(layout.dims.c);
            for i in bands {
                let (band, dz) = (layout.band(i, x, dpool), layout.pixels(i, dz));
                self.run(Sum { band, state, dz, sums: &mut sums, columns: 0..0 });
            }
            sums
        };
        let parts: Vec<Sums> = spans(layout.bands()).into_par_iter().map(task).collect();
        let mut total = Sums::new(layout.dims.c);
        parts.iter().for_each(|part| total.add(part));
        total
    }
}

/// How a map is cut: without pooling into runs of pixels, with it into pairs of rows.
#[derive(Clone, Copy)]
struct Layout {
    dims: Dims,
    pooled: bool,
    /// Pixels of a run.
    width: usize,
}

impl Layout {
    fn new(dims: Dims, pooled: bool) -> Self {
        Self { dims, pooled, width: 8 * pixels_to_sum(dims.c) }
    }

    fn bands(self) -> usize {
        match (self.pooled, self.dims.is_empty()) {
            (_, true) => 0,
            (true, _) => self.dims.n * self.dims.h.div_ceil(2),
            (false, _) => self.dims.pixels().div_ceil(self.width),
        }
    }

    fn pixels<T: Element>(self, i: usize, map: Map<'_, T>) -> Map<'_, T> {
        match self.pooled {
            false => map.range(i * self.width..self.dims.pixels().min((i + 1) * self.width)),
            true => {
                let per_image = self.dims.h.div_ceil(2);
                let y = i % per_image * 2;
                map.rows(i / per_image, y, 2.min(self.dims.h - y))
            }
        }
    }

    fn band<'a, T: Element>(self, i: usize, x: Map<'a, T>, dpool: Option<Map<'a, T>>) -> Band<'a, T> {
        let per_image = self.dims.h.div_ceil(2);
        let (n, y) = (i / per_image.max(1), i % per_image.max(1));
        let dpool = dpool.filter(|_| 2 * y + 1 < self.dims.h).map(|d| d.rows(n, y, 1));
        Band { x: self.pixels(i, x), dpool }
    }
}

/// One band's raw values, and the gradient of its row of maxima if it has one.
#[derive(Clone, Copy)]
struct Band<'a, T> {
    x: Map<'a, T>,
    dpool: Option<Map<'a, T>>,
}

/// Sums over pixels, per channel.
struct Sums {
    /// Σg.
    grad: Vec<f64>,
    /// Σ g·(x−μ).
    grad_x: Vec<f64>,
}

impl Sums {
    fn new(channels: usize) -> Self {
        Self { grad: vec![0.0; channels], grad_x: vec![0.0; channels] }
    }

    fn add(&mut self, other: &Sums) {
        self.grad.iter_mut().zip(&other.grad).for_each(|(a, b)| *a += b);
        self.grad_x.iter_mut().zip(&other.grad_x).for_each(|(a, b)| *a += b);
    }
}

/// ∂x = scale·g + slope·(x−μ) + offset.
struct Fold {
    slope: Vec<f32>,
    offset: Vec<f32>,
}

impl Fold {
    fn new(state: &NormState, sums: &Sums, pixels: usize) -> Self {
        let per_pixel = |c: usize| -f64::from(state.scale[c]) / pixels as f64;
        let slope = |c: usize| per_pixel(c) * f64::from(state.inv_std[c]).powi(2) * sums.grad_x[c];
        let channels = 0..state.scale.len();
        Self {
            slope: channels.clone().map(|c| slope(c) as f32).collect(),
            offset: channels.map(|c| (per_pixel(c) * sums.grad[c]) as f32).collect(),
        }
    }
}

/// What a pass does with each pixel.
trait Sink<S: Simd, const G: usize, const PART: bool> {
    /// The gradient by the activation, as it stands in memory.
    fn gradient(&self, g: Group<S, G, PART>, p: usize) -> Vs<S, G>;
    /// Takes the raw value and the gradient behind the ReLU.
    fn take(&mut self, g: Group<S, G, PART>, p: usize, x: Vs<S, G>, grad: Vs<S, G>);
}

/// Walks the columns of a band: blocks of four where there is a gradient of maxima, single pixels where not.
#[inline(always)]
fn visit<T: Element, S: Simd, const G: usize, const PART: bool>(
    g: Group<S, G, PART>,
    band: &Band<'_, T>,
    columns: Range<usize>,
    state: &NormState,
    sink: &mut impl Sink<S, G, PART>,
) {
    let (scale, shift) = (g.constants(&state.scale), g.constants(&state.shift));
    let (width, mut single) = (band.x.dims().w, columns.start);
    if let Some(dpool) = &band.dpool {
        single = columns.end & !1;
        for left in (columns.start..single).step_by(2) {
            let pixels = [left, left + 1, width + left, width + left + 1];
            let (mut x, mut raw) = ([g.zero(); 4], [g.zero(); 4]);
            for i in 0..4 {
                x[i] = g.load(&band.x, pixels[i]);
                raw[i] = g.fma(scale, x[i], shift);
            }
            // Where the maximum is not above zero the mask takes all: raw values choose as rectified ones would.
            let routed = route(g, raw, g.load(dpool, left / 2));
            for i in 0..4 {
                let grad = g.add(sink.gradient(g, pixels[i]), routed[i]);
                sink.take(g, pixels[i], x[i], g.where_positive(raw[i], grad));
            }
        }
    }
    for y in 0..band.x.dims().h {
        for p in y * width + single..y * width + columns.end {
            let x = g.load(&band.x, p);
            let grad = g.where_positive(g.fma(scale, x, shift), sink.gradient(g, p));
            sink.take(g, p, x, grad);
        }
    }
}

/// The summing pass over one band.
struct Sum<'a, T> {
    band: Band<'a, T>,
    state: &'a NormState,
    dz: Map<'a, T>,
    sums: &'a mut Sums,
    columns: Range<usize>,
}

/// The writing pass over one band.
struct Write<'a, 'b, T> {
    band: Band<'a, T>,
    state: &'a NormState,
    fold: &'a Fold,
    dz: &'a mut MapMut<'b, T>,
    columns: Range<usize>,
}

/// Runs a pass over a band, a few columns at a time.
macro_rules! by_columns {
    ($self:ident, $s:ident, $size:ident) => {{
        let dims = $self.band.x.dims();
        let size = $size(dims.c);
        for start in (0..dims.w).step_by(size) {
            $self.columns = start..dims.w.min(start + size);
            each_group($s, dims.c, &mut $self);
        }
    }};
}

impl<T: Element> Vectorized for Sum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        by_columns!(self, s, pixels_to_sum);
    }
}

impl<T: Element> Vectorized for Write<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        by_columns!(self, s, pixels_to_pass);
    }
}

impl<T: Element> ByChannels for Sum<'_, T> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let mean = g.constants(&self.state.mean);
        let mut sink = Summing { dz: self.dz, mean, grad: g.zero(), grad_x: g.zero() };
        visit(g, &self.band, self.columns.clone(), self.state, &mut sink);
        g.add_to(&mut self.sums.grad, sink.grad);
        g.add_to(&mut self.sums.grad_x, sink.grad_x);
    }
}

/// Sums in registers.
struct Summing<'a, T, V> {
    dz: Map<'a, T>,
    mean: V,
    grad: V,
    grad_x: V,
}

impl<T: Element, S: Simd, const G: usize, const PART: bool> Sink<S, G, PART> for Summing<'_, T, Vs<S, G>> {
    #[inline(always)]
    fn gradient(&self, g: Group<S, G, PART>, p: usize) -> Vs<S, G> {
        g.load(&self.dz, p)
    }

    #[inline(always)]
    fn take(&mut self, g: Group<S, G, PART>, _: usize, x: Vs<S, G>, grad: Vs<S, G>) {
        self.grad = g.add(self.grad, grad);
        self.grad_x = g.fma(grad, g.sub(x, self.mean), self.grad_x);
    }
}

impl<T: Element> ByChannels for Write<'_, '_, T> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let (mean, scale) = (g.constants(&self.state.mean), g.constants(&self.state.scale));
        let (slope, offset) = (g.constants(&self.fold.slope), g.constants(&self.fold.offset));
        let mut sink = Writing { dz: &mut *self.dz, mean, scale, slope, offset };
        visit(g, &self.band, self.columns.clone(), self.state, &mut sink);
    }
}

/// Constants in registers.
struct Writing<'a, 'b, T, V> {
    dz: &'a mut MapMut<'b, T>,
    mean: V,
    scale: V,
    slope: V,
    offset: V,
}

impl<T: Element, S: Simd, const G: usize, const PART: bool> Sink<S, G, PART> for Writing<'_, '_, T, Vs<S, G>> {
    #[inline(always)]
    fn gradient(&self, g: Group<S, G, PART>, p: usize) -> Vs<S, G> {
        g.load_mut(self.dz, p)
    }

    #[inline(always)]
    fn take(&mut self, g: Group<S, G, PART>, p: usize, x: Vs<S, G>, grad: Vs<S, G>) {
        let rest = g.fma(self.slope, g.sub(x, self.mean), self.offset);
        g.store(self.dz, p, g.fma(self.scale, grad, rest));
    }
}
