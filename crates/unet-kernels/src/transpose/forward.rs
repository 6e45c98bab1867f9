//! Forward: pixels × channels in times channels in × (block, channel out), spread into the 2×2 blocks.

use rayon::prelude::*;

use super::Bands;
use crate::conv::{Left, Pictures, Pixels, Product, Right, Window};
use crate::pack::PanelShape;
use crate::scratch::Scratch;
use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels, MapMut, Placement, Source};

pub(super) fn run<T: Element, U: Element>(
    kernels: &Kernels,
    x: Source<'_, T>,
    panels: (PanelShape, &[f32]),
    bias: Option<&[f32]>,
    mut y: MapMut<'_, U>,
    place: Placement,
) {
    let d = x.map.dims();
    let y = Pixels::of(&mut y);
    let input = Pictures { source: x, dims: d };
    let bands = Bands::of(d);
    (0..bands.len()).into_par_iter().for_each(|b| {
        kernels.run(Band { input, panels, bias, y, place, at: bands.place(b) });
    });
    let yd = y.dims();
    (0..yd.n * yd.h).into_par_iter().for_each(|row| kernels.run(Surround { y, place, inner: (2 * d.h, 2 * d.w), row }));
}

/// Some rows of input.
struct Band<'a, T, U> {
    input: Pictures<'a, T>,
    panels: (PanelShape, &'a [f32]),
    bias: Option<&'a [f32]>,
    y: Pixels<'a, U>,
    place: Placement,
    at: (usize, usize, usize),
}

impl<T: Element, U: Element> Vectorized for Band<'_, T, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ((image, top, rows), d, yd) = (self.at, self.input.dims, self.y.dims());
        let (shape, weights) = self.panels;
        let (pixels, padded, cout) = (rows * d.w, shape.padded(), yd.c);
        let (mut x, mut blocks) = (Scratch::take(pixels * d.c), Scratch::take(pixels * padded));
        self.input.copy(s, Window { image, top: top as isize, left: 0, rows, cols: d.w }, &mut x);
        s.vectorize(Product {
            left: Left { data: &x, row: d.c, inner: 1, block: 0 },
            right: Right::Matrices { data: weights, shape, number: 0 },
            rows: pixels,
            cols: shape.cols,
            depth: d.c,
            blocks: 1,
            out: &mut blocks,
            out_row: padded,
            add: false,
        });
        for p in 0..pixels {
            let (row, col) = (2 * (top + p / d.w) + self.place.top, 2 * (p % d.w) + self.place.left);
            for tap in 0..4 {
                let to = (image * yd.h + row + tap / 2) * yd.w + col + tap % 2;
                let from = &blocks[p * padded + tap * cout..][..cout];
                for c in (0..cout).step_by(S::WIDTH) {
                    let bias = self.bias.map_or(s.zero(), |b| s.load_slice(&b[c..]));
                    let v = s.add(s.load_slice(&from[c..]), bias);
                    // SAFETY: blocks of different input pixels are different output pixels.
                    unsafe { self.y.store(s, to, c, v) };
                }
            }
        }
    }
}

/// Zeros in one row of the output, outside of what the convolution wrote.
struct Surround<'a, U> {
    y: Pixels<'a, U>,
    place: Placement,
    inner: (usize, usize),
    row: usize,
}

impl<U: Element> Vectorized for Surround<'_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (d, at) = (self.y.dims(), self.place);
        let y = self.row % d.h;
        let written = match y >= at.top && y < at.top + self.inner.0 {
            true => at.left..at.left + self.inner.1,
            false => 0..0,
        };
        for x in (0..d.w).filter(|x| !written.contains(x)) {
            for c in (0..d.c).step_by(S::WIDTH) {
                // SAFETY: each task has its own row.
                unsafe { self.y.store(s, self.row * d.w + x, c, s.zero()) };
            }
        }
    }
}
