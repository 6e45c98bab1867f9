//! Augmentation: one draw decides where a patch is cut and how it is turned, warped and relit; image and mask share the geometry.
//!
//! All geometric steps compose into one resampling of the source (bilinear for the image, nearest for the mask, mirrored
//! borders); where only flips and quarter turns are drawn, pixels are copied exactly. Intensities change after the geometry.

mod config;
mod degrade;
mod elastic;
mod geometric;
mod intensity;

use rand::Rng;
use unet_kernels::{Dims, Kernels, ShapeError};

pub use self::config::{AugmentConfig, Interpolation, Symmetry};
pub(crate) use self::geometric::Place;
use self::geometric::{Geometry, Mapped};
pub(crate) use self::intensity::quick_normal;
use crate::{DataError, Image, LabelMap, Sample};

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
    /// Weights of the pixels: (H, W), where there was a map of them.
    pub weights: Option<Vec<f32>>,
}

/// What a patch is cut from: one geometry for all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) image: &'a Image,
    pub(crate) labels: Option<&'a LabelMap>,
    pub(crate) weights: Option<&'a [f32]>,
}

/// Draws augmented patches from samples.
#[derive(Debug, Clone)]
pub struct Augmenter {
    config: AugmentConfig,
    kernels: Kernels,
}

impl Augmenter {
    /// An augmenter of a valid configuration.
    ///
    /// # Errors
    /// What [`AugmentConfig::validate`] finds.
    pub fn new(config: AugmentConfig) -> Result<Self, DataError> {
        config.validate()?;
        Ok(Self { config, kernels: Kernels::detect() })
    }

    /// The configuration.
    pub fn config(&self) -> &AugmentConfig {
        &self.config
    }

    /// One draw. `patch` is the side of a square cut at a random place, or `None` for the whole image at its size (quarter turns
    /// then only for square images, so that the size stays).
    ///
    /// The outcome depends on the sample, the configuration and the generator alone.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where the mask is not of the image's size.
    pub fn draw(&self, sample: &Sample, patch: Option<usize>, rng: &mut impl Rng) -> Result<Augmented, DataError> {
        let source = Source { image: &sample.image, labels: sample.mask.as_ref(), weights: None };
        self.draw_at(source, patch, (Place::Anywhere, 0), rng)
    }

    /// One draw with all that belongs to the image, at a given place, with a margin of so many pixels around it.
    pub(crate) fn draw_at(
        &self,
        source: Source<'_>,
        patch: Option<usize>,
        (place, margin): (Place, usize),
        rng: &mut impl Rng,
    ) -> Result<Augmented, DataError> {
        let image = source.image;
        let size = (image.width(), image.height());
        if let Some(labels) = source.labels.filter(|l| (l.width, l.height) != size) {
            let (expected, found) = (size.0 * size.1, labels.labels.len());
            return Err(DataError::Buffer { width: size.0, height: size.1, channels: 1, expected, found });
        }
        let impossible = |e: ShapeError| DataError::config("patch", format!("{patch:?} of {size:?}"), e.to_string());
        let geometry =
            Geometry::draw(&self.config, self.kernels, size, (patch, place, margin), rng).map_err(impossible)?;
        let Mapped { image: mut values, labels, weights } = geometry.apply(self.kernels, source);
        let (width, height) = geometry.size();
        let dims = Dims::new(1, height, width, image.channels());
        intensity::apply(&self.config, self.kernels, &mut values, dims, image, rng).map_err(impossible)?;
        Ok(Augmented { width, height, image: values, labels, weights })
    }
}
