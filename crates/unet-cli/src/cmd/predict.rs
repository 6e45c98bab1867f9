//! `unet predict`: masks, probabilities and overlays of new images. A file that cannot be segmented does not keep the others from it: it
//! is reported at the end, and the exit status says so.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use unet_data::{Axes, InputImage, list_images, open_images_as};
use unet_train::predict::{OutputOptions, Tiling, check_outputs, predict_files};
use unet_train::{PredictOptions, Predictor};

use crate::args::PredictArgs;
use crate::progress::{Counter, text};
use crate::terminal::Terminal;
use crate::{output, resolve};

/// Predicts every file that can be.
pub fn run(args: &PredictArgs, terminal: &Terminal) -> Result<ExitCode> {
    let tiling = Tiling::new(args.tile, args.overlap)?;
    let options = PredictOptions { threads: resolve::threads(&args.machine)?, tiling, threshold: args.threshold };
    let mut predictor = Predictor::open(&args.model, options)?;
    let dir = out_folder(args)?;
    let outputs = OutputOptions { dir, outputs: args.save.0.clone(), force: args.force };
    let (files, mut failures) = open_each(&list_images(&args.input)?, args.axes.unwrap_or_default());
    check_outputs(&files.concat(), &outputs)?;

    let pages = files.iter().map(Vec::len).sum();
    let mut counter = Counter::new(terminal, "predict", "predicted", pages);
    let mut done = 0;
    for file in &files {
        let name = file[0].path.display().to_string();
        match predict_files(&mut predictor, file, &outputs, &mut |_| counter.tick(&name)) {
            Ok(_) => done += 1,
            Err(error) => failures.push(output::message(&error.into())),
        }
    }
    let elapsed = counter.elapsed();
    drop(counter);
    if done > 0 {
        let names: Vec<_> = outputs.outputs.iter().map(|o| o.name()).collect();
        terminal.line(format!(
            "Predicted {} in {}: {} in {}",
            text::count(done, "file"),
            text::duration(elapsed),
            names.join(", "),
            outputs.dir.display()
        ));
    }
    report(&failures, done)
}

/// Success, or all failures together.
fn report(failures: &[String], done: u64) -> Result<ExitCode> {
    match failures {
        [] => Ok(ExitCode::SUCCESS),
        [only] if done == 0 => bail!("{only}"),
        many => {
            let all = text::count(done + many.len() as u64, "file");
            bail!("{} of {all} could not be predicted:\n  {}", many.len(), many.join("\n  "))
        }
    }
}

/// The pages of each file, and what kept the others from being opened.
fn open_each(paths: &[PathBuf], axes: Axes) -> (Vec<Vec<InputImage>>, Vec<String>) {
    let (mut files, mut failures) = (Vec::new(), Vec::new());
    for path in paths {
        match open_images_as(std::slice::from_ref(path), axes) {
            Ok(pages) => files.push(pages),
            Err(error) => failures.push(output::message(&error.into())),
        }
    }
    (files, failures)
}

/// `--out`, or `predictions` in the run that the model belongs to.
fn out_folder(args: &PredictArgs) -> Result<PathBuf> {
    match (&args.out, resolve::run_of(&args.model)) {
        (Some(out), _) => Ok(out.clone()),
        (None, Some(run)) => Ok(run.join("predictions")),
        (None, None) => {
            bail!("{}: belongs to no run, so say where to write with -o DIR", args.model.display())
        }
    }
}
