//! Brightness, contrast, gamma and noise (and, first and last, what degrades), on values scaled to 0–1 and back: what a microscope's settings change, never the mask.
//!
//! Strengths are shares of the range that an image uses, not of what its depth could hold: a camera of 12 bits fills a sixteenth of 16.

use rand::{Rng, RngCore};
use unet_kernels::{Dims, Kernels, ShapeError, Tone};

use super::config::AugmentConfig;
use super::degrade;
use crate::{Image, Pixels};

/// Values of an image that are looked at to tell the range that it uses.
const LOOKED_AT: usize = 8192;
/// The share of them that may lie beyond either end.
const BEYOND: f32 = 0.001;

/// Changes raw values in place; `source` tells their range (for floating-point images it is that of the values).
pub(super) fn apply(
    c: &AugmentConfig,
    kernels: Kernels,
    values: &mut [f32],
    dims: Dims,
    source: &Image,
    rng: &mut impl Rng,
) -> Result<(), ShapeError> {
    let mut come_up = |magnitude: f32| magnitude > 0.0 && rng.random::<f32>() < c.intensity_probability;
    let (brightness, contrast) = (come_up(c.brightness), come_up(c.contrast));
    let (gamma, noise) = (come_up(c.gamma), come_up(c.noise));
    let (blur, reduce) = (come_up(c.blur), come_up(c.low_resolution - 1.0));
    let drop_out = come_up(c.dropout_size * c.dropout_holes as f32);
    if blur {
        degrade::blur(kernels, values, dims, c.blur * rng.random::<f32>())?;
    }
    if reduce {
        degrade::reduce(kernels, values, dims, 1.0 + (c.low_resolution - 1.0) * rng.random::<f32>())?;
    }
    if brightness || contrast || gamma || noise {
        relight(c, kernels, [brightness, contrast, gamma, noise], values, source, rng);
    }
    if drop_out {
        degrade::drop_out(kernels, values, dims, c.dropout_holes, c.dropout_size, rng);
    }
    Ok(())
}

/// Brightness, contrast, gamma and noise, those of them that came up, in one pass.
fn relight(
    c: &AugmentConfig,
    kernels: Kernels,
    which: [bool; 4],
    values: &mut [f32],
    source: &Image,
    rng: &mut impl Rng,
) {
    let [brightness, contrast, gamma, noise] = which;
    let mut within = |limit: f32| limit * (2.0 * rng.random::<f32>() - 1.0);
    let shift = if brightness { within(c.brightness) } else { 0.0 };
    let factor = if contrast { within(c.contrast).exp() } else { 1.0 };
    let exponent = if gamma { within(c.gamma).exp() } else { 1.0 };
    let noise = if noise { c.noise * rng.random::<f32>() } else { 0.0 };
    let inverted = gamma && c.gamma_inverted > 0.0 && rng.random::<f32>() < c.gamma_inverted;
    let key = if noise > 0.0 { [rng.next_u32(), rng.next_u32()] } else { [0; 2] };
    let Some(Range { low, high, top, used }) = Range::of(kernels, values, source) else {
        return;
    };
    let scale = 1.0 / (high - low);
    let mean = if contrast { (kernels.mean(values) as f32 - low) * scale } else { 0.0 };
    // ((v − low)·scale − mean)·factor + mean + shift
    let (gain, offset) = (scale * factor, (1.0 - factor) * mean + shift * used - low * scale * factor);
    // Gamma leaves the upper end of what is in use where it is: top·(u / top)ᵉ = top¹⁻ᵉ·uᵉ.
    let stretch = if inverted { 1.0 } else { top.powf(1.0 - exponent) };
    let (noise, span) = (noise * used / stretch, (high - low) * stretch);
    kernels.retone(values, &Tone { gain, offset, exponent, inverted, noise, key, low, span });
}

/// The values that an image could have, none of which is cut off, and the share of them that it uses: whole octaves, so that neighbouring
/// images are treated alike.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    /// What becomes 0.
    low: f32,
    /// What becomes 1.
    high: f32,
    /// Where the image's own values end, but for the most extreme: 1, ½, ¼ …
    top: f32,
    /// How much lies between them: as much, or less where they begin far above 0.
    used: f32,
}

impl Range {
    /// That of the patch for floating-point images; `None` where there is no range to speak of.
    fn of(kernels: Kernels, values: &[f32], source: &Image) -> Option<Self> {
        let range = match source.pixels() {
            Pixels::F32(_) => {
                let (low, high) = kernels.extent(values)?;
                Self { low, high, top: 1.0, used: 1.0 }
            }
            Pixels::U8(v) => Self::in_use(v, source.max_value()),
            Pixels::U16(v) => Self::in_use(v, source.max_value()),
        };
        (range.low < range.high).then_some(range)
    }

    /// From 0 to `most`, the largest that there can be.
    fn in_use<T: Copy + Into<f32>>(values: &[T], most: f32) -> Self {
        // An odd step, lest the same columns be looked at in each row.
        let step = (values.len() / LOOKED_AT).max(1) | 1;
        let mut seen: Vec<f32> = values.iter().step_by(step).map(|&v| v.into()).collect();
        if seen.is_empty() {
            return Self { low: 0.0, high: most, top: 1.0, used: 1.0 };
        }
        let beyond = (BEYOND * seen.len() as f32) as usize;
        let last = seen.len() - 1 - beyond;
        let highest = *seen.select_nth_unstable_by(last, f32::total_cmp).1;
        let lowest = *seen.select_nth_unstable_by(beyond, f32::total_cmp).1;
        let octaves = |span: f32| 2f32.powi((span.max(1.0) / most).log2().ceil() as i32);
        Self { low: 0.0, high: most, top: octaves(highest), used: octaves(highest - lowest) }
    }
}

