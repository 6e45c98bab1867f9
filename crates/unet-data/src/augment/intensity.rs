//! Brightness, contrast, gamma and noise (and, first and last, what degrades), on values scaled to 0–1 and back: what a microscope's settings change, never the mask.

use rand::{Rng, RngCore};
use unet_kernels::{Dims, Kernels, ShapeError, Tone};

use super::config::AugmentConfig;
use super::degrade;
use crate::{Image, Pixels};

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
    let Some((low, high)) = range(kernels, values, source) else {
        return;
    };
    let scale = 1.0 / (high - low);
    let mean = if contrast { (kernels.mean(values) as f32 - low) * scale } else { 0.0 };
    // ((v − low)·scale − mean)·factor + mean + shift
    let (gain, offset) = (scale * factor, (1.0 - factor) * mean + shift - low * scale * factor);
    kernels.retone(values, &Tone { gain, offset, exponent, inverted, noise, key, low, span: high - low });
}

/// Smallest and largest possible value; `None` where there is no range to speak of.
fn range(kernels: Kernels, values: &[f32], source: &Image) -> Option<(f32, f32)> {
    let (low, high) = match source.pixels() {
        Pixels::F32(_) => kernels.extent(values)?,
        _ => (0.0, source.max_value()),
    };
    (low < high).then_some((low, high))
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
