//! Prediction: image → normalise → network, whole or in tiles → probabilities → labels → files in the user's own mask values.

mod files;
mod overlay;
mod predictor;
mod tile;

pub use files::{FilePrediction, Output, OutputOptions, check_outputs, parse_outputs, predict_files};
pub use overlay::overlay;
pub use predictor::{PredictOptions, Prediction, Predictor};
pub use tile::{Tiling, TilingError};

pub(crate) use predictor::{labels_of, probabilities_of};
pub(crate) use tile::Segmenter;
