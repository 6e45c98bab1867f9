//! What `unet predict` and `unet tune` take: which images, from which networks, cut and looked at how, into which files.

use std::path::PathBuf;

use clap::Args;
use unet_data::Axes;
use unet_train::predict::{Augmentation, Output, parse_outputs};
use unet_train::tune::TuneScore;

use super::{MachineArgs, OnArg, parse_axes, parse_threshold};

/// What `unet predict` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet predict runs/a new-images -o masks                   NAME_mask.png for each image of the folder
  unet predict runs/a stack.tif --save mask,prob,overlay    a stack in gives stacks out
  unet predict runs/a new-images --save instances           cells: labels, outlines, masks, tables, regions
  unet predict runs/a big.tif --with runs/b --tta d4        two networks, eight views of each image
  unet predict model.safetensors a.png b.png -o out --force
  unet predict runs/a - < a.png > mask.png                  one image through a pipe

Masks hold the values of the training masks, at the size of the image. Files that exist are kept
unless --force or --resume is given. Earlier predictions (NAME_mask.png and so on) are never read as images.")]
pub struct PredictArgs {
    /// Run folder (its best checkpoint) or .safetensors file
    pub model: PathBuf,
    /// Image files, folders of images, TIFF stacks, patterns such as 'in/*.tif'; - reads one image from stdin
    #[arg(required = true)]
    pub input: Vec<PathBuf>,
    /// Average with this network too; may be given again
    #[arg(long, value_name = "MODEL")]
    pub with: Vec<PathBuf>,
    /// Write to this folder [default: RUN/predictions; for an image from stdin: stdout]
    #[arg(short = 'o', long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What to write for each image: mask (always), prob (32-bit float TIFF), overlay, palette (classes in
    /// colours), uncertainty (where views and networks disagree), instances (objects: labels, outlines,
    /// a mask that keeps them apart, tables, ImageJ regions)
    #[arg(long, value_name = "LIST", default_value = "mask", value_parser = parse_save)]
    pub save: OutputList,
    /// Write probabilities in 16 bits (65535 is certainty)
    #[arg(long)]
    pub prob16: bool,
    /// Overwrite files that exist
    #[arg(long)]
    pub force: bool,
    /// Skip images whose files are all there
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// What the pages of image files are: slices, channels, or auto (as ImageJ or OME wrote into the file) [default:
    /// auto]
    #[arg(long, value_name = "KIND", value_parser = parse_axes)]
    pub axes: Option<Axes>,
    /// Call a pixel class 1 from this probability on, for two classes [default: the model's]
    #[arg(long, value_name = "T", value_parser = parse_threshold)]
    pub threshold: Option<f64>,
    /// Look at each image from several sides and average: none, flip (4), d4 (8 symmetries), rot7 (7 rotations) [default: what the model says]
    #[arg(long, value_name = "NAME", value_parser = parse_tta)]
    pub tta: Option<Augmentation>,
    /// Cut images with longer sides into tiles of N pixels; 0 never cuts [default: what --memory allows, at most 1024]
    #[arg(long, value_name = "N")]
    pub tile: Option<usize>,
    /// Let neighbouring tiles share N pixels, blended [default: as far as the network sees, at most a quarter tile]
    #[arg(long, value_name = "N")]
    pub overlap: Option<usize>,
    /// Memory that the network may take for one tile, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, conflicts_with = "tile")]
    pub memory: usize,
    /// How objects are told apart.
    #[command(flatten)]
    pub objects: ObjectArgs,
    /// What to compute on.
    #[command(flatten)]
    pub machine: MachineArgs,
}