/// A nearly normal draw of mean 0 and deviation 1: the sum of four uniform ones, cheap enough for every pixel.
pub(crate) fn quick_normal(rng: &mut impl RngCore) -> f32 {
    let bits = rng.next_u64();
    let sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
    (sum as f32 * (1.0 / 65536.0) - 2.0 + 2.0 / 65536.0) * 1.732_050_8
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::random::{Purpose, rng};

    #[test]
    fn quick_draws_have_mean_zero_and_deviation_one() {
        let mut r = rng(3, 0, 0, Purpose::Augment);
        let draws: Vec<f64> = (0..100_000).map(|_| f64::from(quick_normal(&mut r))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let var = draws.iter().map(|d| d * d).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.015 && (var - 1.0).abs() < 0.02, "{mean} {var}");
    }

    #[test]
    fn strengths_go_by_the_range_that_is_in_use() {
        let range = |values: Vec<u16>| {
            let image = Image::new(values.len(), 1, 1, Pixels::U16(values)).unwrap();
            Range::of(Kernels::detect(), &image.to_f32(), &image).unwrap()
        };
        let ramp = |low: u16, high: u16| (0..2000u32).map(move |i| low + (u32::from(high - low) * i / 1999) as u16);
        let all = Range { low: 0.0, high: 65535.0, top: 1.0, used: 1.0 };
        assert_eq!(range(ramp(0, 65535).collect()), all);
        // Twelve bits of sixteen; one hot pixel in two thousand changes nothing, and a camera's offset is not in use.
        let twelve = Range { top: 1.0 / 16.0, used: 1.0 / 16.0, ..all };
        assert_eq!(range(ramp(100, 4000).collect()), twelve);
        assert_eq!(range(ramp(100, 4000).chain([65535]).collect()), twelve);
        assert_eq!(range(ramp(30_000, 34_000).collect()), Range { used: 1.0 / 16.0, ..all });
        // As bright by 8 bits as by 16 that hold the same in their lowest 8: relit alike.
        let c = AugmentConfig {
            intensity_probability: 1.0,
            brightness: 0.2,
            contrast: 0.3,
            gamma: 0.3,
            ..Default::default()
        };
        let bytes: Vec<u8> = (0..=255).collect();
        let dim = Image::new(256, 1, 1, Pixels::U16(bytes.iter().map(|&b| b.into()).collect())).unwrap();
        let full = Image::new(256, 1, 1, Pixels::U8(bytes)).unwrap();
        for i in 0..20 {
            let relit = |image: &Image| {
                let (mut values, mut r) = (image.to_f32(), rng(6, 0, i, Purpose::Augment));
                apply(&c, Kernels::detect(), &mut values, Dims::new(1, 1, 256, 1), image, &mut r).unwrap();
                values
            };
            // But where 8 bits are at their end and 16 are not.
            for (a, b) in relit(&full).into_iter().zip(relit(&dim)) {
                assert!((a - b).abs() < 1.5 || a == 255.0 && b > 255.0, "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_rare_is_not_cut_off() {
        // One dark pixel in four thousand on a bright ground, one bright one on a dim one: both stay the most extreme by far.
        let c = AugmentConfig {
            intensity_probability: 1.0,
            brightness: 0.05,
            contrast: 0.2,
            gamma: 0.2,
            ..Default::default()
        };
        let ground = |low: u16, odd: u16| (0..4000).map(move |i| if i == 1234 { odd } else { low + i % 40 }).collect();
        for (values, is_beyond) in [
            (ground(40_000, 5_000), (|odd, ground| odd < ground - 10_000.0) as fn(f32, f32) -> bool),
            (ground(100, 60_000), |odd, ground| odd > ground + 10_000.0),
        ] {
            let image = Image::new(4000, 1, 1, Pixels::U16(values)).unwrap();
            for i in 0..20 {
                let (mut values, mut r) = (image.to_f32(), rng(8, 0, i, Purpose::Augment));
                apply(&c, Kernels::detect(), &mut values, Dims::new(1, 1, 4000, 1), &image, &mut r).unwrap();
                assert!(is_beyond(values[1234], values[0]), "{} beside {}", values[1234], values[0]);
            }
        }
    }

    #[test]
    fn values_stay_in_the_range_of_their_depth() {
        let c = AugmentConfig {
            intensity_probability: 1.0,
            brightness: 1.0,
            contrast: 1.0,
            gamma: 1.0,
            noise: 1.0,
            gamma_inverted: 0.5,
            blur: 2.0,
            low_resolution: 4.0,
            dropout_holes: 2,
            dropout_size: 0.3,
            ..Default::default()
        };
        let image = Image::new(256, 1, 1, Pixels::U16((0..256).map(|i| i * 257).collect())).unwrap();
        for i in 0..20 {
            let mut values = image.to_f32();
            let mut r = rng(4, 0, i, Purpose::Augment);
            apply(&c, Kernels::detect(), &mut values, Dims::new(1, 1, 256, 1), &image, &mut r).unwrap();
            assert!(values.iter().all(|v| (0.0..=65535.0).contains(v)));
            assert_ne!(values, image.to_f32());
        }
    }
}
