//! Image files, datasets, augmentation and the parallel loader of the U-Net workspace: plain arrays out.
#![forbid(unsafe_code)]

pub mod augment;
pub mod batch;
pub mod codec;
pub mod dataset;
pub mod error;
pub mod image;
pub mod labels;
pub mod loader;
pub mod normalize;
mod random;
pub mod sample;
pub mod split;

pub use self::augment::{AugmentConfig, Augmenter, Symmetry};
pub use self::batch::{Batch, Patch};
pub use self::dataset::synthetic::{Synthetic, SyntheticConfig};
pub use self::dataset::{Dataset, InputImage, open, open_images, open_with_classes};
pub use self::error::DataError;
pub use self::image::{Image, Pixels};
pub use self::labels::{Class, ClassTable, ValueCensus};
pub use self::loader::{Loader, LoaderConfig};
pub use self::normalize::Normalization;
pub use self::sample::{LabelMap, Sample};
pub use self::split::{Split, ValSpec};
