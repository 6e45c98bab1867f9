//! The sections of the configuration that say how a run goes: how long and how often ([`TrainSection`]), which parameters move how
//! ([`GroupSection`]), the linear warm-up ([`Warmup`]), and by what the best epoch is known ([`Selection`]).

use serde::{Deserialize, Serialize};
use unet_kernels::{Kernels, Tier};
use unet_model::ModelError;

use crate::TrainError;
use crate::device::{Device, PrecisionChoice};
use crate::error::nearest;

/// How long, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Epochs.
    pub epochs: u64,
    /// Images, or patches, per batch.
    pub batch_size: usize,
    /// Batches whose gradients make one step.
    pub accumulate: usize,
    /// The seed of everything drawn: weights, order, augmentation.
    pub seed: u64,
    /// The gradient is scaled down to this norm where it is longer; 0 leaves it.
    pub clip_norm: f64,
    /// Decay of the weights' moving average, which is then what is validated and saved; 0 for none.
    pub ema_decay: f64,
    /// Batches from which the average's batch-norm statistics are taken anew before it is validated; 0 averages them like weights.
    pub ema_norm_batches: usize,
    /// What to do with a batch whose loss or gradient is no finite number.
    pub non_finite: NonFinite,
    /// What makes an epoch the best.
    pub select: Selection,
    /// Weight of the earlier epochs in the moving average that `select` compares, from 0 (none) to below 1.
    pub select_smoothing: f64,
    /// Stop after so many epochs in a row that were no better; 0 never.
    pub patience: u64,
    /// By how much an epoch has to be better to count for `patience`.
    pub min_delta: f64,
    /// Stop and save after so many seconds, counted anew when the run is resumed; 0 never.
    pub max_seconds: f64,
    /// Checkpoints of so many of the latest epochs are kept beside best and last.
    pub keep_last: usize,
    /// Validation images whose overlay is written after each epoch.
    pub samples: usize,
    /// Histograms of weights and gradients go to TensorBoard after every so many epochs; 0 never.
    pub histograms: u64,
    /// The state is saved at least this often, in seconds, where steps are made (ahead of a validation that would take it beyond that,
    /// too), and after each epoch; 0 only then.
    pub save_seconds: f64,
    /// Whether a run that needs more memory than there is, is refused before its first step.
    pub memory_check: bool,
    /// Threads that compute; 0 for one per core.
    pub threads: usize,
    /// Where to compute: `auto` or `cpu`.
    pub device: Device,
    /// Instruction set of the kernels, for bug reports; without one the fastest, or what `UNET_TIER` says.
    #[serde(default, with = "crate::device::tier_name", skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// In which numbers activations are stored: `auto`, `f32` or `bf16`. Weights, statistics and sums are f32 in each.
    pub precision: PrecisionChoice,
    /// Whether activations within a block are computed again in the backward pass instead of kept: less memory, more time, the same bits.
    pub checkpoint_activations: bool,
}

/// What to do with a batch whose loss or gradient is no finite number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NonFinite {
    /// End the run; the checkpoints stay.
    #[default]
    Stop,
    /// Leave the batch out and go on; ten in a row end the run. An epoch whose validation loss is none has no value.
    Skip,
}

/// Which parameters move how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSection {
    /// Which parameters weight decay shrinks.
    pub decay: Decay,
    /// Factor of the learning rate of the encoder (`inc`, `down1` …); 0 freezes its weights.
    pub encoder_lr: f64,
}

impl Default for GroupSection {
    fn default() -> Self {
        Self { decay: Decay::All, encoder_lr: 1.0 }
    }
}

/// Which parameters weight decay shrinks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Every one, as `torch.optim` does with one group.
    #[default]
    All,
    /// The kernels of convolutions: no norm, no bias.
    Kernels,
}

/// A linear rise of the learning rate ahead of the schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    /// Steps that it takes; the schedule begins after them.
    pub steps: u64,
    /// The factor that it rises from, 0 to 1: the first step has `from + (1 − from)/steps`.
    #[serde(default)]
    pub from: f64,
}

/// What makes an epoch the best: the name of a measure. Which way is better follows from the name: losses and errors fall, all else rises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selection(String);

/// Measures without a class.
const PLAIN: [&str; 9] = [
    "auto",
    "train_loss",
    "val_loss",
    "val_dice",
    "val_iou",
    "val_pixel_accuracy",
    "val_pixel_error",
    "val_v_rand",
    "val_v_info",
];