/// How objects are told apart; what is not given is as tuned for the model, or else usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Objects (--save instances)")]
pub struct ObjectArgs {
    /// Mask value of what objects are: of a model of membranes that of the cells between them [default: as tuned, or the
    /// higher of two]
    #[arg(long, value_name = "VALUE")]
    pub objects_of: Option<u32>,
    /// Drop objects of fewer pixels [default: as tuned, or 16]
    #[arg(long, value_name = "N")]
    pub min_size: Option<usize>,
    /// Part touching objects between places where the smoothed probability is more than this share of the way from the
    /// threshold to its highest [default: as tuned, or 0.9]
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub seed_level: Option<f32>,
    /// Take no such place of fewer pixels [default: as tuned, or 32]
    #[arg(long, value_name = "N")]
    pub seed_size: Option<usize>,
    /// Nor one smaller than so much of the mean object: of 0.5, a gap in a membrane does not join large cells, and small
    /// parts stay with their neighbours [default: as tuned, or 0]
    #[arg(long, value_name = "SHARE", value_parser = parse_part)]
    pub seed_share: Option<f64>,
    /// Smooth the probability for that by so many pixels (σ); 0 does not [default: as tuned, or 1]
    #[arg(long, value_name = "PX", value_parser = parse_smoothing)]
    pub smooth: Option<f64>,
    /// Part touching objects by their form instead: where they are narrow, their middles at least so many pixels apart
    #[arg(long, value_name = "PX", value_parser = parse_distance,
          conflicts_with_all = ["seed_level", "seed_size", "seed_share", "smooth"])]
    pub seed_distance: Option<f64>,
    /// Fill holes of at most N pixels [default: as tuned, or 64]
    #[arg(long, value_name = "N")]
    pub fill_holes: Option<usize>,
    /// Let objects grow by at most N pixels over what lies between them, until they meet: for cells that only membranes
    /// part [default: as tuned, or 0]
    #[arg(long, value_name = "N")]
    pub grow: Option<usize>,
    /// Drop objects that touch the border of the image
    #[arg(long)]
    pub clear_border: bool,
    /// Do not part touching objects: each connected part is one
    #[arg(long, conflicts_with_all = ["seed_distance", "seed_level", "seed_size", "seed_share", "smooth"])]
    pub no_split: bool,
}

/// What to write of each image, as one argument.
#[derive(Clone, Debug)]
pub struct OutputList(pub Vec<Output>);

/// What `unet tune` takes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unet tune runs/a                       the threshold with the best mean Dice
  unet tune runs/a --score v_rand        that with the best V_rand
  unet tune runs/a --score pq            threshold, seeds and sizes of objects for panoptic quality
  unet tune runs/a --on train            on the images trained on, so that held-out scores stay honest

What is found is stored in the checkpoint; 'unet predict' and 'unet evaluate' use it from then on.")]
pub struct TuneArgs {
    /// Run folder (its best checkpoint), or a checkpoint in one
    pub run: PathBuf,
    /// The run's data set, if it has moved
    pub data: Option<String>,
    /// What is to be as high as possible: dice, v_rand, v_info, of objects ap (average precision), pq (panoptic
    /// quality), objects_v_rand or objects_v_info
    #[arg(long, value_name = "NAME", default_value = "dice", value_parser = parse_score)]
    pub score: TuneScore,
    /// For scores of objects the mask value of what objects are [default: as tuned before, or the higher of two]
    #[arg(long, value_name = "VALUE")]
    pub objects_of: Option<u32>,
    /// Which images to tune on: those held out, those trained on, or all
    #[arg(long, value_enum, value_name = "PART", default_value = "val")]
    pub on: OnArg,
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
    /// What to compute on.
    #[command(flatten)]
    pub machine: MachineArgs,
}

fn parse_save(text: &str) -> Result<OutputList, String> {
    parse_outputs(text).map(OutputList).map_err(|e| e.to_string())
}

fn parse_score(text: &str) -> Result<TuneScore, String> {
    text.parse().map_err(|e: unet_train::TrainError| e.to_string())
}

pub(super) fn parse_tta(text: &str) -> Result<Augmentation, String> {
    text.parse().map_err(|e: unet_train::TrainError| e.to_string())
}

fn parse_share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(p) if (0.0..=1.0).contains(&p) => Ok(p),
        _ => Err("expected a share, 0 to 1".to_owned()),
    }
}

fn parse_part(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=100.0).contains(&part) => Ok(part),
        _ => Err("expected a part of the mean object, 0 to 100".to_owned()),
    }
}

fn parse_smoothing(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(sigma) if (0.0..=100.0).contains(&sigma) => Ok(sigma),
        _ => Err("expected a number of pixels, 0 to 100".to_owned()),
    }
}

fn parse_distance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(d) if d.is_finite() && d >= 1.0 => Ok(d),
        _ => Err("expected a number of pixels, 1 or more".to_owned()),
    }
}
