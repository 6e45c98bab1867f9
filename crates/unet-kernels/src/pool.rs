//! Max-pooling 2×2 with stride 2; an odd last row or column is dropped, as PyTorch's default does.

use std::ops::Range;

use rayon::prelude::*;

use crate::channels::{Activation, ByChannels, Group, Identity, Vs, check_norm, each_group, pixels_to_pass};
use crate::simd::{Simd, Vectorized};
use crate::{Dims, Element, Kernels, Map, MapMut, Source};

impl Kernels {
    /// 2×2 maxima, (⌊H/2⌋, ⌊W/2⌋). A NaN in a block makes its maximum one.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn max_pool<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>) {
        T::max_pool(self, x, y);
    }

    pub(crate) fn max_pool_of<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>) {
        check_norm(&x);
        match x.norm {
            Some(norm) => self.write_pooled(x.map, norm, None, y),
            None => self.write_pooled(x.map, Identity, None, y),
        }
    }

    /// *Adds* the gradient by the input to `dx`: it goes to the first maximum of each 2×2 block, in row-major order
    /// (PyTorch's rule for ties), in a block that holds a NaN to some value of it. `x` is the input that was pooled.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn max_pool_backward<T: Element>(&self, x: Source<'_, T>, dy: Map<'_, T>, dx: MapMut<'_, T>) {
        T::max_pool_backward(self, x, dy, dx);
    }

    pub(crate) fn max_pool_backward_of<T: Element>(&self, x: Source<'_, T>, dy: Map<'_, T>, dx: MapMut<'_, T>) {
        let d = x.map.dims();
        assert_eq!(d, dx.dims(), "input and its gradient");
        assert_eq!(dy.dims(), Dims::new(d.n, d.h / 2, d.w / 2, d.c), "gradient of the 2×2 maxima of {d:?}");
        check_norm(&x);
        match x.norm {
            Some(norm) => self.unpool(x.map, norm, dy, dx),
            None => self.unpool(x.map, Identity, dy, dx),
        }
    }

    fn unpool<T: Element, A: Activation>(&self, x: Map<'_, T>, with: A, dy: Map<'_, T>, dx: MapMut<'_, T>) {
        let (h, per_image) = (x.dims().h, x.dims().h.div_ceil(2).max(1));
        dx.into_bands(2).into_par_iter().enumerate().for_each(|(i, dx)| {
            let (n, y) = (i / per_image, i % per_image);
            if 2 * y + 1 < h {
                self.run(Unpool { x: x.rows(n, 2 * y, 2), with, dy: dy.rows(n, y, 1), dx, columns: 0..0 });
            }
        });
    }
}

/// Sends a gradient to the first of four values (row-major) that none of the others exceeds; zeros to the others.
#[inline(always)]
pub(crate) fn route<S: Simd, const G: usize, const PART: bool>(
    g: Group<S, G, PART>,
    values: [Vs<S, G>; 4],
    grad: Vs<S, G>,
) -> [Vs<S, G>; 4] {
    let zero = g.zero();
    let mut routed = [grad, zero, zero, zero];
    let mut best = values[0];
    for i in 1..4 {
        routed[i] = g.where_ge(best, values[i], zero, grad);
        for earlier in &mut routed[..i] {
            *earlier = g.where_ge(best, values[i], *earlier, zero);
        }
        best = g.where_ge(best, values[i], best, values[i]);
    }
    routed
}

/// Two rows of the input and their gradient, and the row of maxima between them.
struct Unpool<'a, T, A> {
    x: Map<'a, T>,
    with: A,
    dy: Map<'a, T>,
    dx: MapMut<'a, T>,
    columns: Range<usize>,
}

impl<T: Element, A: Activation> Vectorized for Unpool<'_, T, A> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let dims = self.dy.dims();
        let size = pixels_to_pass(dims.c);
        for start in (0..dims.w).step_by(size) {
            self.columns = start..dims.w.min(start + size);
            each_group(s, dims.c, &mut self);
        }
    }
}

impl<T: Element, A: Activation> ByChannels for Unpool<'_, T, A> {
    #[inline(always)]
    fn group<S: Simd, const G: usize, const PART: bool>(&mut self, g: Group<S, G, PART>) {
        let (with, width) = (self.with.of(g), self.x.dims().w);
        for column in self.columns.clone() {
            let pixels = [2 * column, 2 * column + 1, width + 2 * column, width + 2 * column + 1];
            let mut values = [g.zero(); 4];
            for i in 0..4 {
                values[i] = A::apply(g, with, g.load(&self.x, pixels[i]));
            }
            let routed = route(g, values, g.load(&self.dy, column));
            for i in 0..4 {
                let sum = g.add(g.load_mut(&self.dx, pixels[i]), routed[i]);
                g.store(&mut self.dx, pixels[i], sum);
            }
        }
    }
}
