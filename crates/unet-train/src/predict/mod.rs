//! Prediction: image → normalise → network, whole or in tiles → probabilities → labels → files in the user's own mask values.

mod average;
mod blend;
mod files;
mod large;
mod object_files;
mod overlay;
mod prediction;
mod predictor;
mod probability;
mod rows;
mod segmenter;
mod session;
mod tiling;
mod view;

pub use files::{Existing, FilePrediction, Output, OutputOptions, check_outputs, parse_outputs, predict_files};
pub use overlay::overlay;
pub use prediction::Prediction;
pub use predictor::{PredictOptions, Predictor};
pub use rows::{PredictedRows, RowSource};
pub use session::{Tile, TileSession};
pub use tiling::{Tiling, TilingError};
pub use view::Augmentation;

pub(crate) use probability::{labels_of, probabilities_of};
pub(crate) use segmenter::Segmenter;
pub(crate) use tiling::Span;
