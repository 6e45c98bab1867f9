//! What can be wrong with images that are to be scored.

use thiserror::Error;

use crate::objects::GridError;

/// Why no score could be given.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ScoreError {
    /// A slice does not cover its image.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// Truth and proposal are not of the same pixels.
    #[error("the truth has {truth} pixels and the proposal {proposal}; both have to be of the same image")]
    Lengths {
        /// Pixels of the truth.
        truth: usize,
        /// Pixels of the proposal.
        proposal: usize,
    },
    /// A value that cannot be a probability.
    #[error("image {image}: the value {value} at pixel ({x}, {y}) is no probability; expected numbers from 0 to 1")]
    Probability {
        /// Place of the image among those given, from 0.
        image: usize,
        /// Column.
        x: usize,
        /// Row.
        y: usize,
        /// What was found.
        value: f32,
    },
    /// No image has a cell in its truth.
    #[error(
        "no cell in the truth of {images} images: V_rand and V_info need at least one; check which value means cell"
    )]
    NoForeground {
        /// Number of images given.
        images: usize,
    },
    /// A tolerance that is no distance.
    #[error("a boundary tolerance of {found} pixels: expected 0 or more")]
    Tolerance {
        /// What was asked for.
        found: f64,
    },
}
