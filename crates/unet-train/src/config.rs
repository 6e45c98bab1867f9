//! [`RunConfig`]: everything that decides a run, as one TOML file. A file may say little: what it leaves out comes from its recipe.
//! The resolved configuration, written to the run directory, repeats the run.
//!
//! Length: every key of the file with its checks, which are read side by side.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use unet_data::{
    AugmentConfig, Axes, DataError, Dataset, LoaderConfig, MaskOptions, MaskValue, Normalization, OpenOptions, Sampler,
    ValSpec, WeightMapConfig,
};
use unet_model::{Norm, Options, UNetConfig, Upsampling, geometry};

mod predict;
mod text;
mod train;

pub use predict::PredictSection;
pub use train::{Decay, GroupSection, NonFinite, Selection, TrainSection, Warmup};

use crate::TrainError;
use crate::loss::{AffinityConfig, LossConfig};
use crate::optim::OptimizerConfig;
use crate::recipe::recipe;
use crate::schedule::Schedule;

/// The version of the configuration that this program writes.
pub const CONFIG_VERSION: u32 = 2;

/// A run's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The file's version.
    pub version: u32,
    /// The recipe that filled in what the file left out.
    pub recipe: String,
    /// Which images, and how they reach the network.
    pub data: DataSection,
    /// The network.
    pub model: ModelSection,
    /// How images are varied.
    pub augment: AugmentConfig,
    /// What is minimised.
    pub loss: LossConfig,
    /// Which pairs of pixels the network learns about beside that.
    #[serde(default, skip_serializing_if = "AffinityConfig::is_none")]
    pub affinity: AffinityConfig,
    /// How.
    pub optimizer: OptimizerConfig,
    /// Which parameters move how.
    pub groups: GroupSection,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// How it rises before that.
    pub warmup: Warmup,
    /// How long, how often.
    pub train: TrainSection,
    /// How the network is used when it is trained.
    #[serde(default)]
    pub predict: PredictSection,
    /// Why what was planned was chosen so. Informative.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub why: BTreeMap<String, String>,
}

/// Which images, and how they reach the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// The dataset's folder or name. Informative in the library, which is handed a dataset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The mask value (or `#rrggbb` colour) of pixels that take part in no loss and no metric. Informative in the library, as `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore: Option<MaskValue>,
    /// Mask values from this one on are class 1, all others class 0. Informative in the library, as `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask_threshold: Option<f64>,
    /// Whether each channel (or page) of a mask file is a class of its own, that may lie over others. Informative in the library, as
    /// `path`, but for the loss, which is then one of each class.
    #[serde(default)]
    pub multi_label: bool,
    /// What the pages of image files are: `auto`, `slices`, `channels`. Informative in the library, as `path`.
    #[serde(default)]
    pub axes: Axes,
    /// What is held out: `24..30`, `20%`, `none` …
    pub val: ValSpec,
    /// As many runs, each with another part of the images held out in place of `val`; [`RunConfig::of_fold`] has the configuration of one
    /// of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// The only one of `folds` that is to run, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// How values are scaled.
    pub normalization: NormalizationKind,
    /// Side of the square patches in pixels; 0 takes whole images.
    pub patch: usize,
    /// Where patches are cut: `{ kind = "random" }`, `"grid"` with `overlap`, `"foreground"` with `share`.
    #[serde(default)]
    pub sampler: Sampler,
    /// The paper's weight map, which opens the gaps between cells: `w0`, `sigma`, `balance`. Without it all pixels weigh alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_map: Option<WeightMapConfig>,
    /// Draws per epoch; 0 takes each image once.
    pub samples_per_epoch: usize,
    /// Whether the order is drawn anew in each epoch.
    pub shuffle: bool,
    /// Threads that decode and augment; 0 chooses.
    pub threads: usize,
    /// Batches prepared ahead.
    pub prefetch: usize,
    /// MiB that decoded images may take.
    pub cache_mib: usize,
}