impl Selection {
    /// The validation loss, or the training loss without validation images.
    pub fn auto() -> Self {
        Self("auto".to_owned())
    }

    /// The measure's name: `auto`, `train_loss`, or `val_` and what is measured on the validation images (`val_loss`, `val_dice`,
    /// `val_iou`, `val_pixel_accuracy`, `val_pixel_error`, the ISBI challenge's `val_v_rand` and `val_v_info` where there are two
    /// classes; of one class `val_dice_255`, and so with `iou`, `precision`, `recall`; or a caller's own metric).
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The name of what is measured, with validation images or without.
    pub(crate) fn measured(&self, has_val: bool) -> &str {
        match self.name() {
            "auto" if has_val => "val_loss",
            "auto" => "train_loss",
            name => name,
        }
    }

    /// Whether it needs validation images.
    pub fn needs_validation(&self) -> bool {
        self.0.starts_with("val_")
    }
}

impl std::str::FromStr for Selection {
    type Err = TrainError;

    /// # Errors
    /// The text is neither `auto` nor `train_loss` nor begins with `val_`.
    fn from_str(text: &str) -> Result<Self, TrainError> {
        let name = text.trim().replace('-', "_");
        if PLAIN.contains(&name.as_str()) || name.len() > 4 && name.starts_with("val_") {
            return Ok(Self(name));
        }
        let near = nearest(&name, PLAIN).map_or_else(String::new, |n| format!(" (did you mean '{n}'?)"));
        let expected = format!(
            "{}, of one class val_dice_VALUE (iou, precision, recall), or val_ and the name of a metric{near}",
            PLAIN.join(", ")
        );
        Err(TrainError::config("train.select", text, expected))
    }
}

impl TryFrom<String> for Selection {
    type Error = TrainError;

    fn try_from(text: String) -> Result<Self, TrainError> {
        text.parse()
    }
}

impl From<Selection> for String {
    fn from(selection: Selection) -> Self {
        selection.0
    }
}

impl TrainSection {
    /// The kernels that the run computes with: those of `tier`, or else what the program has forced, what `UNET_TIER` asks for, or the
    /// fastest.
    ///
    /// # Errors
    /// The processor lacks the tier, or `UNET_TIER` names none.
    pub fn kernels(&self) -> Result<Kernels, TrainError> {
        let Some(tier) = self.tier else { return Ok(Kernels::from_env().map_err(ModelError::from)?) };
        let expected =
            || format!("a tier that this processor supports, at best {}; choose it with --tier", Tier::detect());
        Kernels::with_tier(tier).map_err(|_| TrainError::config("train.tier", tier, expected()))
    }

    /// Checks every number.
    pub(super) fn validate(&self) -> Result<(), TrainError> {
        for (key, found) in
            [("epochs", self.epochs), ("batch_size", self.batch_size as u64), ("accumulate", self.accumulate as u64)]
        {
            if found == 0 {
                return Err(TrainError::config(format!("train.{key}"), found, "1 or more"));
            }
        }
        for (key, found, zero) in [
            ("clip_norm", self.clip_norm, "no clipping"),
            ("min_delta", self.min_delta, "any improvement"),
            ("max_seconds", self.max_seconds, "no limit"),
            ("save_seconds", self.save_seconds, "after each epoch only"),
        ] {
            if !(found >= 0.0 && found.is_finite()) {
                return Err(TrainError::config(format!("train.{key}"), found, format!("0 ({zero}) or more")));
            }
        }
        for (key, found, zero) in
            [("ema_decay", self.ema_decay, "no average"), ("select_smoothing", self.select_smoothing, "no smoothing")]
        {
            if !(0.0..1.0).contains(&found) {
                return Err(TrainError::config(
                    format!("train.{key}"),
                    found,
                    format!("0 ({zero}) or more, and less than 1"),
                ));
            }
        }
        Ok(())
    }
}

impl GroupSection {
    pub(super) fn validate(&self) -> Result<(), TrainError> {
        if self.encoder_lr >= 0.0 && self.encoder_lr.is_finite() {
            return Ok(());
        }
        Err(TrainError::config("groups.encoder_lr", self.encoder_lr, "0 (frozen) or more"))
    }
}

impl Warmup {
    pub(super) fn validate(&self) -> Result<(), TrainError> {
        if (0.0..=1.0).contains(&self.from) {
            return Ok(());
        }
        Err(TrainError::config("warmup.from", self.from, "0 to 1"))
    }
}
