//! `cargo xtask bench`: our speed and memory beside a peer's, in one run on one machine.
//!
//! Takes the name of a measurement; prints a Markdown table and writes JSON. Both programs run at the same time and take turns, so that what
//! disturbs the machine disturbs both; each number is a median, each ratio is taken pair by pair. `published` makes the pages and the plot
//! of the files that are kept.

mod cases;
mod compare;
mod data;
mod infer;
mod kinds;
mod large;
mod layers;
mod machine;
mod pairs;
mod plot;
mod predict;
mod programs;
pub mod published;
mod recipe;
mod recipe_plot;
mod report;
mod row;
mod scores;
mod step;
mod worker;

use anyhow::Result;
use programs::Isa;
use report::Report;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Names and versions of what took part.
type Versions = BTreeMap<String, String>;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    bench: Bench,
    /// Write the numbers to this file as JSON; those of other cases that it has already stay
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases whose name is or contains one of these, such as 512x512,base16
    #[arg(long, value_name = "PATTERN,…")]
    cases: Option<String>,
    /// Only the peer's settings whose name is or contains one of these, such as channels_last,compiled
    #[arg(long, value_name = "PATTERN,…")]
    settings: Option<String>,
    /// Pairs to measure in each case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Threads on both sides [default: all the machine has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Hold the peer to an instruction set, in the place of a machine that has no more (ours: UNET_TIER)
    #[arg(long, value_enum, value_name = "ISA")]
    peer_isa: Option<Isa>,
    /// The time of each run of `kinds` [default: 20s]
    #[arg(long, value_name = "TIME")]
    budget: Option<String>,
}

/// The measurements there are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Bench {
    /// A whole training step beside PyTorch's, in its layouts, plain and compiled
    Step,
    /// A forward pass beside PyTorch, ONNX Runtime and OpenVINO
    Infer,
    /// Each layer beside the most that the processor can multiply, on every tier; no peer
    Layers,
    /// Augmented patches (96 of them) beside a PyTorch DataLoader with albumentations or torchvision
    Data,
    /// A large image in tiles beside MONAI's sliding window, on the same weights
    Predict,
    /// `unet predict` of an image of 16384×16384 pixels with a narrow network, in rows: time and memory, ours alone
    Large,
    /// The ISBI challenge's scores of 30 slices at all thresholds beside scikit-image
    Scores,
    /// Quality against time of `unet train` as it plans, on the real slices; --runs seeds each, 10 s and 1 min unless --cases names others
    Recipe,
    /// What the plan makes of drawn data of unlike kinds, beside the best threshold; one run each, of --budget
    Kinds,
}

/// Measures and reports.
pub fn run(args: &Args) -> Result<()> {
    match args.bench {
        Bench::Recipe => return recipe::run(args),
        Bench::Kinds => return kinds::run(args),
        Bench::Large => return large::run(args),
        _ => {}
    }
    let mut report = Report::here();
    let threads = args.threads.map_or(report.machine.cores, usize::from);
    match args.bench {
        Bench::Step => report.rows = step::rows(args, threads, &mut report.versions)?,
        Bench::Infer => report.rows = infer::rows(args, threads, &mut report.versions)?,
        Bench::Layers => report.layers = layers::tables(args, threads)?,
        Bench::Data => report.rows = data::rows(args, threads, &mut report.versions)?,
        Bench::Predict => report.rows = predict::rows(args, threads, &mut report.versions)?,
        Bench::Scores => report.rows = scores::rows(args, threads, &mut report.versions)?,
        Bench::Recipe | Bench::Kinds | Bench::Large => {}
    }
    println!("{threads} threads, {}", report.markdown());
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    Ok(())
}