impl DataSection {
    /// How the files are to be opened.
    pub fn open_options(&self) -> OpenOptions<'static> {
        let masks = MaskOptions { ignore: self.ignore, threshold: self.mask_threshold, multi_label: self.multi_label };
        let validation = match &self.val {
            ValSpec::Folder(folder) if self.folds.is_none() => Some(folder.clone()),
            _ => None,
        };
        OpenOptions { masks, axes: self.axes, validation, ..OpenOptions::default() }
    }

    /// That there are folds, and the one that is asked for is one of them.
    fn check_folds(&self) -> Result<(), TrainError> {
        let (key, found, expected) = match (self.folds, self.fold) {
            (Some(folds @ ..=1), _) => ("data.folds", folds, "2 or more".to_owned()),
            (None, Some(fold)) => ("data.fold", fold, "data.folds beside it, which says how many there are".to_owned()),
            (Some(folds), Some(fold)) if !(1..=folds).contains(&fold) => {
                ("data.fold", fold, format!("1 to {folds}, as there are {folds} folds"))
            }
            _ => return Ok(()),
        };
        Err(TrainError::config(key, found, expected))
    }
}

/// How values are scaled before the network sees them; statistics are found in the training images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormalizationKind {
    /// As stored, 0–255 for 8 bits.
    Raw,
    /// Divided by the largest value of the bit depth.
    Unit,
    /// 0–1 over the bit depth that the training images use (8, 10, 12, 14 or 16); for floats over their range.
    MinMax,
    /// 0–1 between the 1st and the 99th percentile of each channel of the training images.
    Percentile,
    /// Mean 0, deviation 1 per channel over the training images.
    MeanStd,
}

impl NormalizationKind {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("raw", Self::Raw),
        ("unit", Self::Unit),
        ("min_max", Self::MinMax),
        ("percentile", Self::Percentile),
        ("mean_std", Self::MeanStd),
    ];

    /// Its name, as a configuration has it.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The kind that a normalisation is of, as far as its numbers tell: a range of whole bits is that of a bit depth.
    pub fn like(normalization: &Normalization) -> Self {
        let is_bits = |v: &f32| v.fract() == 0.0 && (1.0..65536.0).contains(v) && (*v as u32 + 1).is_power_of_two();
        match normalization {
            Normalization::Raw => Self::Raw,
            Normalization::Unit => Self::Unit,
            Normalization::Range { low, high } if low.iter().all(|v| *v == 0.0) && high.iter().all(is_bits) => {
                Self::MinMax
            }
            Normalization::Range { .. } => Self::Percentile,
            Normalization::MeanStd { .. } => Self::MeanStd,
        }
    }

    /// The normalisation of this kind, its statistics found in the images `indices` of the dataset.
    ///
    /// # Errors
    /// An image cannot be read, or there is none.
    pub fn fit(self, dataset: &dyn Dataset, indices: &[usize]) -> Result<Normalization, DataError> {
        match self {
            Self::Raw => Ok(Normalization::Raw),
            Self::Unit => Ok(Normalization::Unit),
            Self::MinMax => Normalization::min_max_of(dataset, indices),
            Self::Percentile => Normalization::percentiles_of(dataset, indices, (1.0, 99.0)),
            Self::MeanStd => Normalization::mean_std_of(dataset, indices),
        }
    }
}

impl std::str::FromStr for NormalizationKind {
    type Err = TrainError;

    fn from_str(text: &str) -> Result<Self, TrainError> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == text);
        let expected = || Self::ALL.map(|(name, _)| name).join(", ");
        found.map(|(_, kind)| kind).ok_or_else(|| TrainError::config("data.normalization", text, expected()))
    }
}

/// The network; channels and classes come from the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// Channels of the first level.
    pub width: usize,
    /// Levels below the first.
    pub depth: usize,
    /// How the decoder doubles sizes.
    pub upsampling: Upsampling,
    /// Whether convolutions ahead of batch norm have a bias.
    pub conv_bias: bool,
    /// Behind each 3×3 convolution: `batch`, `instance`, `group:N`, or `none` (with `conv_bias = true`).
    #[serde(default)]
    pub norm: Norm,
    /// What negative values are multiplied by behind the norm: 0 for ReLU.
    #[serde(default)]
    pub negative_slope: f32,
    /// The probability that a value at the bottleneck is left out in training.
    #[serde(default)]
    pub dropout: f32,
    /// Whether blocks add their input to their output.
    #[serde(default)]
    pub residual: bool,
    /// Whether convolutions do without padding, as in the paper: `data.patch` is then what the network says something of, and it sees
    /// more around that.
    #[serde(default)]
    pub valid: bool,
    /// Whether convolutions of stride 2 stand for pools.
    #[serde(default)]
    pub strided: bool,
    /// The most channels that a level has; 0 for no limit.
    #[serde(default)]
    pub max_width: usize,
    /// Whether the decoder's levels have heads too, trained with the labels at their size.
    #[serde(default)]
    pub deep_supervision: bool,
    /// The checkpoint or run whose weights a new run starts from, instead of drawn ones; its network has to be this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

