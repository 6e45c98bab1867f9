//! [`Sample`]: one image with its mask as class indices; what a dataset hands out.

use crate::{DataError, Image};

/// Class indices of one image, 0..classes or [`crate::IGNORE`], row-major (H, W).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Height · width class indices.
    pub labels: Vec<u8>,
}

impl LabelMap {
    /// A label map from its parts.
    ///
    /// # Errors
    /// [`DataError::Buffer`] where the length does not fit the dimensions.
    pub fn new(width: usize, height: usize, labels: Vec<u8>) -> Result<Self, DataError> {
        let expected = width.saturating_mul(height);
        if expected != labels.len() {
            return Err(DataError::Buffer { width, height, channels: 1, expected, found: labels.len() });
        }
        Ok(Self { width, height, labels })
    }
}

/// One image and, where there is one, its mask.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its name: the file's stem, with the page for one of a stack.
    pub id: String,
    /// The image as decoded.
    pub image: Image,
    /// The mask as class indices, of the image's size.
    pub mask: Option<LabelMap>,
}

impl Sample {
    /// Bytes that image and mask take in memory.
    pub fn bytes(&self) -> usize {
        self.image.bytes() + self.mask.as_ref().map_or(0, |m| m.labels.len())
    }
}
