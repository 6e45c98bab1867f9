//! Augmented patches: our loader (`crates/unet-data/examples/bench_data.rs`) beside a PyTorch DataLoader with albumentations or torchvision
//! (`xtask/reference/bench/data_worker.py`), on the same files. Takes the arguments; yields rows, in seconds per [`PATCHES`] patches.
//!
//! Ours is built as `cargo run` builds it: the development profile is optimised.

use super::Args;
use super::pairs::Comparison;
use super::report::Row;
use super::worker::Worker;
use crate::python::Python;
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Patches in one measurement.
pub const PATCHES: usize = 96;
/// Sets of augmentations, from few to all. `dense` is the full set with a displacement drawn for every pixel, which is the one elastic
/// deformation that the peers have: theirs is the same in both.
const SETS: [&str; 4] = ["flips", "elastic", "full", "dense"];
/// Sides of the patches in pixels.
const SIDES: [usize; 2] = [256, 512];
/// The peers that each case is measured against.
const PEERS: [&str; 2] = ["albumentations", "torchvision"];

/// Measures every case whose name contains the pattern asked for; versions of what took part are added to `versions`.
pub fn rows(args: &Args, threads: usize, versions: &mut BTreeMap<String, String>) -> Result<Vec<Row>> {
    let cases = cases(args.cases.as_deref())?;
    let programs = Programs::prepare(&workspace::root()?)?;
    let mut rows = Vec::new();
    for (set, side) in cases {
        for peer in PEERS {
            let name = case_name(set, side);
            eprintln!("data {name}: {} pairs with {peer}", args.runs);
            let row = programs.measure((set, side), peer, threads, usize::from(args.runs), versions);
            rows.push(row.with_context(|| format!("data {name}"))?);
        }
    }
    Ok(rows)
}

/// `full/256x256`
fn case_name(set: &str, side: usize) -> String {
    format!("{set}/{side}x{side}")
}

fn cases(pattern: Option<&str>) -> Result<Vec<(&'static str, usize)>> {
    let all = || SETS.into_iter().flat_map(|set| SIDES.map(|side| (set, side)));
    let wanted = |(set, side): &(&str, usize)| pattern.is_none_or(|p| case_name(set, *side).contains(p));
    let chosen: Vec<_> = all().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<String> = all().map(|(set, side)| case_name(set, side)).collect();
        bail!("no case contains `{}`; there are: {}", pattern.unwrap_or_default(), names.join(", "));
    }
    Ok(chosen)
}

/// The programs of both sides, and the files that both read.
struct Programs {
    ours: PathBuf,
    python: Python,
    script: PathBuf,
    files: PathBuf,
}

impl Programs {
    fn prepare(root: &Path) -> Result<Self> {
        let target = workspace::target_dir(root)?;
        let build = ["build", "--locked", "--package", "unet-data", "--example", "bench_data"];
        process::run(workspace::cargo(root).args(build))?;
        let ours = target.join("debug").join("examples").join(format!("bench_data{}", std::env::consts::EXE_SUFFIX));
        let files = target.join("bench-data");
        if !files.join("label").join("29.png").is_file() {
            process::run(Command::new(&ours).arg("--write").arg(&files))?;
        }
        let folder = root.join("xtask/reference/bench");
        let python = Python::with_requirements(&target, "bench-data", &folder.join("data_requirements.txt"))?;
        Ok(Self { ours, python, script: folder.join("data_worker.py"), files })
    }

    fn measure(
        &self,
        (set, side): (&str, usize),
        peer: &str,
        threads: usize,
        runs: usize,
        versions: &mut BTreeMap<String, String>,
    ) -> Result<Row> {
        let mut ours = self.with_case(Command::new(&self.ours), set, side, threads);
        let mut theirs = self.with_case(self.python.script(&self.script), set, side, threads);
        theirs.args(["--library", peer]);
        let (mut ours, mut theirs) = (Worker::start(&mut ours)?, Worker::start(&mut theirs)?);
        versions.extend(ours.ready.versions.clone());
        versions.extend(theirs.ready.versions.clone());
        let comparison = Comparison::measure(&mut ours, &mut theirs, runs)?;
        let mut row = Row::new("data", &case_name(set, side), &ours.ready, &theirs.ready, &comparison);
        row.ours_peak_mb = ours.peak_mb();
        row.peer_peak_mb = theirs.peak_mb(); // of its main process alone
        Ok(row)
    }

    fn with_case(&self, mut command: Command, set: &str, side: usize, threads: usize) -> Command {
        command.arg("--data").arg(&self.files).args(["--set", set]);
        for (flag, value) in [("--patch", side), ("--patches", PATCHES), ("--threads", threads)] {
            command.arg(flag).arg(value.to_string());
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name() {
        assert_eq!(cases(None).expect("all").len(), 8);
        assert_eq!(cases(Some("full")).expect("two"), [("full", 256), ("full", 512)]);
        let error = cases(Some("1024")).expect_err("none").to_string();
        assert!(error.contains("elastic/512x512"), "{error}");
    }
}
