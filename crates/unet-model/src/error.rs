//! What can go wrong with a model, each with the facts that its user needs.

use std::path::PathBuf;

use crate::config::ConfigError;
use crate::weights::WeightsProblem;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The configuration describes no network.
    #[error("no such network: {0}")]
    Config(#[from] ConfigError),
    /// The input has other extents than the network takes.
    #[error("the network takes {expected}, got {found}")]
    Input {
        /// What it takes.
        expected: String,
        /// What it was given.
        found: String,
    },
    /// A name that the network does not have.
    #[error("the network has no parameter '{0}'")]
    UnknownParameter(String),
    /// A parameter or a gradient of another length than its name stands for.
    #[error("'{name}' has {expected} values, got {found}")]
    Length {
        /// The parameter.
        name: String,
        /// Its values.
        expected: usize,
        /// Values that came.
        found: usize,
    },
    /// Weights that are not this network's.
    #[error("{path}: {problem}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is missing, unexpected, malformed, and what to do.
        problem: WeightsProblem,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// Candle's own error.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The kernels do not run here.
    #[error(transparent)]
    Tier(#[from] unet_kernels::TierError),
    /// A view that does not fit its slice.
    #[error(transparent)]
    Shape(#[from] unet_kernels::ShapeError),
}
