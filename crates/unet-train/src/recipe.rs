//! Named recipes: complete configurations to start from.
//!
//! `tutorial` follows the article's words. Its code differs from them in two places: it keeps the weights of the lowest single-batch
//! loss, where this recipe keeps those of the lowest epoch mean (of the validation loss, when images are held out), and its flip call
//! mirrors vertically or not at all, where this recipe mirrors as drawn.
//!
//! `auto`, the default, is where a plan starts ([`mod@crate::plan`]): its patch, loss, augmentation, width and steps follow from the data, the
//! machine and the time; as it stands here it is a small network for a few minutes. `quick` is fixed: small steps, whatever the data.

use std::collections::BTreeMap;

use unet_data::{AugmentConfig, Axes, Sampler, ValSpec};
use unet_model::UNetConfig;

use crate::TrainError;
use crate::config::{
    CONFIG_VERSION, DataSection, GroupSection, ModelSection, NonFinite, NormalizationKind, PredictSection, RunConfig,
    Selection, TrainSection, Warmup,
};
use crate::device::{Device, PrecisionChoice};
use crate::error::nearest;
use crate::loss::{AffinityConfig, LossConfig};
use crate::optim::OptimizerConfig;
use crate::schedule::{By, Schedule};

/// Names of all recipes.
pub const RECIPES: [&str; 3] = [AUTO, "quick", "tutorial"];

/// The recipe where none is named.
pub const DEFAULT_RECIPE: &str = AUTO;

/// The recipe that is planned.
pub const AUTO: &str = "auto";

/// The recipe of that name.
///
/// # Errors
/// There is none.
pub fn recipe(name: &str) -> Result<RunConfig, TrainError> {
    match name {
        AUTO => Ok(auto()),
        "quick" => Ok(quick()),
        "tutorial" => Ok(tutorial()),
        _ => Err(TrainError::UnknownRecipe {
            found: name.to_owned(),
            nearest: nearest(name, RECIPES),
            known: RECIPES.map(str::to_owned).to_vec(),
        }),
    }
}

/// The article: whole images, raw values, four flips, one image a step, 40 epochs, BCE with logits, RMSprop.
fn tutorial() -> RunConfig {
    RunConfig {
        version: CONFIG_VERSION,
        recipe: "tutorial".to_owned(),
        data: data(NormalizationKind::Raw, ValSpec::None),
        model: ModelSection::from(&UNetConfig::tutorial()),
        augment: AugmentConfig::flips(),
        loss: LossConfig::default(),
        affinity: AffinityConfig::default(),
        optimizer: OptimizerConfig::tutorial(),
        groups: GroupSection::default(),
        schedule: Schedule::default(),
        warmup: Warmup::default(),
        train: TrainSection { epochs: 40, batch_size: 1, ..train() },
        predict: PredictSection::default(),
        why: BTreeMap::new(),
    }
}

/// Where a plan starts: Muon, the rate falling in a line, clipped, averaged, batch norm's statistics of the average taken anew.
fn auto() -> RunConfig {
    let quick = quick();
    RunConfig {
        recipe: AUTO.to_owned(),
        optimizer: OptimizerConfig::muon(),
        schedule: Schedule::Poly { power: 1.0, by: By::Step },
        ..quick
    }
}

/// Small and fast: patches, normalised, strongly augmented; AdamW on one cycle, clipped, averaged.
fn quick() -> RunConfig {
    RunConfig {
        version: CONFIG_VERSION,
        recipe: "quick".to_owned(),
        data: DataSection {
            patch: 256,
            samples_per_epoch: 50,
            ..data(NormalizationKind::MeanStd, ValSpec::Percent(20.0))
        },
        model: ModelSection { width: 16, ..ModelSection::from(&UNetConfig::tutorial()) },
        augment: AugmentConfig::strong(),
        loss: LossConfig::default(),
        affinity: AffinityConfig::default(),
        optimizer: OptimizerConfig::adamw(1e-3),
        groups: GroupSection::default(),
        schedule: Schedule::one_cycle(),
        warmup: Warmup::default(),
        train: TrainSection { epochs: 20, batch_size: 2, clip_norm: 1.0, ema_decay: 0.98, ..train() },
        predict: PredictSection::default(),
        why: BTreeMap::new(),
    }
}

fn data(normalization: NormalizationKind, val: ValSpec) -> DataSection {
    DataSection {
        path: None,
        ignore: None,
        mask_threshold: None,
        multi_label: false,
        axes: Axes::Auto,
        val,
        folds: None,
        fold: None,
        normalization,
        patch: 0,
        sampler: Sampler::Random,
        weight_map: None,
        samples_per_epoch: 0,
        shuffle: true,
        threads: 0,
        prefetch: 4,
        cache_mib: 1024,
    }
}

fn train() -> TrainSection {
    TrainSection {
        epochs: 1,
        batch_size: 1,
        accumulate: 1,
        seed: 0,
        clip_norm: 0.0,
        ema_decay: 0.0,
        ema_norm_batches: 0,
        non_finite: NonFinite::Stop,
        select: Selection::auto(),
        select_smoothing: 0.0,
        patience: 0,
        min_delta: 0.0,
        max_seconds: 0.0,
        keep_last: 0,
        samples: 3,
        histograms: 0,
        save_seconds: 60.0,
        memory_check: true,
        threads: 0,
        device: Device::Cpu,
        tier: None,
        precision: PrecisionChoice::Auto,
        checkpoint_activations: false,
    }
}
