//! A large image in tiles: ours (`crates/unet-train/examples/bench_predict.rs`, built as `cargo run` builds it) beside MONAI's sliding window
//! (`xtask/reference/bench/predict_worker.py`), on the same weights, with the same tiles. Takes the arguments; yields rows.

use super::Args;
use super::pairs::Comparison;
use super::report::Row;
use super::step::LAYOUTS;
use super::worker::Worker;
use crate::python::Python;
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Side of the image, channels of the network's first level.
const CASES: [(usize, usize); 3] = [(1024, 16), (4096, 16), (4096, 64)];
/// Side of a tile in pixels; neighbours share a quarter of it.
const TILE: usize = 512;

/// Measures every case whose name contains the pattern asked for; versions of what took part are added to `versions`.
pub fn rows(args: &Args, threads: usize, versions: &mut BTreeMap<String, String>) -> Result<Vec<Row>> {
    let cases = cases(args.cases.as_deref())?;
    let programs = Programs::prepare(&workspace::root()?)?;
    let mut rows = Vec::new();
    for case in cases {
        programs.write(case, threads)?;
        for layout in LAYOUTS {
            let name = case_name(case);
            eprintln!("predict {name}: {} pairs with MONAI {layout}", args.runs);
            let row = programs.measure(case, layout, threads, usize::from(args.runs), versions);
            rows.push(row.with_context(|| format!("predict {name}"))?);
        }
    }
    Ok(rows)
}

/// `4096x4096/base16`
fn case_name((side, base): (usize, usize)) -> String {
    format!("{side}x{side}/base{base}")
}

fn cases(pattern: Option<&str>) -> Result<Vec<(usize, usize)>> {
    let wanted = |case: &(usize, usize)| pattern.is_none_or(|p| case_name(*case).contains(p));
    let chosen: Vec<_> = CASES.into_iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<String> = CASES.into_iter().map(case_name).collect();
        bail!("no case contains `{}`; there are: {}", pattern.unwrap_or_default(), names.join(", "));
    }
    Ok(chosen)
}

/// The programs of both sides, and the folder with what the peer starts from.
struct Programs {
    ours: PathBuf,
    python: Python,
    script: PathBuf,
    files: PathBuf,
}

impl Programs {
    fn prepare(root: &Path) -> Result<Self> {
        let target = workspace::target_dir(root)?;
        let build = ["build", "--locked", "--package", "unet-train", "--example", "bench_predict"];
        process::run(workspace::cargo(root).args(build))?;
        let name = format!("bench_predict{}", std::env::consts::EXE_SUFFIX);
        let ours = target.join("debug").join("examples").join(name);
        let folder = root.join("xtask/reference/bench");
        let python = Python::with_requirements(&target, "bench-predict", &folder.join("predict_requirements.txt"))?;
        Ok(Self { ours, python, script: folder.join("predict_worker.py"), files: target.join("bench-predict") })
    }

    /// Writes the weights, and what ours makes of the image.
    fn write(&self, case: (usize, usize), threads: usize) -> Result<()> {
        process::run(with_case(Command::new(&self.ours), case, threads).arg("--write").arg(&self.files))
    }

    fn measure(
        &self,
        case: (usize, usize),
        layout: &str,
        threads: usize,
        runs: usize,
        versions: &mut BTreeMap<String, String>,
    ) -> Result<Row> {
        let mut ours = with_case(Command::new(&self.ours), case, threads);
        let mut theirs = with_case(self.python.script(&self.script), case, threads);
        theirs.arg("--folder").arg(&self.files).args(["--layout", layout]);
        let (mut ours, mut theirs) = (Worker::start(&mut ours)?, Worker::start(&mut theirs)?);
        versions.extend(ours.ready.versions.clone());
        versions.extend(theirs.ready.versions.clone());
        let comparison = Comparison::measure(&mut ours, &mut theirs, runs)?;
        let mut row = Row::new("predict", &case_name(case), &ours.ready, &theirs.ready, &comparison);
        row.ours_peak_mb = ours.peak_mb();
        row.peer_peak_mb = theirs.peak_mb();
        Ok(row)
    }
}

fn with_case(mut command: Command, (side, base): (usize, usize), threads: usize) -> Command {
    for (flag, value) in [("--side", side), ("--base", base), ("--tile", TILE), ("--threads", threads)] {
        command.arg(flag).arg(value.to_string());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_chosen_by_name() {
        assert_eq!(cases(None).expect("all").len(), 3);
        assert_eq!(cases(Some("4096x4096/base16")).expect("one"), [(4096, 16)]);
        let error = cases(Some("512")).expect_err("none").to_string();
        assert!(error.contains("4096x4096/base64"), "{error}");
    }
}
