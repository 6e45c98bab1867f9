//! [`RunConfig`]: everything that decides a run, as one TOML file. A file may say little: what it leaves out comes from its recipe.
//! The resolved configuration, written to the run directory, repeats the run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};
use unet_data::{
    AugmentConfig, Axes, DataError, Dataset, LoaderConfig, MaskOptions, MaskValue, Normalization, OpenOptions, Sampler,
    ValSpec, WeightMapConfig,
};
use unet_model::{UNetConfig, Upsampling};

use crate::TrainError;
use crate::device::{Device, Precision};
use crate::error::nearest;
use crate::loss::LossKind;
use crate::optim::OptimizerConfig;
use crate::recipe::{DEFAULT_RECIPE, recipe};
use crate::schedule::Schedule;

/// The version of the configuration that this program writes.
pub const CONFIG_VERSION: u32 = 1;

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
    pub loss: LossSection,
    /// How.
    pub optimizer: OptimizerConfig,
    /// How the learning rate moves.
    pub schedule: Schedule,
    /// How long, how often.
    pub train: TrainSection,
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
    /// What the pages of image files are: `auto`, `slices`, `channels`. Informative in the library, as `path`.
    #[serde(default)]
    pub axes: Axes,
    /// What is held out: `24..30`, `20%`, `none` …
    pub val: ValSpec,
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
        let masks = MaskOptions { ignore: self.ignore, threshold: self.mask_threshold };
        let validation = match &self.val {
            ValSpec::Folder(folder) => Some(folder.clone()),
            _ => None,
        };
        OpenOptions { masks, axes: self.axes, validation, ..OpenOptions::default() }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The checkpoint or run whose weights a new run starts from, instead of drawn ones; its network has to be this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<PathBuf>,
}

impl From<&UNetConfig> for ModelSection {
    fn from(c: &UNetConfig) -> Self {
        Self { width: c.width, depth: c.depth, upsampling: c.upsampling, conv_bias: c.conv_bias, init: None }
    }
}

impl ModelSection {
    /// The network for images of so many channels and so many logits per pixel.
    pub fn network(&self, in_channels: usize, out_channels: usize) -> UNetConfig {
        let Self { width, depth, upsampling, conv_bias, .. } = *self;
        UNetConfig { in_channels, out_channels, width, depth, upsampling, conv_bias }
    }
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossSection {
    /// Which loss.
    pub kind: LossKind,
}

/// How long, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// Epochs.
    pub epochs: u64,
    /// Images, or patches, per step.
    pub batch_size: usize,
    /// The seed of everything drawn: weights, order, augmentation.
    pub seed: u64,
    /// The gradient is scaled down to this norm where it is longer; 0 leaves it.
    pub clip_norm: f64,
    /// Decay of the weights' moving average, which is then what is validated and saved; 0 for none.
    pub ema_decay: f64,
    /// What makes an epoch the best.
    pub select: Selection,
    /// Validation images whose overlay is written after each epoch.
    pub samples: usize,
    /// The state is saved at least this often, and after each epoch; 0 only then.
    pub save_seconds: u64,
    /// Threads that compute; 0 for one per core.
    pub threads: usize,
    /// Where to compute: `auto` or `cpu`.
    pub device: Device,
    /// In which numbers: `auto` or `f32`.
    pub precision: Precision,
}

/// What makes an epoch the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The lowest validation loss, or the lowest training loss without validation images.
    #[default]
    Auto,
    /// The lowest mean loss of its training steps.
    TrainLoss,
    /// The lowest loss on the validation images.
    ValLoss,
    /// The highest mean Dice on the validation images.
    ValDice,
}

