//! What was typed: the command line as clap reads it, nothing decided yet. [`crate::resolve`] says what it means.
//!
//! An option that was not given stays `None`, so that the configuration file and the recipe below it keep their say.

mod predict;
mod train;

use std::path::PathBuf;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::{Args, Parser, Subcommand, ValueEnum};
use unet_data::{Axes, MaskValue, ValSpec};
use unet_kernels::{Kernels, TierError};
use unet_train::predict::Augmentation;

use self::predict::parse_tta;
pub use predict::{ObjectArgs, PredictArgs, TuneArgs};

pub use self::train::{FreezeArg, LogFormat, NonFiniteArg, TrainArgs};

/// Headings bold, literals cyan: readable on dark and light terminals.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default().effects(Effects::DIMMED));

const AFTER: &str = "\
Examples:
  unet train                                  train on data/isbi2012, or on synthetic slices
  unet train my-data --val 20% --out runs/a   train on your own image/ and label/ folders
  unet predict runs/a new-images -o masks     segment new images
  unet evaluate runs/a my-data --on val       how good is it on the held-out images

Exit status: 0 done, 1 failed, 2 wrong usage. Progress goes to stderr, results to stdout.";

/// Train a U-Net on your images and masks, and segment new images.
#[derive(Debug, Parser)]
#[command(name = "unet", version, about, after_help = AFTER, styles = STYLES, max_term_width = 100)]
#[command(arg_required_else_help = true, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Use this instruction set, for bug reports: portable, avx2, avx512 or amx [default: the fastest that the processor has]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Machine", value_parser = kernels)]
    pub tier: Option<Kernels>,
}

/// The kernels of the tier of that name.
fn kernels(name: &str) -> Result<Kernels, TierError> {
    Kernels::with_tier(name.parse()?)
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a network on images and their masks
    Train(Box<TrainArgs>),
    /// Segment images with a trained network
    Predict(PredictArgs),
    /// Score a network, or finished masks, against the truth
    Evaluate(EvaluateArgs),
    /// Say what a data set, a model, a run or this machine is
    Inspect(InspectArgs),
    /// Find the threshold, and the parameters of objects, that are best on a run's held-out images
    Tune(TuneArgs),
    /// Write a run's report: one HTML file with curves, examples and scores
    Report(ReportArgs),
    /// Make a model of weights that were trained elsewhere
    Import(ImportArgs),
    /// Print what a shell needs to complete commands and options
    Completions(CompletionsArgs),
    /// Write a manual page for each command
    Man(ManArgs),
}

/// How files are to be understood.
#[derive(Clone, Debug, Default, Args)]
pub struct ReadArgs {
    /// Leave pixels of this mask value out of loss and scores: 255, or a colour such as #e0e0c0
    #[arg(long, value_name = "VALUE", help_heading = "Data", value_parser = parse_mask_value)]
    pub ignore: Option<MaskValue>,
    /// Call mask values from T on class 1, all others class 0: for masks that were smoothed or saved as JPEG
    #[arg(long, value_name = "T", help_heading = "Data")]
    pub mask_threshold: Option<f64>,
    /// What the pages of image files are: slices, channels, or auto (as ImageJ or OME wrote into the file)
    #[arg(long, value_name = "KIND", help_heading = "Data", value_parser = parse_axes)]
    pub axes: Option<Axes>,
}

/// What to compute on.
#[derive(Clone, Debug, Default, Args)]
pub struct MachineArgs {
    /// Compute on this device: auto or cpu
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub device: Option<String>,
    /// Compute with N threads [default: one per core]
    #[arg(long, value_name = "N", help_heading = "Machine", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Number format that activations are stored in: auto, f32 or bf16 (half the memory) [default: bf16 where the hardware multiplies it]
    #[arg(long, value_name = "NAME", help_heading = "Machine")]
    pub precision: Option<String>,
}

/// What `unet evaluate` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet evaluate runs/a data/isbi2012 --on val           the images that the run held out
  unet evaluate model.safetensors my-data --json        one JSON document on stdout
  unet evaluate --pred masks --truth my-data/label      finished masks, from any program
  unet evaluate runs/a data/isbi2012 --curve curve.svg  scores over thresholds, drawn

