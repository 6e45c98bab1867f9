//! Augmentation: one draw decides where a patch is cut and how it is turned, warped and relit; image and mask share the geometry.
//!
//! All geometric steps compose into one resampling of the source (bilinear for the image, nearest for the mask, mirrored
//! borders); where only flips and quarter turns are drawn, pixels are copied exactly. Intensities change after the geometry.

mod config;
mod elastic;
mod geometric;
mod intensity;

use rand::Rng;

pub use self::config::{AugmentConfig, Symmetry};
use self::geometric::Geometry;
pub(crate) use self::intensity::quick_normal;
use crate::{DataError, Sample};

/// One augmented cut of a sample, values still raw.
#[derive(Debug, Clone, PartialEq)]
pub struct Augmented {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Raw values: (H, W, C).
    pub image: Vec<f32>,
    /// Class indices: (H, W); `None` where the sample has no mask.
    pub labels: Option<Vec<u8>>,
}

/// Draws augmented patches from samples.
#[derive(Debug, Clone)]
pub struct Augmenter {
    config: AugmentConfig,
}

impl Augmenter {
    /// An augmenter of a valid configuration.
    ///
    /// # Errors
    /// What [`AugmentConfig::validate`] finds.
    pub fn new(config: AugmentConfig) -> Result<Self, DataError> {
        config.validate()?;
        Ok(Self { config })
    }

    /// The configuration.
    pub fn config(&self) -> &AugmentConfig {
        &self.config
    }

    /// One draw. `patch` is the side of a square cut at a random place, or `None` for the whole image at its size (quarter turns
    /// then only for square images, so that the size stays).
    ///
    /// The outcome depends on the sample, the configuration and the generator alone.
    pub fn draw(&self, sample: &Sample, patch: Option<usize>, rng: &mut impl Rng) -> Augmented {
        let image = &sample.image;
        let geometry = Geometry::draw(&self.config, (image.width(), image.height()), patch, rng);
        let mut values = geometry.image(image);
        let labels = sample.mask.as_ref().map(|mask| geometry.labels(mask));
        intensity::apply(&self.config, &mut values, image, rng);
        let (width, height) = geometry.size();
        Augmented { width, height, image: values, labels }
    }
}