impl From<&UNetConfig> for ModelSection {
    fn from(c: &UNetConfig) -> Self {
        let Options { norm, negative_slope, dropout, residual, valid, strided, max_width, deep_supervision, .. } =
            c.options;
        let (width, depth, upsampling, conv_bias, init) = (c.width, c.depth, c.upsampling, c.conv_bias, None);
        Self {
            width,
            depth,
            upsampling,
            conv_bias,
            norm,
            negative_slope,
            dropout,
            residual,
            valid,
            strided,
            max_width,
            deep_supervision,
            init,
        }
    }
}

impl ModelSection {
    /// The network for images of so many channels, so many logits per pixel, and so many affinities.
    fn network(&self, in_channels: usize, out_channels: usize, affinities: usize) -> UNetConfig {
        let Self { width, depth, upsampling, conv_bias, norm, negative_slope, dropout, residual, valid, .. } = *self;
        let Self { strided, max_width, deep_supervision, .. } = *self;
        let options = Options {
            norm,
            negative_slope,
            dropout,
            residual,
            valid,
            strided,
            max_width,
            deep_supervision,
            affinities,
        };
        UNetConfig { in_channels, out_channels, width, depth, upsampling, conv_bias, options }
    }
}

impl RunConfig {
    /// A built-in recipe.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn recipe(name: &str) -> Result<Self, TrainError> {
        recipe(name)
    }

    /// The network for images of so many channels and so many logits per pixel.
    pub fn network(&self, in_channels: usize, out_channels: usize) -> UNetConfig {
        self.model.network(in_channels, out_channels, self.affinity.logits())
    }

    /// Reads a file; see [`Self::from_toml`].
    ///
    /// # Errors
    /// It cannot be read, and as [`Self::from_toml`].
    pub fn load(path: &Path, default_recipe: Option<&str>) -> Result<Self, TrainError> {
        Self::load_noting(path, default_recipe).map(|(config, _)| config)
    }

    /// As [`Self::load`], with what was done to a file of an older version, a sentence each.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_noting(path: &Path, default_recipe: Option<&str>) -> Result<(Self, Vec<String>), TrainError> {
        let text = std::fs::read_to_string(path).map_err(|e| TrainError::io(path, "read", e))?;
        Self::from_toml_noting(&text, &path.display().to_string(), default_recipe)
    }

    /// A configuration from TOML. What the text leaves out comes from the recipe that it names, or else from `default_recipe`, or
    /// else from the default one. `origin` names the text in errors.
    ///
    /// # Errors
    /// The text is no TOML; a key is unknown or its value impossible, each named.
    pub fn from_toml(text: &str, origin: &str, default_recipe: Option<&str>) -> Result<Self, TrainError> {
        Self::from_toml_noting(text, origin, default_recipe).map(|(config, _)| config)
    }

    /// As [`Self::from_toml`], with what was done to a file of an older version, a sentence each.
    ///
    /// # Errors
    /// As [`Self::from_toml`].
    pub fn from_toml_noting(
        text: &str,
        origin: &str,
        default_recipe: Option<&str>,
    ) -> Result<(Self, Vec<String>), TrainError> {
        text::parse(text, origin, default_recipe)
    }

    /// This configuration with a text laid over it; what the text leaves out stands. `origin` names the text in errors.
    ///
    /// # Errors
    /// As [`Self::from_toml`].
    pub fn overlaid(self, text: &str, origin: &str) -> Result<Self, TrainError> {
        text::overlay(self, text, origin)
    }

    /// Whether the text leaves nothing out that this configuration, which was made of it, has: nothing is left to be planned then.
    ///
    /// # Errors
    /// As [`Self::from_toml`].
    pub fn is_all_in(&self, text: &str, origin: &str) -> Result<bool, TrainError> {
        text::is_complete(self, text, origin)
    }

    /// The whole configuration as TOML: read again, it is the same.
    ///
    /// # Errors
    /// A path in it is no Unicode.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string_pretty(self)
            .map_err(|e| TrainError::ConfigSyntax { origin: "the configuration".to_owned(), problem: e.to_string() })
    }

    /// The configuration of one of `data.folds` runs, from 1. Each holds a contiguous block out, as neighbouring slices are alike.
    pub fn of_fold(&self, fold: usize) -> Self {
        let mut config = self.clone();
        if let Some(parts) = config.data.folds.take() {
            config.data.val = ValSpec::Fold { part: fold, parts, seed: None };
        }
        config.data.fold = None;
        config
    }

    /// How batches are made, but for the normalisation, which is found in the training images.
    pub fn loader(&self) -> LoaderConfig {
        let data = &self.data;
        LoaderConfig {
            batch_size: self.train.batch_size,
            seed: self.train.seed,
            patch: (data.patch > 0).then_some(data.patch),
            margin: 0,
            samples_per_epoch: (data.samples_per_epoch > 0).then_some(data.samples_per_epoch),
            shuffle: data.shuffle,
            sampler: data.sampler.clone(),
            weight_map: data.weight_map,
            augment: self.augment.clone(),
            normalization: Normalization::Raw,
            threads: data.threads,
            prefetch: data.prefetch,
            cache_bytes: data.cache_mib.saturating_mul(1 << 20),
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// Names the key, its value and what it may be.
    pub fn validate(&self) -> Result<(), TrainError> {
        let network = self.network(1, 1);
        network.validate().map_err(|e| TrainError::config(format!("model.{}", e.field), e.found, e.expected))?;
        self.augment.validate()?;
        self.data.sampler.validate((self.data.patch > 0).then_some(self.data.patch))?;
        if let Some(weight_map) = &self.data.weight_map {
            weight_map.validate()?;
        }
        self.optimizer.validate()?;
        self.groups.validate()?;
        self.schedule.validate()?;
        self.warmup.validate()?;
        self.loss.validate()?;
        self.affinity.validate()?;
        self.train.validate()?;
        let least = 1usize << self.model.depth;
        if self.data.patch != 0 && self.data.patch < least {
            let expected = format!("0 (whole images), or at least {least} for {} levels", self.model.depth);
            return Err(TrainError::config("data.patch", self.data.patch, expected));
        }
        let fitting = geometry::output_side(&network, self.data.patch.max(1));
        if self.model.valid && fitting != self.data.patch {
            let below = fitting.saturating_sub(least);
            let expected =
                if below > 0 && self.data.patch > 0 { format!("{below} or {fitting}") } else { fitting.to_string() };
            let expected = format!("{expected}, or another size that halves evenly without padding (model.valid)");
            return Err(TrainError::config("data.patch", self.data.patch, expected));
        }
        if self.data.prefetch == 0 {
            return Err(TrainError::config("data.prefetch", 0, "1 or more"));
        }
        if self.data.val == ValSpec::None && self.data.folds.is_none() && self.train.select.needs_validation() {
            return Err(TrainError::config(
                "train.select",
                self.train.select.name(),
                "train_loss or auto, as nothing is held out (data.val = \"none\")",
            ));
        }
        self.contradictions()
    }

    /// Settings that exclude each other.
    fn contradictions(&self) -> Result<(), TrainError> {
        let data = &self.data;
        data.check_folds()?;
        let of_one = [
            ("data.ignore", data.ignore.is_some()),
            ("data.mask_threshold", data.mask_threshold.is_some()),
            ("data.weight_map", data.weight_map.is_some()),
            ("affinity.distances", !self.affinity.is_none()),
            ("predict.objects", !self.predict.objects.is_scattered()),
        ];
        if let Some((key, _)) = of_one.into_iter().find(|(_, is_set)| data.multi_label && *is_set) {
            let expected = "nothing with data.multi_label: it is for masks of one class a pixel";
            return Err(TrainError::config(key, "a value", expected));
        }
        if self.optimizer.averages_itself() && self.train.ema_decay > 0.0 {
            let expected = "0 with a schedule-free optimizer, which averages the weights itself";
            return Err(TrainError::config("train.ema_decay", self.train.ema_decay, expected));
        }
        if self.train.ema_norm_batches > 0 && self.train.ema_decay == 0.0 && !self.optimizer.averages_itself() {
            let expected = "0, as no average of the weights is taken (train.ema_decay = 0)";
            return Err(TrainError::config("train.ema_norm_batches", self.train.ema_norm_batches, expected));
        }
        Ok(())
    }
}
