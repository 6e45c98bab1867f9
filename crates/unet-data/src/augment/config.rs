//! [`AugmentConfig`]: which augmentations are drawn and how far they go; presets from nothing to everything.

use serde::{Deserialize, Serialize};

use crate::DataError;

/// Which mirrorings and quarter turns are drawn, each of a set with equal probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Symmetry {
    /// The image as it is.
    #[default]
    None,
    /// As it is, mirrored horizontally, vertically, or both.
    Flips,
    /// All eight symmetries of the square.
    D4,
}

/// How samples are augmented. Every magnitude of 0 switches its step off; the default is nothing at all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Mirrorings and quarter turns.
    pub symmetry: Symmetry,
    /// Probability, 0–1, that a draw is rotated, scaled and sheared; and, drawn apart, that it is deformed elastically.
    pub warp_probability: f32,
    /// Rotation: uniform in ± this many degrees.
    pub rotate_degrees: f32,
    /// Scale: e to the power of a uniform draw in ± this.
    pub scale: f32,
    /// Shear: the tangent is uniform in ± this.
    pub shear: f32,
    /// Elastic deformation: standard deviation in pixels of the displacements on a coarse grid (Ronneberger et al. 2015, §3.1: 10).
    pub elastic_sigma: f32,
    /// Spacing in pixels of that grid; displacements between its points are bicubic.
    pub elastic_spacing: f32,
    /// Probability, 0–1, of each of the intensity steps below.
    pub intensity_probability: f32,
    /// Brightness: shift uniform in ± this share of the value range.
    pub brightness: f32,
    /// Contrast about the patch's mean: factor e to the power of a uniform draw in ± this.
    pub contrast: f32,
    /// Gamma: exponent e to the power of a uniform draw in ± this.
    pub gamma: f32,
    /// Noise: standard deviation uniform in 0 to this share of the value range.
    pub noise: f32,
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

    /// The full set: for few images and a quick recipe.
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
            ("augment.elastic_sigma", self.elastic_sigma, 1000.0),
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
        for preset in [AugmentConfig::none(), AugmentConfig::flips(), AugmentConfig::d4(), AugmentConfig::strong()] {
            preset.validate().unwrap();
        }
        let e = AugmentConfig { noise: f32::NAN, ..AugmentConfig::none() }.validate().unwrap_err();
        assert!(e.to_string().contains("augment.noise"), "{e}");
        let e = AugmentConfig { elastic_sigma: 5.0, ..AugmentConfig::none() }.validate().unwrap_err();
        assert!(e.to_string().contains("elastic_spacing"), "{e}");
    }
}