Two classes get the scores of the ISBI 2012 challenge and of objects too; cells are the higher mask value.")]
pub struct EvaluateArgs {
    /// Run folder (its best checkpoint) or .safetensors file
    #[arg(requires = "data", required_unless_present = "pred")]
    pub model: Option<PathBuf>,
    /// Data set with masks
    pub data: Option<String>,
    /// Which of its images: train, val or all, as the run split them [default: all]
    #[arg(long, value_name = "PART", conflicts_with = "pred")]
    pub on: Option<OnArg>,
    /// Masks or probabilities to score: a folder or a stack
    #[arg(long, value_name = "PRED", requires = "truth", conflicts_with_all = ["model", "data"])]
    pub pred: Option<PathBuf>,
    /// The true masks: a folder or a stack
    #[arg(long, value_name = "TRUTH", requires = "pred")]
    pub truth: Option<PathBuf>,
    /// With --pred: leave pixels of this true mask value out of all scores: 255, or a colour such as #e0e0c0
    #[arg(long, value_name = "VALUE", requires = "pred", value_parser = parse_mask_value)]
    pub ignore: Option<MaskValue>,
    /// With --pred: call mask values from T on class 1, all others class 0: for masks that were smoothed or saved as JPEG
    #[arg(long, value_name = "T", requires = "pred")]
    pub mask_threshold: Option<f64>,
    /// With --pred: take each channel or page of a mask file for a class of its own: classes may lie over one another
    #[arg(long, requires = "pred", conflicts_with_all = ["ignore", "mask_threshold"])]
    pub multi_label: bool,
    /// Call a pixel class 1 from this probability on, for two classes [default: the model's, or 0.5]
    #[arg(long, value_name = "T", value_parser = parse_threshold)]
    pub threshold: Option<f64>,
    /// Look at each image from several sides and average: none, flip, d4, rot7 [default: what the model says]
    #[arg(long, value_name = "NAME", conflicts_with = "pred", value_parser = parse_tta)]
    pub tta: Option<Augmentation>,
    /// Print a row for each image, too
    #[arg(long, conflicts_with = "json")]
    pub per_image: bool,
    /// Draw the scores over thresholds, and precision over recall, into this SVG file
    #[arg(long, value_name = "FILE")]
    pub curve: Option<PathBuf>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    pub json: bool,
    /// What to compute on.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnArg {
    /// The images that were trained on
    Train,
    /// The images that were held out
    Val,
    /// Every image
    All,
}

/// What `unet inspect` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet inspect my-data                   what was found, and what will hurt training
  unet inspect my-data --preview p.png   augmented patches with their masks, to look at
  unet inspect runs/a                    how the run went
  unet inspect model.safetensors         the network and how it is fed
  unet inspect --cpu                     what this processor offers")]
pub struct InspectArgs {
    /// A data set (folder, isbi2012, synthetic), a model (.safetensors), or the folder of a run or of
    /// a set of folds
    #[arg(required_unless_present = "cpu", conflicts_with = "cpu")]
    pub target: Option<String>,
    /// How files are to be understood.
    #[command(flatten)]
    pub read: ReadArgs,
    /// Write a picture of augmented patches and their masks, as training would see them
    #[arg(long, value_name = "PNG", conflicts_with = "cpu")]
    pub preview: Option<PathBuf>,
    /// Settings to preview and to plan with: a recipe's name [default: auto, planned from the data]
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    pub recipe: Option<String>,
    /// Settings to preview and to plan with: a configuration file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long a planned run may take: 30s, 10m, 8h [default: 10m]
    #[arg(long, value_name = "T", value_parser = train::parse_time)]
    pub budget: Option<f64>,
    /// What would be held out [default: the recipe's, or 20% where it holds nothing out]
    #[arg(long, value_name = "SPEC", value_parser = parse_val)]
    pub val: Option<ValSpec>,
    /// This machine's instruction sets, and the one that is used
    #[arg(long)]
    pub cpu: bool,
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
}

/// What `unet report` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet report runs/a               writes runs/a/report.html, which needs no other file
  unet report runs/a moved-data    the same, where the run's data has moved")]
