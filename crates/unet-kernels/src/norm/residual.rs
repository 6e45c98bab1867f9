//! The end of a residual block: a sum and its leaky rectifier, forward and backward.

use rayon::prelude::*;

use super::leaky::{PASSES, Pass, Pixelwise, leaky};
use crate::channels::{Group, pixels_to_pass};
use crate::simd::Simd;
use crate::{Element, Kernels, Map, MapMut};

impl Kernels {
    /// `y = leaky(y + x)`: the end of a residual block (He et al. 2016).
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn add_leaky<T: Element>(&self, x: Map<'_, T>, slope: f32, y: MapMut<'_, T>) {
        T::add_leaky(self, x, slope, y);
    }

    pub(crate) fn add_leaky_of<T: Element>(&self, x: Map<'_, T>, slope: f32, y: MapMut<'_, T>) {
        assert_eq!(x.dims(), y.dims(), "the two that are added");
        let size = pixels_to_pass(x.dims().c) * PASSES;
        y.into_pieces(size).enumerate().for_each(|(i, y)| {
            let x = x.range(i * size..i * size + y.dims().pixels());
            self.run(Pass { pixels: 0..0, work: Add { x, slope, y } });
        });
    }

    /// Backward through a leaky rectifier whose output was `y`: multiplies `dy` by `slope` where `y` is not above zero.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn leaky_backward<T: Element>(&self, y: Map<'_, T>, slope: f32, dy: MapMut<'_, T>) {
        T::leaky_backward(self, y, slope, dy);
    }

    pub(crate) fn leaky_backward_of<T: Element>(&self, y: Map<'_, T>, slope: f32, dy: MapMut<'_, T>) {
        assert_eq!(y.dims(), dy.dims(), "activation and gradient");
        let size = pixels_to_pass(y.dims().c) * PASSES;
        dy.into_pieces(size).enumerate().for_each(|(i, dy)| {
            let y = y.range(i * size..i * size + dy.dims().pixels());
            self.run(Pass { pixels: 0..0, work: Mask { y, slope, dy } });
        });
    }
}

struct Add<'a, T> {
    x: Map<'a, T>,
    slope: f32,
    y: MapMut<'a, T>,
}

impl<T: Element> Pixelwise for Add<'_, T> {
    fn dims(&self) -> crate::Dims {
        self.x.dims()
    }

    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(
        &mut self,
        g: Group<S, G, PART>,
        pixels: std::ops::Range<usize>,
    ) {
        let slope = g.splat(self.slope);
        for p in pixels {
            let sum = g.add(g.load_mut(&self.y, p), g.load(&self.x, p));
            g.store(&mut self.y, p, leaky(g, slope, sum));
        }
    }
}

struct Mask<'a, T> {
    y: Map<'a, T>,
    slope: f32,
    dy: MapMut<'a, T>,
}

impl<T: Element> Pixelwise for Mask<'_, T> {
    fn dims(&self) -> crate::Dims {
        self.y.dims()
    }

    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(
        &mut self,
        g: Group<S, G, PART>,
        pixels: std::ops::Range<usize>,
    ) {
        let slope = g.splat(self.slope);
        for p in pixels {
            let dy = g.load_mut(&self.dy, p);
            g.store(&mut self.dy, p, g.select_positive(g.load(&self.y, p), dy, g.mul(slope, dy)));
        }
    }
}