impl RunConfig {
    /// A built-in recipe.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn recipe(name: &str) -> Result<Self, TrainError> {
        recipe(name)
    }

    /// Reads a file; see [`Self::from_toml`].
    ///
    /// # Errors
    /// It cannot be read, and as [`Self::from_toml`].
    pub fn load(path: &Path, default_recipe: Option<&str>) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(|e| TrainError::io(path, "read", e))?;
        Self::from_toml(&text, &path.display().to_string(), default_recipe)
    }

    /// A configuration from TOML. What the text leaves out comes from the recipe that it names, or else from `default_recipe`, or
    /// else from the default one. `origin` names the text in errors.
    ///
    /// # Errors
    /// The text is no TOML; a key is unknown or its value impossible, each named.
    pub fn from_toml(text: &str, origin: &str, default_recipe: Option<&str>) -> Result<Self, TrainError> {
        let syntax = |problem: String| TrainError::ConfigSyntax { origin: origin.to_owned(), problem };
        let table: Table = toml::from_str(text).map_err(|e| syntax(e.to_string().trim_end().to_owned()))?;
        check_version(&table)?;
        let name = match table.get("recipe") {
            Some(Value::String(name)) => name.as_str(),
            Some(other) => return Err(TrainError::config("recipe", other, "the name of a recipe, in quotes")),
            None => default_recipe.unwrap_or(DEFAULT_RECIPE),
        };
        let mut merged = Table::try_from(recipe(name)?).map_err(|e| syntax(e.to_string()))?;
        merge(&mut merged, table);
        let config: Self = merged.try_into().map_err(|e: toml::de::Error| explain(origin, &e))?;
        config.validate()?;
        Ok(config)
    }

    /// The whole configuration as TOML: read again, it is the same.
    ///
    /// # Errors
    /// A path in it is no Unicode.
    pub fn to_toml(&self) -> Result<String, TrainError> {
        toml::to_string_pretty(self)
            .map_err(|e| TrainError::ConfigSyntax { origin: "the configuration".to_owned(), problem: e.to_string() })
    }

    /// How batches are made, but for the normalisation, which is found in the training images.
    pub fn loader(&self) -> LoaderConfig {
        let data = &self.data;
        LoaderConfig {
            batch_size: self.train.batch_size,
            seed: self.train.seed,
            patch: (data.patch > 0).then_some(data.patch),
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
        let network = self.model.network(1, 1);
        network.validate().map_err(|e| TrainError::config(format!("model.{}", e.field), e.found, e.expected))?;
        self.augment.validate()?;
        self.data.sampler.validate((self.data.patch > 0).then_some(self.data.patch))?;
        if let Some(weight_map) = &self.data.weight_map {
            weight_map.validate()?;
        }
        self.optimizer.validate()?;
        self.schedule.validate()?;
        let least = 1usize << self.model.depth;
        if self.data.patch != 0 && self.data.patch < least {
            let expected = format!("0 (whole images), or at least {least} for {} levels", self.model.depth);
            return Err(TrainError::config("data.patch", self.data.patch, expected));
        }
        let t = &self.train;
        for (key, found) in
            [("epochs", t.epochs), ("batch_size", t.batch_size as u64), ("data.prefetch", self.data.prefetch as u64)]
        {
            if found == 0 {
                let key = if key.contains('.') { key.to_owned() } else { format!("train.{key}") };
                return Err(TrainError::config(key, found, "1 or more"));
            }
        }
        if !(t.clip_norm >= 0.0 && t.clip_norm.is_finite()) {
            return Err(TrainError::config("train.clip_norm", t.clip_norm, "0 (no clipping) or more"));
        }
        if !(0.0..1.0).contains(&t.ema_decay) {
            return Err(TrainError::config("train.ema_decay", t.ema_decay, "0 (no average) or more, and less than 1"));
        }
        if self.data.val == ValSpec::None && matches!(t.select, Selection::ValLoss | Selection::ValDice) {
            let found = if t.select == Selection::ValLoss { "val_loss" } else { "val_dice" };
            return Err(TrainError::config(
                "train.select",
                found,
                "train_loss or auto, as nothing is held out (data.val = \"none\")",
            ));
        }
        Ok(())
    }
}

/// A version other than ours may hold keys that we do not know: say so before naming one of them.
fn check_version(table: &Table) -> Result<(), TrainError> {
    match table.get("version") {
        None => Ok(()),
        Some(Value::Integer(v)) if *v == i64::from(CONFIG_VERSION) => Ok(()),
        Some(found) => {
            let expected = format!("{CONFIG_VERSION}; a file of a newer version needs a newer program");
            Err(TrainError::config("version", found, expected))
        }
    }
}

