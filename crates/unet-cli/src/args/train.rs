//! What `unet train` takes.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use unet_data::ValSpec;
use unet_kernels::Tier;

use super::{MachineArgs, ReadArgs, parse_val};

/// What `unet train` takes.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  unet train my-data                          looks at the data, plans, trains for ten minutes
  unet train my-data --budget 1h              the same, with more time
  unet train --recipe tutorial --val 24..30   the article's recipe, six slices held out
  unet train my-data --val 20% --width 32     your own data
  unet train --config runs/a/config.toml      once more, exactly as it was
  unet train --resume runs/a                  go on where it stopped

What is not given comes from --config, and what is not there either from the recipe.")]
#[command(group = ArgGroup::new("set").args(["folds", "config"]).multiple(true))]
pub struct TrainArgs {
    /// Folder with image/ and label/ inside, a folder with images.tif and labels.tif, or: isbi2012, synthetic
    /// [default: data/isbi2012 where it is there, else synthetic]
    pub data: Option<String>,

    /// Read the configuration from FILE (a run's config.toml repeats that run)
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<PathBuf>,
    /// Start from this recipe: auto (planned from the data), quick or tutorial [default: auto]
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub recipe: Option<String>,
    /// Write the run to this new folder [default: runs/DATA-RECIPE, numbered where it is taken]
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    pub out: Option<PathBuf>,
    /// Go on with the run, or the set of folds, in this folder, at the step where it stopped
    #[arg(long, value_name = "RUN", help_heading = "Run", conflicts_with_all = FIXED_BY_A_RUN)]
    pub resume: Option<PathBuf>,
    /// With --resume: refuse to go on where the result would not be, to the bit, that of a run never interrupted
    #[arg(long, help_heading = "Run", requires = "resume")]
    pub exact: bool,
    /// Start from the weights of this run or .safetensors file, with its network
    #[arg(long, value_name = "MODEL", help_heading = "Run")]
    pub init: Option<PathBuf>,
    /// Train no weight of this part: encoder
    #[arg(long, value_name = "PART", help_heading = "Run")]
    pub freeze: Option<FreezeArg>,
    /// Train K runs, each with another K-th of the images held out, into fold1 … of --out, and summarise them
    #[arg(long, value_name = "K", help_heading = "Run", conflicts_with = "val", value_parser = clap::value_parser!(u16).range(2..))]
    pub folds: Option<u16>,
    /// With --folds (or data.folds in the file): train this one alone, counted from 1
    #[arg(long, value_name = "I", help_heading = "Run", requires = "set", value_parser = clap::value_parser!(u16).range(1..))]
    pub fold: Option<u16>,
    /// Plan the run so that it ends after this time: 30s, 10m, 8h [default: 10m, unless --epochs is given]
    #[arg(long, value_name = "T", help_heading = "Run", conflicts_with = "epochs", value_parser = parse_time)]
    pub budget: Option<f64>,
    /// Plan the run so that it takes no more than so many MiB [default: what the machine has free]
    #[arg(long, value_name = "MIB", help_heading = "Machine", value_parser = clap::value_parser!(u64).range(64..))]
    pub memory: Option<u64>,
    /// Stop and save after this time: 90s, 10m, 1.5h
    #[arg(long, value_name = "T", help_heading = "Run", value_parser = parse_time)]
    pub max_time: Option<f64>,
    /// Keep the checkpoints of the latest N epochs beside best and last
    #[arg(long, value_name = "N", help_heading = "Run")]
    pub keep_last: Option<usize>,
    /// Write histograms of weights and gradients for TensorBoard after every N epochs
    #[arg(long, value_name = "N", help_heading = "Output")]
    pub histograms: Option<u64>,
    /// Write no report.html when the run is done
    #[arg(long, help_heading = "Output")]
    pub no_report: bool,
    /// Say nothing but errors
    #[arg(long, short, help_heading = "Output")]
    pub quiet: bool,
    /// How progress is reported on stderr: text, or json (a line per event)
    #[arg(long, value_name = "FORMAT", help_heading = "Output", conflicts_with = "quiet")]
    pub log_format: Option<LogFormat>,
    /// Print the resolved configuration to stdout and stop
    #[arg(long, help_heading = "Run")]
    pub print_config: bool,

    /// Hold these images out for validation: 24..30, 20% (the last block), random:20%, fold:2/5,
    /// list:FILE (a name a line), dir:FOLDER (another folder), none
    #[arg(long, value_name = "SPEC", help_heading = "Data", value_parser = parse_val)]
    pub val: Option<ValSpec>,
    /// How files are to be understood.
    #[command(flatten)]
    pub read: ReadArgs,
    /// Take each channel or page of a mask file for a class of its own, there where it is not 0: classes may lie over one another
    #[arg(long, help_heading = "Data")]
    pub multi_label: bool,
    /// Scale values: raw, unit (0 to 1 by the type), min_max (by the bit depth in use), percentile, mean_std
    #[arg(long, value_name = "KIND", help_heading = "Data")]
    pub normalization: Option<String>,
    /// Train on squares of N pixels, cut at random; 0 for whole images
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub patch: Option<usize>,

