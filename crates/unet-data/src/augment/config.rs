//! [`AugmentConfig`]: which augmentations are drawn and how far they go; presets from nothing to everything.

use serde::{Deserialize, Serialize};
use unet_kernels::Filter;

use crate::DataError;

/// Which mirrorings and quarter turns are drawn, each of a set with equal probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Symmetry {
    /// The image as it is.
    #[default]
    None,
    /// As it is, or mirrored left to right: for images with an upper end.
    Mirror,
    /// As it is, mirrored horizontally, vertically, or both.
    Flips,
    /// All eight symmetries of the square.
    D4,
}

/// How a warped image's values between pixels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// From the four pixels around, which smooths: a network that learns from such images sees more noise in those that it predicts.
    #[default]
    Bilinear,
    /// From the sixteen around (Keys 1981, a = −½), nearly as sharp as the image itself.
    Bicubic,
}

impl From<Interpolation> for Filter {
    fn from(interpolation: Interpolation) -> Self {
        match interpolation {
            Interpolation::Bilinear => Self::Bilinear,
            Interpolation::Bicubic => Self::Bicubic,
        }
    }
}

/// How samples are augmented. Every magnitude of 0 switches its step off; the default is nothing at all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Mirrorings and quarter turns.
    pub symmetry: Symmetry,
    /// Probability, 0–1, that a draw is rotated, scaled and sheared; and, drawn apart, that it is deformed elastically.
    pub warp_probability: f32,
    /// Between pixels of a warped image; masks take the nearest one.
    pub interpolation: Interpolation,
    /// Rotation: uniform in ± this many degrees.
    pub rotate_degrees: f32,
    /// Scale: e to the power of a uniform draw in ± this.
    pub scale: f32,
    /// Shear: the tangent is uniform in ± this.
    pub shear: f32,
    /// Translation: uniform in ± this share of the patch's sides, beyond the place that the patch is cut at; mirrored at the borders.
    pub translate: f32,
    /// Elastic deformation: standard deviation in pixels of the displacements on a coarse grid (Ronneberger et al. 2015, §3.1: 10).
    pub elastic_sigma: f32,
    /// Spacing in pixels of that grid; displacements between its points are bicubic.
    pub elastic_spacing: f32,
    /// Dense elastic deformation (Simard et al. 2003): standard deviation in pixels of displacements drawn for every pixel and smoothed.
    pub dense_sigma: f32,
    /// Standard deviation in pixels of the Gaussian that smooths them.
    pub dense_smoothing: f32,
    /// Probability, 0–1, of each of the intensity steps below.
    pub intensity_probability: f32,
    /// Brightness: shift uniform in ± this share of the value range that the image uses (to a power of two: twelve bits of sixteen).
    pub brightness: f32,
    /// Contrast about the patch's mean: factor e to the power of a uniform draw in ± this.
    pub contrast: f32,
    /// Gamma: exponent e to the power of a uniform draw in ± this.
    pub gamma: f32,
    /// Probability, 0–1, that a gamma is applied to the inverted patch.
    pub gamma_inverted: f32,
    /// Noise: standard deviation uniform in 0 to this share of the value range that the image uses.
    pub noise: f32,
    /// Gaussian blur: standard deviation uniform in 0 to this many pixels.
    pub blur: f32,
    /// Low resolution: the patch is reduced by a factor uniform in 1 to this, and enlarged again; 1 or less switches it off.
    pub low_resolution: f32,
    /// Coarse dropout: up to so many rectangles take the patch's mean; the mask stays.
    pub dropout_holes: u32,
    /// Sides of these: uniform up to this share of the patch's.
    pub dropout_size: f32,
}

impl AugmentConfig {
    /// Nothing: every sample as it is.
    pub fn none() -> Self {
        Self::default()
    }

    /// The article's: as it is, mirrored horizontally, vertically, or both.
    pub fn flips() -> Self {
        Self { symmetry: Symmetry::Flips, ..Self::default() }
    }

    /// The eight symmetries of the square.
    pub fn d4() -> Self {
        Self { symmetry: Symmetry::D4, ..Self::default() }
    }

    /// Strong geometry and light: for few images and a quick recipe.
    pub fn strong() -> Self {
        Self {
            symmetry: Symmetry::D4,
            warp_probability: 0.8,
            rotate_degrees: 180.0,
            scale: 0.2,
            shear: 0.1,
            elastic_sigma: 5.0,
            elastic_spacing: 64.0,
            intensity_probability: 0.5,
            brightness: 0.1,
            contrast: 0.25,
            gamma: 0.25,
            noise: 0.04,
            ..Self::default()
        }
    }

    /// Every step there is: what the data benchmark measures as the full set.
    pub fn full() -> Self {
        Self {
            translate: 0.05,
            gamma_inverted: 0.15,
            blur: 1.0,
            low_resolution: 2.0,
            dropout_holes: 4,
            dropout_size: 0.15,
            ..Self::strong()
        }
    }

    /// Checks every number's range.
    ///
    /// # Errors
    /// [`DataError::Config`] naming the first that is out of it.
    pub fn validate(&self) -> Result<(), DataError> {
        let ranges = [
            ("augment.warp_probability", self.warp_probability, 1.0),
            ("augment.rotate_degrees", self.rotate_degrees, 180.0),
            ("augment.scale", self.scale, 2.0),
            ("augment.shear", self.shear, 2.0),
            ("augment.translate", self.translate, 1.0),
            ("augment.elastic_sigma", self.elastic_sigma, 1000.0),
            ("augment.dense_sigma", self.dense_sigma, 1000.0),
            ("augment.dense_smoothing", self.dense_smoothing, 1000.0),
            ("augment.gamma_inverted", self.gamma_inverted, 1.0),
            ("augment.blur", self.blur, 100.0),
            ("augment.low_resolution", self.low_resolution, 64.0),
            ("augment.dropout_holes", self.dropout_holes as f32, 1000.0),
            ("augment.dropout_size", self.dropout_size, 1.0),
            ("augment.intensity_probability", self.intensity_probability, 1.0),
            ("augment.brightness", self.brightness, 1.0),
            ("augment.contrast", self.contrast, 2.0),
            ("augment.gamma", self.gamma, 2.0),
            ("augment.noise", self.noise, 1.0),
        ];
        for (setting, value, most) in ranges {
            if !(0.0..=most).contains(&value) {
                return Err(DataError::config(setting, value, format!("a number from 0 to {most}")));
            }
        }
        if self.dense_sigma > 0.0 && self.dense_smoothing < 0.5 {
            let expected = "at least 0.5 pixels: without smoothing the deformation tears";
            return Err(DataError::config("augment.dense_smoothing", self.dense_smoothing, expected));
        }
        if self.elastic_sigma > 0.0 && !(2.0..=100_000.0).contains(&self.elastic_spacing) {
            return Err(DataError::config("augment.elastic_spacing", self.elastic_spacing, "at least 2 pixels"));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_bad_numbers_are_named() {
        let presets = [
            AugmentConfig::none(),
            AugmentConfig::flips(),
            AugmentConfig::d4(),
            AugmentConfig::strong(),
            AugmentConfig::full(),
        ];
        for preset in presets {
            preset.validate().unwrap();
        }
        let e = AugmentConfig { noise: f32::NAN, ..AugmentConfig::none() }.validate().unwrap_err();
        assert!(e.to_string().contains("augment.noise"), "{e}");
        let e = AugmentConfig { elastic_sigma: 5.0, ..AugmentConfig::none() }.validate().unwrap_err();
        assert!(e.to_string().contains("elastic_spacing"), "{e}");
    }
}