/// Lays `over` on `base`, section by section; a section of another `kind` replaces the whole one.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(b)), Value::Table(o)) => match o.get("kind") {
                Some(kind) if b.get("kind").is_some_and(|k| k != kind) => *b = o,
                _ => merge(b, o),
            },
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Serde's words for an unknown key turned into ours; other errors stay as they are.
fn explain(origin: &str, error: &toml::de::Error) -> TrainError {
    let text = error.to_string();
    let first = text.lines().find(|l| l.contains("unknown field"));
    let quoted: Vec<&str> = first.map_or_else(Vec::new, |l| l.split('`').skip(1).step_by(2).collect());
    match quoted.split_first() {
        Some((key, known)) => TrainError::UnknownKey {
            origin: origin.to_owned(),
            key: (*key).to_owned(),
            nearest: nearest(key, known.iter().copied()),
            known: known.iter().map(|k| (*k).to_owned()).collect(),
        },
        None => TrainError::ConfigSyntax { origin: origin.to_owned(), problem: text.trim_end().replace('\n', " ") },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::recipe::RECIPES;

    fn parse(text: &str) -> Result<RunConfig, TrainError> {
        RunConfig::from_toml(text, "run.toml", None)
    }

    #[test]
    fn every_recipe_is_valid_and_repeats_itself_through_its_file() {
        for name in RECIPES {
            let config = RunConfig::recipe(name).unwrap();
            config.validate().unwrap();
            assert_eq!(parse(&config.to_toml().unwrap()).unwrap(), config, "{name}");
        }
    }

    #[test]
    fn what_a_file_leaves_out_comes_from_its_recipe() {
        let config = parse("recipe = 'tutorial'\n[train]\nepochs = 3").unwrap();
        let tutorial = RunConfig::recipe("tutorial").unwrap();
        assert_eq!(config.train.epochs, 3);
        assert_eq!(config.optimizer, tutorial.optimizer);
        let config = RunConfig::from_toml("", "x", Some("tutorial")).unwrap();
        assert_eq!(config, tutorial);
    }

    #[test]
    fn another_kind_does_not_inherit_the_numbers_of_the_recipes() {
        let config = parse("recipe = 'tutorial'\n[optimizer]\nkind = 'adamw'").unwrap();
        assert_eq!(config.optimizer, OptimizerConfig::adamw(1e-3));
        let config = parse("recipe = 'tutorial'\n[optimizer]\nlr = 0.5").unwrap();
        assert!(matches!(config.optimizer, OptimizerConfig::Rmsprop { lr: 0.5, momentum: 0.9, .. }));
    }

    #[test]
    fn unknown_keys_are_named_with_the_nearest_known_one() {
        for (text, key, near) in [
            ("[train]\nepoch = 3", "epoch", "epochs"),
            ("[trian]\nepochs = 3", "trian", "train"),
            ("[optimizer]\nkind = 'sgd'\nmomentun = 0.5", "momentun", "momentum"),
            ("[augment]\nrotate_degree = 3", "rotate_degree", "rotate_degrees"),
            ("[model]\nwidht = 3", "widht", "width"),
        ] {
            match parse(text).unwrap_err() {
                TrainError::UnknownKey { key: k, nearest, .. } => {
                    assert_eq!((k.as_str(), nearest.as_deref()), (key, Some(near)), "{text}");
                }
                other => panic!("{text}: {other}"),
            }
        }
        let text = parse("[train]\nepoch = 3").unwrap_err().to_string();
        assert!(text.contains("run.toml") && text.contains("did you mean 'epochs'"), "{text}");
    }

    #[test]
    fn impossible_values_are_named_with_what_is_possible() {
        for (text, part) in [
            ("[train]\nepochs = 0", "train.epochs = 0"),
            ("[train]\nepochs = 'many'", "epochs"),
            ("[model]\nwidth = 0", "model.width = 0"),
            ("[data]\npatch = 3", "data.patch = 3"),
            ("[data]\nval = 'some'", "some"),
            ("[optimizer]\nlr = -1.0", "optimizer.lr = -1"),
            ("[optimizer]\nkind = 'lion'", "lion"),
            ("[train]\nclip_norm = nan", "train.clip_norm = NaN"),
            ("[train]\nema_decay = 1.0", "train.ema_decay = 1"),
            ("[train]\ndevice = 'cuda'", "this version computes on the CPU"),
            ("[augment]\nnoise = 5.0", "augment.noise"),
            ("[data]\nval = 'none'\n[train]\nselect = 'val_dice'", "train.select"),
            ("version = 2\nnovelty = 1", "version = 2"),
            ("recipe = 'tutorail'", "did you mean 'tutorial'"),
            ("[train\n", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
