//! Brightness, contrast, gamma and noise of an image in one pass ([`Kernels::retone`]), and what has to be known before: the mean and the
//! range of its values. For data augmentation; nothing here starts threads. The same bits on every tier.

#![allow(clippy::needless_range_loop, reason = "several arrays side by side are walked by number")]

use crate::Kernels;
use crate::loss::math::exp_negative;
use crate::simd::{Simd, Vectorized};

/// Values that are worked on side by side.
const LANES: usize = 16;
/// Values summed up in f32 before they are added in f64.
const CHUNK: usize = 1024;

/// What becomes of a value v: u = `gain`·v + `offset`, cut off to 0–1; u to the power of `exponent`; plus noise, cut off again;
/// `low` + u·`span`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tone {
    /// Factor that brings values to 0–1, contrast included.
    pub gain: f32,
    /// Added to that.
    pub offset: f32,
    /// Gamma, above 0; 1 for none.
    pub exponent: f32,
    /// Whether gamma is applied to 1 − u.
    pub inverted: bool,
    /// Standard deviation of the noise; 0 for none.
    pub noise: f32,
    /// What the noise is drawn from: the draw of pixel i is a function of the key and i.
    pub key: [u32; 2],
    /// What 0 becomes.
    pub low: f32,
    /// What 1 becomes, less `low`.
    pub span: f32,
}

impl Kernels {
    /// Changes each value as the tone says. The relative error of uᵉ is below 2⁻²²·(2 + e·|ln u|); 0 stays 0, 1 stays 1. Noise is the sum of four uniform
    /// draws: nearly normal, at most 3.5 deviations.
    ///
    /// # Panics
    /// The exponent is not above 0.
    pub fn retone(&self, values: &mut [f32], tone: &Tone) {
        assert!(tone.exponent > 0.0, "an exponent of {}", tone.exponent);
        assert!(u32::try_from(values.len()).is_ok(), "{} values", values.len());
        self.run(Retone { values, tone });
    }

    /// The mean of the values; 0 of none. Summed in an order that depends on their number alone.
    pub fn mean(&self, values: &[f32]) -> f64 {
        self.run(Sum { values }) / values.len().max(1) as f64
    }

    /// The least and the largest of the values; `None` of none, and where one is no number.
    pub fn extent(&self, values: &[f32]) -> Option<(f32, f32)> {
        let (low, high) = self.run(Extent { values });
        (low <= high).then_some((low, high))
    }
}

struct Retone<'a> {
    values: &'a mut [f32],
    tone: &'a Tone,
}

impl Vectorized for Retone<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { values, tone } = self;
        match (tone.exponent != 1.0, tone.noise > 0.0) {
            (false, false) => retone::<false, false>(values, tone),
            (false, true) => retone::<false, true>(values, tone),
            (true, false) => retone::<true, false>(values, tone),
            (true, true) => retone::<true, true>(values, tone),
        }
    }
}

#[inline(always)]
fn retone<const GAMMA: bool, const NOISE: bool>(values: &mut [f32], tone: &Tone) {
    // u − (u inverted) is 1 − 2u: the sign and the origin say which of both is raised.
    let (origin, sign) = if tone.inverted { (1.0, -1.0) } else { (0.0, 1.0) };
    for i in 0..values.len() {
        let mut u = unit(values[i] * tone.gain + tone.offset);
        if GAMMA {
            u = origin + sign * power(origin + sign * u, tone.exponent);
        }
        if NOISE {
            u = unit(u + tone.noise * normal(i as u32, tone.key));
        }
        values[i] = tone.low + u * tone.span;
    }
}

/// Cut off to 0–1; 0 for what is no number.
#[inline(always)]
fn unit(u: f32) -> f32 {
    let u = if u > 0.0 { u } else { 0.0 };
    if u < 1.0 { u } else { 1.0 }
}

