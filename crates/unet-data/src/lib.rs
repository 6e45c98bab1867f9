//! Image files, datasets, augmentation and the parallel loader: plain arrays out.
//!
//! The way of the data, and the order to read the modules in: a file is decoded ([`codec`]) to an [`Image`] of its own pixel type;
//! a [`Dataset`] pairs images with masks ([`open`] finds out what a folder holds) and gives [`Sample`]s, masks as class indices
//! ([`labels`]); a [`Loader`] cuts, augments ([`augment`]), normalises ([`normalize`]) and stacks them into [`Batch`]es on its own
//! threads. Nothing here knows the network. Every error ([`DataError`]) names the file, what was found and what to do; every draw
//! follows from a seed, an epoch and an index.
//!
//! ```
//! use std::sync::Arc;
//! use unet_data::{AugmentConfig, Loader, LoaderConfig, Synthetic, SyntheticConfig, ValSpec};
//!
//! let stack = SyntheticConfig { width: 96, height: 96, slices: 5, seed: 1 };
//! let data = Arc::new(Synthetic::new(stack)?); // or unet_data::open(path)? for files
//! let split = "20%".parse::<ValSpec>()?.split(5)?;
//! let config = LoaderConfig { batch_size: 2, patch: Some(64), augment: AugmentConfig::strong(), ..LoaderConfig::default() };
//! for batch in Loader::new(data, split.train, config)?.epoch(0) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.n * 64 * 64); // (N, H, W, C) with one channel
//! }
//! # Ok::<(), unet_data::DataError>(())
//! ```
#![forbid(unsafe_code)]

pub mod augment;
pub mod batch;
pub mod codec;
pub mod dataset;
pub mod doctor;
pub mod error;
pub mod image;
pub mod labels;
pub mod loader;
pub mod neighbours;
pub mod normalize;
mod percentile;
pub mod preview;
mod random;
pub mod sample;
pub mod sampler;
pub mod split;
pub mod survey;
pub mod tails;
pub mod weight_map;

pub use self::augment::{AugmentConfig, Augmenter, Interpolation, Symmetry};
pub use self::batch::{Batch, Patch};
pub use self::codec::Axes;
pub use self::dataset::synthetic::{Synthetic, SyntheticConfig};
pub use self::dataset::{
    Dataset, InputImage, OpenOptions, list_images, open, open_images, open_images_as, open_with, open_with_classes,
};
pub use self::doctor::{Checkup, Finding, Histogram, Severity, checkup};
pub use self::error::DataError;
pub use self::image::{Image, PixelSize, Pixels};
pub use self::labels::{Class, ClassTable, IGNORE, MOST_LAYERS, MaskKind, MaskOptions, MaskValue, ValueCensus};
pub use self::loader::{Loader, LoaderConfig};
pub use self::neighbours::neighbours_alike;
pub use self::normalize::Normalization;
pub use self::preview::contact_sheet;
pub use self::sample::{LabelMap, Sample};
pub use self::sampler::{LabelBook, LabelSnapshot, Sampler};
pub use self::split::{Split, ValSpec};
pub use self::survey::{ClassSurvey, Survey, survey};
pub use self::tails::Tails;
pub use self::weight_map::WeightMapConfig;
