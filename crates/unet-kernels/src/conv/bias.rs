//! Sums over all pixels per channel: the gradient of a bias.

use rayon::prelude::*;

use crate::simd::{Simd, Vectorized};
use crate::{Element, Kernels, Map};

/// Pixels that are added in f32 before they are added to the rest in f64.
const RUN: usize = 64;
/// Pixels of a task.
const PART: usize = 64 * RUN;

/// Σ over all pixels, per channel, into `sums`.
pub(super) fn channel_sums<T: Element>(kernels: &Kernels, x: Map<'_, T>, sums: &mut [f32]) {
    assert_eq!(sums.len(), x.dims().c, "one sum per channel");
    let count = x.dims().pixels();
    let parts: Vec<Vec<f64>> = (0..count.div_ceil(PART))
        .into_par_iter()
        .map(|p| kernels.run(Part { x, pixels: p * PART..((p + 1) * PART).min(count) }))
        .collect();
    for (c, sum) in sums.iter_mut().enumerate() {
        *sum = parts.iter().map(|p| p[c]).sum::<f64>() as f32;
    }
}

struct Part<'a, T> {
    x: Map<'a, T>,
    pixels: std::ops::Range<usize>,
}

impl<T: Element> Vectorized for Part<'_, T> {
    type Output = Vec<f64>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f64> {
        let channels = self.x.dims().c;
        let mut sums = vec![0.0f64; channels];
        for start in self.pixels.clone().step_by(RUN) {
            let run = start..(start + RUN).min(self.pixels.end);
            for c in (0..channels).step_by(S::WIDTH) {
                let mut sum = s.zero();
                for p in run.clone() {
                    sum = s.add(sum, s.load_slice(&self.x.pixel(p)[c..]));
                }
                let mut lanes = [0.0f32; 16];
                s.store_slice(&mut lanes, sum);
                sums[c..].iter_mut().zip(&lanes[..S::WIDTH]).for_each(|(t, x)| *t += f64::from(*x));
            }
        }
        sums
    }
}
