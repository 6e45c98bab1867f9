//! `cargo xtask oracle`: other people's programs read our files. Takes a finished run, or trains a tiny one; fails where they read
//! something else than we wrote. The tensorboard package reads a run's event file, against the
//! run's metrics.jsonl; the roifile package reads the regions of predicted objects, against their label image and table; ImageJ itself reads
//! these, and fills regions of its own as our reader does.

use crate::imagej::ImageJ;
use crate::python::Python;
use crate::{process, smoke, workspace};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

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
        .context("roifile does not read what we wrote")?;
    match ImageJ::find(&target)? {
        Some(imagej) => with_imagej(&root, &imagej, &run, &target.join("oracle/imagej"))
            .context("ImageJ and we read things differently"),
        None => Ok(()),
    }
}

/// ImageJ makes images and regions, ours reads them, ImageJ reads what came of it.
fn with_imagej(root: &Path, imagej: &ImageJ, run: &Path, folder: &Path) -> Result<()> {
    let program = root.join("xtask/reference/oracle/ImageJOracle.java");
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    process::run(imagej.program(&program).arg("make").arg(folder))?;
    let objects = folder.join("objects");
    smoke::predict_objects(root, run, &folder.join("images"), &objects)?;
    let (labels, masks) = (folder.join("many/labels.tif"), folder.join("masks"));
    example(root, "unet-train", "objects", &[&folder.join("many/dots.tif"), &labels])?;
    std::fs::create_dir_all(&masks).with_context(|| format!("cannot create {}", masks.display()))?;
    example(root, "unet-data", "inspect_data", &[&folder.join("shapes"), &masks])?;
    process::run(imagej.program(&program).arg("read").args([objects.as_path(), &labels, folder, &masks]))
}

fn example(root: &Path, krate: &str, name: &str, arguments: &[&Path]) -> Result<()> {
    let mut command = workspace::cargo(root);
    command.args(["run", "--quiet", "--locked", "--package", krate, "--example", name, "--"]).args(arguments);
    process::capture(&mut command).map(drop)
}
