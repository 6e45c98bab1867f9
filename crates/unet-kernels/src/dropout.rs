//! Dropout: values left out in training, the same ones at any number of threads and on any instruction set.

use rayon::prelude::*;

use crate::{Element, Kernels, MapMut};

/// Which values dropout leaves out (Srivastava et al. 2014): each by its own number and the key, whatever the threads and the instruction
/// set. What is kept is divided by the share that is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of being left out, from 0 to below 1.
    pub rate: f32,
    /// What the draw derives from.
    pub key: u64,
}

impl Dropout {
    /// The factor of value number `i`, in the order (N, H, W, C): 0, or 1/(1 − rate).
    #[inline]
    pub fn factor(&self, i: u64) -> f32 {
        // SplitMix64's output function on a sequence of its own increment (Steele, Lea & Flood 2014).
        let mut z = self.key.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let uniform = (z >> 40) as f32 / (1u64 << 24) as f32;
        if uniform < self.rate { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }
}

impl Kernels {
    /// Multiplies each value by its factor, in place: forward on values, backward on their gradient.
    pub fn dropout<T: Element>(&self, drop: Dropout, x: MapMut<'_, T>) {
        const PIXELS: usize = 256;
        let channels = x.dims().c;
        x.into_pieces(PIXELS).enumerate().for_each(|(piece, mut x)| {
            for p in 0..x.dims().pixels() {
                let first = ((piece * PIXELS + p) * channels) as u64;
                for (v, i) in x.pixel(p).iter_mut().zip(first..) {
                    *v = T::from_f32(v.to_f32() * drop.factor(i));
                }
            }
        });
    }
}
