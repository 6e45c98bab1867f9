//! `cargo xtask oracle`: other people's programs read our files. Takes a finished run, or trains a tiny one; fails where they read
//! something else than we wrote. The tensorboard package reads a run's event file, against the
//! run's metrics.jsonl; the roifile package reads the regions of predicted objects, against their label image and table.

use crate::python::Python;
use crate::{process, smoke, workspace};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

/// Arguments of `cargo xtask oracle`.
#[derive(clap::Args)]
pub struct Args {
    /// The run to read [default: a tiny one, trained for the purpose]
    #[arg(long, value_name = "RUN")]
    run: Option<PathBuf>,
}

/// Checks.
pub fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let target = workspace::target_dir(&root)?;
    let folder = root.join("xtask/reference/oracle");
    let python = Python::with_requirements(&target, "oracle", &folder.join("requirements.txt"))?;
    let run = match &args.run {
        Some(run) if run.join("metrics.jsonl").is_file() => run.clone(),
        Some(run) => bail!("{} is not a finished run: it has no metrics.jsonl", run.display()),
        None => smoke::train(&root, &target.join("oracle"))?,
    };
    process::run(python.script(&folder.join("read_events.py")).arg(&run))
        .context("tensorboard does not read what we wrote")?;
    let objects = smoke::objects(&root, &run, &target.join("oracle"))?;
    process::run(python.script(&folder.join("read_rois.py")).arg(&objects))
        .context("roifile does not read what we wrote")
}