    /// Start from this architecture: tutorial, milesial, paper or nnunet-2d
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub preset: Option<String>,
    /// Channels of the first level; each level below has twice as many
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub width: Option<usize>,
    /// Levels below the first, each half as large
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub depth: Option<usize>,
    /// Behind each convolution: batch, instance, group:N (N groups of channels) or none
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub norm: Option<String>,
    /// Multiply negative values by X behind the norm instead of cutting them off: 0.01 is usual
    #[arg(long, value_name = "X", help_heading = "Network")]
    pub negative_slope: Option<f32>,
    /// Leave out a value at the bottleneck with this probability in training: 0.5 in the paper
    #[arg(long, value_name = "P", help_heading = "Network")]
    pub dropout: Option<f32>,
    /// Blocks that add their input to their output
    #[arg(long, help_heading = "Network")]
    pub residual: bool,
    /// Convolutions of stride 2 in place of pools
    #[arg(long, help_heading = "Network")]
    pub strided: bool,
    /// Let no level have more than N channels
    #[arg(long, value_name = "N", help_heading = "Network")]
    pub max_width: Option<usize>,
    /// Train the decoder's levels with heads of their own, too
    #[arg(long, help_heading = "Network")]
    pub deep_supervision: bool,
    /// Convolutions without padding, as in the paper: --patch is what the network says something of, and it sees more
    #[arg(long, help_heading = "Network")]
    pub valid: bool,

    /// Train for N epochs
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub epochs: Option<u64>,
    /// Images (or patches) per step
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub batch_size: Option<usize>,
    /// Batches whose gradients make one step
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub accumulate: Option<usize>,
    /// Update rule with its default numbers: rmsprop, adamw, adam, sgd, schedule_free, muon
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub optimizer: Option<String>,
    /// How the learning rate moves: constant, cosine, poly, one_cycle, plateau
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub schedule: Option<String>,
    /// Let the learning rate rise over the first N steps
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub warmup: Option<u64>,
    /// What is minimised: auto, bce, cross_entropy, dice, dice_ce, focal, tversky, focal_tversky
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub loss: Option<String>,
    /// Classes that count in the Dice or Tversky part of the loss, by their place in the order of mask values [default: 1 of two, all of more]
    #[arg(long, value_name = "I,…", value_delimiter = ',', help_heading = "Training")]
    pub loss_classes: Vec<usize>,
    /// What makes an epoch the best: train_loss, val_loss, val_dice, val_dice_255, val_v_rand …
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub select: Option<String>,
    /// Stop after N epochs in a row that were no better
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub patience: Option<u64>,
    /// What to do with a batch whose loss or gradient is no finite number: stop or skip
    #[arg(long, value_name = "NAME", help_heading = "Training")]
    pub non_finite: Option<NonFiniteArg>,
    /// Learning rate (the peak, where the schedule has one)
    #[arg(long, value_name = "X", help_heading = "Training", allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Seed of every random choice
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u64>,

    /// What to compute on and with.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// `--tier`, which every command takes and the program fills in here.
    #[arg(skip)]
    pub tier: Option<Tier>,
    /// Compute activations again in the backward pass instead of keeping them: half the memory, the time of one more forward pass, the same bits
    #[arg(long, help_heading = "Machine")]
    pub checkpoint_activations: bool,
}

/// Options that a run has settled when it is resumed.
const FIXED_BY_A_RUN: [&str; 44] = [
    "budget",
    "memory",
    "config",
    "recipe",
    "out",
    "init",
    "freeze",
    "folds",
    "fold",
    "keep_last",
    "print_config",
    "val",
    "ignore",
    "mask_threshold",
    "multi_label",
    "axes",
    "normalization",
    "patch",
    "preset",
    "width",
    "depth",
    "norm",
    "negative_slope",
    "dropout",
    "residual",
    "valid",
    "strided",
    "max_width",
    "deep_supervision",
    "epochs",
    "batch_size",
    "accumulate",
    "optimizer",
    "schedule",
    "warmup",
    "loss",
    "loss_classes",
    "select",
    "patience",
    "lr",
    "seed",
    "precision",
    "checkpoint_activations",
    "histograms",
];

/// A part of the network that may be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FreezeArg {
    /// The way down: inc, down1 …
    Encoder,
}

/// How progress is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines and bars for people
    Text,
    /// A JSON document a line for programs
    Json,
}

/// What to do with a batch whose loss or gradient is no finite number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NonFiniteArg {
    /// End the run
    Stop,
    /// Leave the batch out
    Skip,
}

/// Seconds from `90s`, `10m`, `1.5h`, or a bare number of seconds.
pub(super) fn parse_time(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(n) if n > 0.0 && n.is_finite() => Ok(n * unit),
        _ => Err("expected a time such as 90s, 10m or 1.5h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_seconds_minutes_and_hours() {
        let found = ["90", "90s", "10m", "1.5h"].map(|t| parse_time(t).ok());
        assert_eq!(found, [Some(90.0), Some(90.0), Some(600.0), Some(5400.0)]);
        assert!(["", "m", "-1s", "0", "ten", "infh"].iter().all(|t| parse_time(t).is_err()));
    }
}
