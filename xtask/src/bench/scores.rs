//! The ISBI challenge's scores at all thresholds: ours (`crates/unet-train/examples/bench_scores.rs`, built as `cargo run` builds it)
//! beside scikit-image (`xtask/reference/bench/scores_worker.py`), on the same stack. Takes the arguments; yields a row.

use super::Args;
use super::pairs::Comparison;
use super::report::Row;
use super::worker::Worker;
use crate::python::Python;
use crate::{process, workspace};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::process::Command;

/// The only case.
const CASE: &str = "sweep/512x512x30";

/// Measures; versions of what took part are added to `versions`.
pub fn rows(args: &Args, threads: usize, versions: &mut BTreeMap<String, String>) -> Result<Vec<Row>> {
    if let Some(pattern) = args.cases.as_deref().filter(|pattern| !CASE.contains(pattern)) {
        bail!("no case contains `{pattern}`; there is: {CASE}");
    }
    let root = workspace::root()?;
    let target = workspace::target_dir(&root)?;
    process::run(workspace::cargo(&root).args([
        "build",
        "--locked",
        "--package",
        "unet-train",
        "--example",
        "bench_scores",
    ]))?;
    let name = format!("bench_scores{}", std::env::consts::EXE_SUFFIX);
    let (program, files) = (target.join("debug").join("examples").join(name), target.join("bench-scores"));
    process::run(Command::new(&program).arg("--write").arg(&files))?;
    let folder = root.join("xtask/reference/bench");
    let python = Python::with_requirements(&target, "bench-scores", &folder.join("scores_requirements.txt"))?;
    let threads_flag = ["--threads".to_owned(), threads.to_string()];
    eprintln!("scores {CASE}: {} pairs with scikit-image", args.runs);
    let mut ours = Worker::start(Command::new(&program).args(&threads_flag))?;
    let mut script = python.script(&folder.join("scores_worker.py"));
    let mut theirs = Worker::start(script.arg("--folder").arg(&files).args(&threads_flag))?;
    versions.extend(ours.ready.versions.clone());
    versions.extend(theirs.ready.versions.clone());
    let comparison = Comparison::measure(&mut ours, &mut theirs, usize::from(args.runs))?;
    let mut row = Row::new("scores", CASE, &ours.ready, &theirs.ready, &comparison);
    row.ours_peak_mb = ours.peak_mb();
    row.peer_peak_mb = theirs.peak_mb(); // of its main process alone
    Ok(vec![row])
}