pub struct ReportArgs {
    /// Run folder
    pub run: PathBuf,
    /// Where its data lies, if that has moved
    pub data: Option<String>,
    /// What to compute on.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// What `unet import` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet import best_model.pth -o article.safetensors --normalization raw
  unet import milesial.pth -o carvana.safetensors --normalization unit

Channels, classes, width and kind of upsampling are read from the weights' names and shapes. Nothing in
the file is executed.")]
pub struct ImportArgs {
    /// PyTorch state dict (.pth, .pt) or .safetensors file
    pub file: PathBuf,
    /// Write the model to this file
    #[arg(short = 'o', long, value_name = "MODEL")]
    pub out: PathBuf,
    /// How that network was fed: raw (0 to 255 as stored) or unit (0 to 1)
    #[arg(long, value_name = "KIND")]
    pub normalization: NormalizationArg,
    /// Overwrite MODEL where it exists
    #[arg(long)]
    pub force: bool,
}

/// What `unet completions` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet completions bash > ~/.local/share/bash-completion/completions/unet
  unet completions zsh > ~/.zfunc/_unet          with fpath+=~/.zfunc before compinit
  unet completions fish > ~/.config/fish/completions/unet.fish")]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// What `unet man` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet man ~/.local/share/man/man1     unet.1, unet-train.1 …; then: man unet-train")]
pub struct ManArgs {
    /// Folder to write them to; it is made where it is missing, and pages of those names are replaced
    pub dir: PathBuf,
}

/// How an imported network was fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NormalizationArg {
    /// The stored values: 0 to 255 for 8 bits
    Raw,
    /// Divided by the largest value of the format: 0 to 1
    Unit,
}

fn parse_axes(text: &str) -> Result<Axes, String> {
    text.parse().map_err(|e: unet_data::DataError| e.to_string())
}

fn parse_mask_value(text: &str) -> Result<MaskValue, String> {
    text.parse().map_err(|e: unet_data::DataError| e.to_string())
}

fn parse_val(text: &str) -> Result<ValSpec, String> {
    text.parse().map_err(|e: unet_data::DataError| e.to_string())
}

fn parse_threshold(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(t) if (0.0..=1.0).contains(&t) => Ok(t),
        _ => Err("expected a probability from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_grammar_is_consistent_and_every_command_shows_an_example() {
        let mut cli = Cli::command();
        cli.clone().debug_assert();
        for command in cli.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains("Examples:") && help.contains(&format!("unet {name}")), "{name}");
        }
    }

    #[test]
    fn a_resumed_run_takes_no_settings() {
        for option in ["--epochs 3", "--config x.toml", "--val 20%", "--lr 1", "--out o", "--seed 1"] {
            assert!(parse(&format!("unet train --resume runs/a {option}")).is_err(), "{option}");
        }
        assert!(parse("unet train data --resume runs/a").is_ok(), "the data may have moved");
        for option in ["--threads 1", "--device cpu", "--exact", "--max-time 10m", "--quiet", "--non-finite skip"] {
            assert!(parse(&format!("unet train --resume runs/a {option}")).is_ok(), "{option}");
        }
        assert!(parse("unet train --exact").is_err(), "there is nothing to compare with");
    }

    #[test]
    fn evaluate_takes_a_model_or_finished_masks_and_not_both() {
        for good in ["runs/a data --on val --json", "--pred p --truth t --threshold 0.3"] {
            assert!(parse(&format!("unet evaluate {good}")).is_ok(), "{good}");
        }
        for bad in
            ["", "runs/a", "--pred p", "--truth t", "runs/a data --pred p --truth t", "--pred p --truth t --on val"]
        {
            assert!(parse(&format!("unet evaluate {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_out_of_range_are_refused_with_what_is_possible() {
        let e = parse("unet train --val 30").expect_err("no range").to_string();
        assert!(e.contains("24..30"), "{e}");
        let e = parse("unet predict m i --threshold 1.5").expect_err("above 1").to_string();
        assert!(e.contains("from 0 to 1"), "{e}");
        assert!(parse("unet train --threads 0").is_err());
        assert!(parse("unet predict m").is_err(), "no input");
        assert!(parse("unet predict m i --save mask,prob,overlay").is_ok());
        assert!(parse("unet predict m i --save masks").is_err());
        assert!(parse("unet inspect --cpu x").is_err());
    }
}
