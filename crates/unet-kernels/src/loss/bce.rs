//! Binary cross-entropy with logits.

use rayon::prelude::*;

use super::math::{exp_negative, ln_1p_unit};
use super::{CHUNK, LANES, Lanes, load};
use crate::Kernels;
use crate::simd::{Simd, Vectorized};

impl Kernels {
    /// Binary cross-entropy of logits against targets in [0, 1]: the *sum* over all values of
    /// `w·(max(x, 0) − x·t + ln(1 + e^−|x|))`. With `grad`, `scale·w·(σ(x) − t)` is written into it.
    ///
    /// # Panics
    /// Lengths differ.
    pub fn bce_with_logits(
        &self,
        logits: &[f32],
        targets: &[f32],
        weights: Option<&[f32]>,
        grad: Option<(&mut [f32], f32)>,
    ) -> f64 {
        let len = logits.len();
        assert_eq!(targets.len(), len, "targets for logits");
        assert!(weights.is_none_or(|w| w.len() == len), "weights for logits");
        let part = |i: usize, grad: Option<(&mut [f32], f32)>| {
            let range = i * CHUNK..len.min((i + 1) * CHUNK);
            let weights = weights.map(|w| &w[range.clone()]);
            self.run(Chunk { logits: &logits[range.clone()], targets: &targets[range], weights, grad })
        };
        let parts: Vec<f64> = match grad {
            None => (0..len.div_ceil(CHUNK)).into_par_iter().map(|i| part(i, None)).collect(),
            Some((grad, scale)) => {
                assert_eq!(grad.len(), len, "gradient of logits");
                let chunks = grad.par_chunks_mut(CHUNK).enumerate();
                chunks.map(|(i, grad)| part(i, Some((grad, scale)))).collect()
            }
        };
        parts.iter().sum()
    }
}

/// One chunk's sum, and its gradient.
struct Chunk<'a> {
    logits: &'a [f32],
    targets: &'a [f32],
    weights: Option<&'a [f32]>,
    grad: Option<(&'a mut [f32], f32)>,
}

impl Vectorized for Chunk<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let Self { logits, targets, weights, mut grad } = self;
        let mut sums = [0.0f64; LANES];
        for start in (0..logits.len()).step_by(LANES) {
            let (x, t) = (load(&logits[start..]), load(&targets[start..]));
            let count = LANES.min(logits.len() - start);
            let w = match weights {
                Some(weights) => load(&weights[start..]),
                None => [1.0; LANES],
            };
            let (value, slope) = lanes(&x, &t);
            for i in 0..count {
                sums[i] += f64::from(w[i] * value[i]);
            }
            if let Some((grad, scale)) = &mut grad {
                let out = &mut grad[start..start + count];
                for i in 0..count {
                    out[i] = *scale * w[i] * slope[i];
                }
            }
        }
        sums.iter().sum()
    }
}

/// Values and slopes. Both are sums of like signs (written by the sign of x), so that nothing cancels.
#[inline(always)]
fn lanes(x: &Lanes, t: &Lanes) -> (Lanes, Lanes) {
    let (mut value, mut slope) = ([0.0; LANES], [0.0; LANES]);
    for i in 0..LANES {
        let e = exp_negative(-x[i].abs());
        let q = e / (1.0 + e); // σ(−|x|)
        let (far, sign) = if x[i] >= 0.0 { (1.0 - t[i], 1.0) } else { (t[i], -1.0) };
        value[i] = x[i].abs() * far + ln_1p_unit(e);
        slope[i] = sign * (far - q);
    }
    (value, slope)
}