/// uᵉ for 0 ≤ u ≤ 1, e > 0; 0 for u < 2⁻¹²⁶.
#[inline(always)]
fn power(u: f32, e: f32) -> f32 {
    let value = exp_negative(e * ln(if u >= f32::MIN_POSITIVE { u } else { 1.0 }));
    if u >= f32::MIN_POSITIVE { value } else { 0.0 }
}

/// ln u for normal 0 < u ≤ 1, absolute error below 2⁻²³·(1 + |ln u|); never above 0.
#[inline(always)]
fn ln(u: f32) -> f32 {
    // u = 2ᵏ·m with √½ ≤ m < √2; ln m = 2·atanh((m − 1) / (m + 1)).
    let shifted = u.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let k = (shifted as i32 >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let p = (((q / 9.0 + 1.0 / 7.0) * q + 0.2) * q + 1.0 / 3.0) * q;
    let value = k * std::f32::consts::LN_2 + 2.0 * (s + s * p);
    if value < 0.0 { value } else { 0.0 }
}

/// Draw `i` of mean 0 and deviation 1: the sum of four uniform ones of 16 bits, made by hashing in turn with both halves of the key (Wellons' lowbias32).
#[inline(always)]
fn normal(i: u32, key: [u32; 2]) -> f32 {
    let a = hash(hash(i.wrapping_add(key[0])) ^ key[1]);
    let b = hash(a.wrapping_add(key[0]));
    let sum = (a & 0xFFFF) + (a >> 16) + (b & 0xFFFF) + (b >> 16);
    // Each has mean 65535/2 and variance (2³² − 1)/12.
    (sum as i32 as f32 - 131_070.0) * (1.732_050_8 / 65536.0)
}

#[inline(always)]
fn hash(x: u32) -> u32 {
    let x = (x ^ x >> 16).wrapping_mul(0x7feb_352d);
    let x = (x ^ x >> 15).wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

struct Sum<'a> {
    values: &'a [f32],
}

impl Vectorized for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut total = 0.0;
        for chunk in self.values.chunks(CHUNK) {
            let (lanes, rest) = chunk.as_chunks::<LANES>();
            let mut sums = [0.0f32; LANES];
            for lanes in lanes {
                for i in 0..LANES {
                    sums[i] += lanes[i];
                }
            }
            for i in 0..rest.len() {
                sums[i] += rest[i];
            }
            for sum in sums {
                total += f64::from(sum);
            }
        }
        total
    }
}

struct Extent<'a> {
    values: &'a [f32],
}

