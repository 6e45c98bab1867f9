//! What a run tells while it goes: [`Event`]s out to [`Observer`]s. Observers never call back into the trainer; their failure to
//! write is the run's error.

mod jsonl;
mod record;
mod tensorboard;

pub use jsonl::JsonLines;
pub use record::{EpochRecord, ValidationRecord};
pub use tensorboard::TensorBoard;

use std::path::Path;
use std::time::Duration;

use unet_data::Image;
use unet_model::{Gradients, UNet};

use crate::TrainError;
use crate::config::RunConfig;
use crate::memory::MemoryEstimate;

/// Something that happened in a run. Epochs and steps count from 1.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Everything is ready; the first step comes next.
    Start {
        /// The resolved configuration.
        config: &'a RunConfig,
        /// What will be done.
        plan: &'a RunPlan,
    },
    /// A training step was made.
    Step(StepEvent),
    /// A batch was left out, as its loss or gradient was no finite number.
    Skipped {
        /// The step that it was for.
        step: u64,
        /// What was wrong, in words.
        problem: &'a str,
    },
    /// The validation of an epoch (0 is the model that the run starts from) was left out, as a loss in it was no finite number: the epoch has
    /// no value.
    Unscored {
        /// The epoch.
        epoch: u64,
        /// What was wrong, in words.
        problem: &'a str,
    },
    /// The model that the run starts from was scored: the mark to beat.
    Baseline {
        /// Its scores.
        record: &'a ValidationRecord,
        /// What is compared, and its value.
        best: &'a Best,
    },
    /// Weights and gradients at the end of an epoch, where the configuration asks for their histograms.
    Parameters {
        /// Steps done.
        step: u64,
        /// The network that is trained.
        model: &'a UNet,
        /// The latest step's gradients.
        gradients: &'a Gradients,
    },
    /// A validation image was scored: `done` of `total` in this epoch.
    Validating {
        /// Images scored.
        done: usize,
        /// Validation images.
        total: usize,
    },
    /// An epoch is over, validation included.
    Epoch(&'a EpochRecord),
    /// The best epoch is now this one; of a run that goes on, the best before its first step.
    Best(&'a Best),
    /// A checkpoint was written.
    Checkpoint {
        /// The file.
        path: &'a Path,
        /// Whether it is the best so far, or just the newest.
        best: bool,
    },
    /// The overlay of a validation image was written.
    Sample {
        /// The file.
        path: &'a Path,
        /// The image's name.
        id: &'a str,
        /// Steps done.
        step: u64,
        /// The overlay: 8-bit RGB.
        image: &'a Image,
    },
    /// The run was asked to stop, or its time was up; it finished its step and wrote its state: `--resume` with this directory continues
    /// it.
    Stopped {
        /// The run directory.
        run: &'a Path,
        /// Steps done.
        step: u64,
    },
    /// The last step is done.
    End(&'a RunSummary),
}

/// One training step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepEvent {
    /// Epoch.
    pub epoch: u64,
    /// Step of the epoch.
    pub step_in_epoch: u64,
    /// Step of the run.
    pub step: u64,
    /// Images in the batch.
    pub images: usize,
    /// The batch's mean loss.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f64,
    /// Norm of the whole gradient, before clipping.
    pub grad_norm: f64,
    /// How long it took, waiting for the loader included.
    pub time: Duration,
}

/// What a run will do: known before its first step.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPlan {
    /// The dataset's name.
    pub data: String,
    /// Training images.
    pub train_images: usize,
    /// Validation images.
    pub val_images: usize,
    /// Mask values of the classes.
    pub class_values: Vec<u32>,
    /// The network.
    pub model: unet_model::UNetConfig,
    /// Trained values.
    pub parameters: usize,
    /// Epochs in all.
    pub epochs: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// What the run needs.
    pub memory: MemoryEstimate,
    /// Steps done before (a resumed run's), 0 for a new one.
    pub first_step: u64,
    /// Kernels' instruction set.
    pub tier: String,
    /// Number format that activations are stored in.
    pub precision: unet_model::Precision,
    /// Threads that compute.
    pub threads: usize,
    /// What the user may want to know, a sentence each.
    pub notes: Vec<String>,
}

impl RunPlan {
    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.epochs * self.steps_per_epoch
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run directory.
    pub run: std::path::PathBuf,
    /// Whether nothing is left to do; if not, it was stopped and can be resumed.
    pub finished: bool,
    /// Why it ended.
    pub ended: Ended,
    /// The value of what selects the best epoch, of the model that the run started from, where it was scored.
    pub baseline: Option<f64>,
    /// Batches that were left out.
    pub skipped: u64,
    /// Steps done.
    pub step: u64,
    /// The best epoch and the value that made it so, once an epoch is over.
    pub best: Option<Best>,
    /// The last epoch's record, once an epoch is over.
    pub last: Option<EpochRecord>,
    /// Time of this session.
    pub time: Duration,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All epochs are done.
    Epochs,
    /// No epoch got better for as long as `train.patience` says.
    Patience,
    /// `train.max_seconds` are over.
    Time,
    /// It was asked to.
    Asked,
}

/// The best epoch so far.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Best {
    /// Which one; 0 is the model that the run started from.
    pub epoch: u64,
    /// What is compared: `train_loss`, `val_loss`, `val_dice` …
    pub metric: String,
    /// Its value, smoothed if the run smooths it; no number as long as no epoch has had anything to measure.
    #[serde(deserialize_with = "record::number")]
    pub value: f64,
}

/// Takes note of what happens in a run.
pub trait Observer: Send {
    /// Called for each event, in order, between two steps: be quick.
    ///
    /// # Errors
    /// Ends the run.
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError>;
}

impl<F: FnMut(&Event<'_>) -> Result<(), TrainError> + Send> Observer for F {
    fn on_event(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        self(event)
    }
}
