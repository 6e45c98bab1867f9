//! Training and prediction with a U-Net, as a library: no command line, no terminal.
//!
//! - [`Trainer`] runs a [`RunConfig`] on a dataset into a run directory: checkpoints, logs, overlays. It tells [`observe::Observer`]s what
//!   happens, stops when asked to, and a stopped run goes on with [`Trainer::resume`], bit for bit as if it had not stopped.
//! - [`Learner`] is one training step to drive alone.
//! - [`Predictor`] puts a checkpoint to work on images; [`predict::predict_files`] writes masks, probabilities and overlays.
//! - [`evaluate_model`] and [`evaluate_predictions`] score against true masks.
//! - [`tune::tune`] finds the threshold and the parameters of objects that are best on held-out images.
//! - [`metric`] has the scores on plain arrays, those of the ISBI challenge among them; [`objects`] turns probabilities into measured objects.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//! use unet_data::{Dataset, Synthetic, SyntheticConfig};
//! use unet_train::{PredictOptions, Predictor, RunConfig, Trainer};
//!
//! let data = Arc::new(Synthetic::new(SyntheticConfig { width: 32, height: 32, slices: 3, seed: 1 })?);
//! let text = "train.epochs = 1\nmodel.width = 2\ndata.patch = 32\ndata.samples_per_epoch = 4\ndata.val = '2..3'";
//! let config = RunConfig::from_toml(text, "example", Some("quick"))?;
//! # let dir = tempfile::tempdir()?;
//! # let run = dir.path().join("run");
//! # let run = run.as_path();
//! # /*
//! let run = Path::new("runs/example");
//! # */
//! let summary = Trainer::new(config, data.clone(), run, vec![])?.run(&AtomicBool::new(false))?;
//! assert!(summary.finished);
//! let mut predictor = Predictor::open(run, PredictOptions::default())?;
//! let prediction = predictor.predict(&data.load(2)?.image, Path::new("slice 2"))?;
//! assert_eq!(prediction.labels.len(), 32 * 32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod config;
pub mod device;
mod error;
pub mod evaluate;
mod fingerprint;
mod hooks;
pub mod loss;
mod memory;
pub mod metric;
pub mod objects;
pub mod observe;
mod offending;
pub mod optim;
pub mod plan;
pub mod predict;
pub mod recipe;
mod run_log;
pub mod schedule;
mod selection;
mod setup;
mod state;
pub mod step;
mod threshold;
mod trainer;
pub mod tune;
mod validate;

pub use checkpoint::{Checkpoint, CheckpointMeta, RunDir};
pub use config::RunConfig;
pub use error::TrainError;
pub use evaluate::{Report, evaluate_model, evaluate_predictions, evaluate_predictions_as};
pub use hooks::{Hooks, Metric, Scored};
pub use memory::{ImageFacts, MemoryEstimate, estimate as estimate_memory};
pub use plan::{Choice, Means, Plan, plan};
pub use predict::{PredictOptions, Prediction, Predictor};
pub use schedule::Schedule;
pub use step::{Learner, StepReport};
pub use trainer::{ResumeOptions, Trainer};
