//! Parts of maps, and the gradient by what they were taken from: windows (the skip connections of a network without padding) and every
//! second pixel (convolutions of stride 2).

use rayon::prelude::*;

use crate::{Dims, Element, Kernels, Map, MapMut};

impl Kernels {
    /// The window of `x` with its first pixel at row `top` and column `left`, as large as `y`.
    ///
    /// # Panics
    /// The window is not inside `x`.
    pub fn crop<T: Element>(&self, x: Map<'_, T>, (top, left): (usize, usize), y: MapMut<'_, T>) {
        let (from, to) = (x.dims(), y.dims());
        check_inside(from, to, (top, left));
        y.into_bands(1).into_par_iter().enumerate().for_each(|(i, mut y)| {
            let (n, row) = (i / to.h, i % to.h);
            let first = (n * from.h + top + row) * from.w + left;
            (0..to.w).for_each(|p| y.pixel(p).copy_from_slice(x.pixel(first + p)));
        });
    }

    /// The gradient of [`Self::crop`]: `dy` in its window of `dx`, zeros around it.
    ///
    /// # Panics
    /// The window is not inside `dx`.
    pub fn crop_backward<T: Element>(&self, dy: Map<'_, T>, (top, left): (usize, usize), dx: MapMut<'_, T>) {
        let (from, to) = (dy.dims(), dx.dims());
        check_inside(to, from, (top, left));
        dx.into_bands(1).into_par_iter().enumerate().for_each(|(i, mut dx)| {
            let (n, row) = (i / to.h, i % to.h);
            let inside = (top..top + from.h).contains(&row);
            for p in 0..to.w {
                let pixel = dx.pixel(p);
                match inside && (left..left + from.w).contains(&p) {
                    true => pixel.copy_from_slice(dy.pixel((n * from.h + row - top) * from.w + p - left)),
                    false => pixel.fill(T::default()),
                }
            }
        });
    }

    /// Every second pixel of every second row, from the first on: with a convolution of stride 1 ahead of it, one of stride 2. An odd last
    /// row or column is dropped.
    ///
    /// # Panics
    /// `y` is not ⌊H/2⌋ × ⌊W/2⌋.
    pub fn every_second<T: Element>(&self, x: Map<'_, T>, y: MapMut<'_, T>) {
        let (from, to) = (x.dims(), y.dims());
        assert_eq!(to, halved(from), "every second pixel of {from:?}");
        y.into_bands(1).into_par_iter().enumerate().for_each(|(i, mut y)| {
            let first = (i / to.h * from.h + i % to.h * 2) * from.w;
            (0..to.w).for_each(|p| y.pixel(p).copy_from_slice(x.pixel(first + 2 * p)));
        });
    }

    /// The gradient of [`Self::every_second`]: zeros where no pixel was taken.
    ///
    /// # Panics
    /// `dy` is not ⌊H/2⌋ × ⌊W/2⌋ of `dx`.
    pub fn every_second_backward<T: Element>(&self, dy: Map<'_, T>, dx: MapMut<'_, T>) {
        let (from, to) = (dy.dims(), dx.dims());
        assert_eq!(from, halved(to), "every second pixel of {to:?}");
        dx.into_bands(1).into_par_iter().enumerate().for_each(|(i, mut dx)| {
            let (n, row) = (i / to.h, i % to.h);
            for p in 0..to.w {
                match row % 2 == 0 && p % 2 == 0 && row / 2 < from.h && p / 2 < from.w {
                    true => dx.pixel(p).copy_from_slice(dy.pixel((n * from.h + row / 2) * from.w + p / 2)),
                    false => dx.pixel(p).fill(T::default()),
                }
            }
        });
    }
}

fn halved(d: Dims) -> Dims {
    Dims::new(d.n, d.h / 2, d.w / 2, d.c)
}

fn check_inside(outer: Dims, inner: Dims, (top, left): (usize, usize)) {
    let fits = top + inner.h <= outer.h && left + inner.w <= outer.w && (outer.n, outer.c) == (inner.n, inner.c);
    assert!(fits, "{inner:?} at {top}, {left} of {outer:?}");
}