impl Vectorized for Extent<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (f32, f32) {
        let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let mut is_number = true;
        let (lanes, rest) = self.values.as_chunks::<LANES>();
        for lanes in lanes {
            for i in 0..LANES {
                is_number &= !lanes[i].is_nan();
                low[i] = if lanes[i] < low[i] { lanes[i] } else { low[i] };
                high[i] = if lanes[i] > high[i] { lanes[i] } else { high[i] };
            }
        }
        for i in 0..rest.len() {
            is_number &= !rest[i].is_nan();
            low[i] = if rest[i] < low[i] { rest[i] } else { low[i] };
            high[i] = if rest[i] > high[i] { rest[i] } else { high[i] };
        }
        let joined = (0..LANES).fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), i| (l.min(low[i]), h.max(high[i])));
        if is_number { joined } else { (f32::INFINITY, f32::NEG_INFINITY) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Vec<Kernels> {
        crate::Tier::ALL.into_iter().filter_map(|t| Kernels::with_tier(t).ok()).collect()
    }

    const PLAIN: Tone =
        Tone { gain: 1.0, offset: 0.0, exponent: 1.0, inverted: false, noise: 0.0, key: [0; 2], low: 0.0, span: 1.0 };

    #[test]
    fn powers_have_the_stated_error() {
        for e in [0.1f32, 0.37, 0.78, 1.0001, 1.28, 2.2, 7.4] {
            for i in 0..=200_000u32 {
                let u = (i as f32 / 200_000.0).powi(3);
                let (found, exact) = (f64::from(power(u, e)), f64::from(u).powf(f64::from(e)));
                let size = if u > 0.0 { 2.0 + f64::from(e) * -f64::from(u).ln() } else { 0.0 };
                let allowed = exact * size * 2.0f64.powi(-22) + 2e-38; // below which there is 0
                assert!((found - exact).abs() <= allowed, "{u}^{e}: {found}, not {exact}");
            }
            assert_eq!((power(0.0, e), power(1.0, e)), (0.0, 1.0));
        }
    }

    #[test]
    fn a_tone_is_what_its_parts_are_one_after_the_other() {
        let values: Vec<f32> = (0..1000).map(|i| i as f32 / 4.0 + 3.0).collect();
        let tone = Tone { gain: 0.006, offset: -0.2, exponent: 1.7, low: 10.0, span: 255.0, ..PLAIN };
        for inverted in [false, true] {
            let expected = |v: f32| {
                let u = (f64::from(v) * 0.006 - 0.2).clamp(0.0, 1.0);
                let u = if inverted { 1.0 - (1.0 - u).powf(1.7) } else { u.powf(1.7) };
                10.0 + 255.0 * u
            };
            for k in tiers() {
                let mut found = values.clone();
                k.retone(&mut found, &Tone { inverted, ..tone });
                for (v, f) in values.iter().zip(&found) {
                    assert!((f64::from(*f) - expected(*v)).abs() < 2e-3, "{v}: {f}, not {}", expected(*v));
                }
            }
        }
    }

    #[test]
    fn every_tier_gives_the_same_bits() {
        let values: Vec<f32> = (0..1003).map(|i| (i * 37 % 1000) as f32 / 999.0).collect();
        let tone = Tone { exponent: 0.6, noise: 0.1, key: [3, 4], ..PLAIN };
        let all: Vec<_> = tiers()
            .iter()
            .map(|k| {
                let mut found = values.clone();
                k.retone(&mut found, &tone);
                (found, k.mean(&values).to_bits(), k.extent(&values))
            })
            .collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn noise_is_white_and_nearly_normal() {
        const N: usize = 1 << 18;
        let mut noise = vec![0.5f32; N];
        let tone = Tone { noise: 0.1, key: [7, 0xDEAD_BEEF], ..PLAIN };
        Kernels::detect().retone(&mut noise, &tone);
        let draws: Vec<f64> = noise.iter().map(|v| (f64::from(*v) - 0.5) / 0.1).collect();
        let moment = |p: i32| draws.iter().map(|d| d.powi(p)).sum::<f64>() / N as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.01 && moment(3).abs() < 0.02, "{}", moment(2));
        // The sum of four uniform draws has a kurtosis of 3 − 1.2/4.
        assert!((moment(4) - 2.7).abs() < 0.05, "{}", moment(4));
        for lag in [1, 2, 3, 16, 256, 512, 1 << 16] {
            let r = draws.iter().zip(&draws[lag..]).map(|(a, b)| a * b).sum::<f64>() / (N - lag) as f64;
            assert!(r.abs() < 0.01, "lag {lag}: {r}");
        }
        let mut other = vec![0.5f32; N];
        Kernels::detect().retone(&mut other, &Tone { key: [7, 0xDEAD_BEEE], ..tone });
        let r = draws.iter().zip(&other).map(|(a, b)| a * (f64::from(*b) - 0.5) / 0.1).sum::<f64>() / N as f64;
        assert!(r.abs() < 0.01, "another key: {r}");
    }

    #[test]
    fn means_and_extents_are_those_of_all_values() {
        for n in [0usize, 1, 15, 16, 17, 1024, 5000] {
            let values: Vec<f32> = (0..n).map(|i| (i * 7919 % 5003) as f32 - 100.0).collect();
            for k in tiers() {
                let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n.max(1) as f64;
                assert!((k.mean(&values) - mean).abs() < 1e-2, "{n}");
                let low = values.iter().copied().reduce(f32::min);
                assert_eq!(k.extent(&values), low.zip(values.iter().copied().reduce(f32::max)));
            }
        }
        assert_eq!(Kernels::detect().extent(&[1.0, f32::NAN]), None);
    }
}
