//! `cargo xtask bench`: our speed and memory beside a peer's, in one run on one machine.
//!
//! Takes the name of a measurement; prints a Markdown table and writes JSON. Both programs run at the same time and take turns, so that what
//! disturbs the machine disturbs both; each number is a median, each ratio is taken pair by pair.

mod data;
mod machine;
mod pairs;
mod predict;
mod report;
mod scores;
mod step;
mod worker;

use crate::workspace;
use anyhow::{Context, Result, bail};
use machine::Machine;
use pairs::Comparison;
use report::{Report, Row};
use std::collections::BTreeMap;
use std::path::PathBuf;
use step::{Case, Programs};
use worker::Worker;

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    bench: Bench,
    /// Write the numbers to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only the cases whose name contains this, such as 512x512 or base16
    #[arg(long, value_name = "PATTERN")]
    cases: Option<String>,
    /// Pairs to measure in each case
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Threads on both sides [default: all the machine has]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

/// The measurements there are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Bench {
    /// A whole training step beside PyTorch's, in its layouts
    Step,
    /// Augmented patches (96 of them) beside a PyTorch DataLoader with albumentations or torchvision
    Data,
    /// A large image in tiles beside MONAI's sliding window, on the same weights
    Predict,
    /// The ISBI challenge's scores of 30 slices at all thresholds beside scikit-image
    Scores,
}

/// Measures and reports.
pub fn run(args: &Args) -> Result<()> {
    let machine = Machine::look();
    let threads = args.threads.map_or(machine.cores, usize::from);
    let versions = BTreeMap::from([("unet".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    let mut report = Report { machine, versions, threads, rows: Vec::new() };
    report.rows = match args.bench {
        Bench::Step => step_rows(args, threads, &mut report.versions)?,
        Bench::Data => data::rows(args, threads, &mut report.versions)?,
        Bench::Predict => predict::rows(args, threads, &mut report.versions)?,
        Bench::Scores => scores::rows(args, threads, &mut report.versions)?,
    };
    print!("{}", report.markdown());
    if let Some(path) = &args.json {
        report.write_json(path)?;
    }
    Ok(())
}

/// A row for each case of the step and each layout of the peer.
fn step_rows(args: &Args, threads: usize, versions: &mut BTreeMap<String, String>) -> Result<Vec<Row>> {
    let cases = choose(args.cases.as_deref())?;
    let programs = Programs::prepare(&workspace::root()?)?;
    let mut rows = Vec::new();
    for case in cases {
        for layout in step::LAYOUTS {
            let name = case.name();
            eprintln!("step {name}: {} pairs with PyTorch {layout}", args.runs);
            let row = measure(&programs, &case, layout, threads, usize::from(args.runs), versions);
            rows.push(row.with_context(|| format!("step {name}"))?);
        }
    }
    Ok(rows)
}

/// One row: both workers of a case, started together and ended together.
fn measure(
    programs: &Programs,
    case: &Case,
    layout: &str,
    threads: usize,
    runs: usize,
    versions: &mut BTreeMap<String, String>,
) -> Result<Row> {
    let mut ours = Worker::start(&mut programs.ours(case, threads))?;
    let mut peer = Worker::start(&mut programs.peer(case, layout, threads))?;
    for worker in [&ours, &peer] {
        if worker.ready.threads != threads {
            bail!("{} computes with {} threads, asked for {threads}", worker.ready.what, worker.ready.threads);
        }
        versions.extend(worker.ready.versions.clone());
    }
    let comparison = Comparison::measure(&mut ours, &mut peer, runs)?;
    let mut row = Row::new("step", &case.name(), &ours.ready, &peer.ready, &comparison);
    row.ours_peak_mb = ours.peak_mb();
    row.peer_peak_mb = peer.peak_mb();
    Ok(row)
}

/// The cases whose name contains `pattern`.
fn choose(pattern: Option<&str>) -> Result<Vec<Case>> {
    let wanted = |case: &Case| pattern.is_none_or(|pattern| case.name().contains(pattern));
    let chosen: Vec<Case> = step::CASES.into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<String> = step::CASES.iter().map(Case::name).collect();
        bail!("no case contains `{}`; there are: {}", pattern.unwrap_or_default(), names.join(", "));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_fits_no_case_is_an_error() {
        assert_eq!(choose(None).expect("all").len(), step::CASES.len());
        assert_eq!(choose(Some("base")).expect("two").len(), 2);
        let error = choose(Some("4096x4096")).expect_err("none");
        assert!(error.to_string().contains("f32/512x512x1/tutorial"), "{error}");
    }
}
