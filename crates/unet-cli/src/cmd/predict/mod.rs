//! `unet predict`: masks, probabilities and overlays of new images. A file that cannot be segmented does not keep the others from it: it
//! is reported at the end, and the exit status says so.

mod glob;
mod pipe;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use unet_data::{Axes, InputImage, list_images, open_images_as};
use unet_train::objects::{InstanceConfig, Separation};
use unet_train::predict::{Existing, Output, OutputOptions, Tiling, check_outputs, predict_files};
use unet_train::{PredictOptions, Predictor};

use crate::args::{ObjectArgs, PredictArgs};
use crate::progress::{Counter, text};
use crate::terminal::Terminal;
use crate::{output, resolve};

/// Files whose pages are spoken of.
const MOST_NOTES: usize = 3;

/// Predicts every file that can be.
pub fn run(args: &PredictArgs, terminal: &Terminal) -> Result<ExitCode> {
    let mut predictor = Predictor::open(&args.model, options(args)?)?;
    for other in &args.with {
        predictor.add(other)?;
    }
    if let Some(value) = args.objects.objects_of {
        predictor.make_objects_of(value)?;
    }
    let objects = with_flags(&args.objects, &predictor);
    let existing = match (args.force, args.resume) {
        (true, _) => Existing::Overwrite,
        (_, true) => Existing::Resume,
        _ => Existing::Refuse,
    };
    if args.input.iter().any(|input| input == Path::new("-")) {
        return pipe::run(args, (objects, existing), &mut predictor, terminal);
    }
    let outputs = OutputOptions {
        existing,
        prob_16: args.prob16,
        objects,
        layered: predictor.meta().classes.is_layered(),
        ..OutputOptions::new(out_folder(args)?, args.save.0.clone())
    };
    let inputs = glob::expand(&args.input)?;
    let (files, mut failures) = open_each(&list_images(&inputs)?, args.axes.unwrap_or_default());
    check_outputs(&files.concat(), &outputs)?;

    notes(&files).into_iter().for_each(|note| terminal.line(format!("Note: {note}")));
    let pages = files.iter().map(Vec::len).sum();
    let mut counter = Counter::new(terminal, "predict", "predicted", pages);
    let (mut done, mut skipped) = (0, 0);
    for file in &files {
        let name = file[0].path.display().to_string();
        let before = counter.done();
        match predict_files(&mut predictor, file, &outputs, &mut |done| counter.reach(before + done, &name)) {
            Ok(written) if written.iter().all(|w| w.files.is_empty()) => skipped += 1,
            Ok(_) => done += 1,
            Err(error) => {
                failures.push(output::message(&error.into()));
                counter.reach(before + file.len() as f64, &name);
            }
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
    if skipped > 0 {
        terminal.line(format!("Skipped {}: all of it is there", text::count(skipped, "file")));
    }
    report(&failures, done + skipped)
}

/// What the user may want to know of the files: alpha that is left out, pages that are channels (of the first files).
fn notes(files: &[Vec<InputImage>]) -> Vec<String> {
    let firsts = || files.iter().filter_map(|pages| pages.first());
    let mut notes: Vec<String> = firsts().filter_map(InputImage::note).take(MOST_NOTES).collect();
    let alpha: Vec<_> = firsts().filter(|page| page.alpha).collect();
    if let Some(first) = alpha.first() {
        let many = text::count(alpha.len() as u64, "file");
        notes.push(format!("{many} with an alpha channel, which is left out ({} …)", first.path.display()));
    }
    notes
}

/// How to predict.
fn options(args: &PredictArgs) -> Result<PredictOptions> {
    let tiling = match args.tile {
        Some(tile) => Tiling::of(tile),
        None => Tiling::within(args.memory << 20),
    };
    Ok(PredictOptions {
        tiling: args.overlap.map_or(Ok(tiling), |overlap| tiling.with_overlap(overlap))?,
        threshold: args.threshold,
        augmentation: args.tta,
        uncertainty: args.save.0.contains(&Output::Uncertainty),
        ..resolve::predicting(&args.machine)?
    })
}

/// The parameters of objects: the model's, or the usual ones, with what was typed laid over them. Nothing where nothing was typed.
fn with_flags(args: &ObjectArgs, predictor: &Predictor) -> Option<InstanceConfig> {
    if *args == ObjectArgs::default() {
        return None;
    }
    let base = predictor.objects();
    let seeds = [args.seed_level.is_some(), args.seed_size.is_some(), args.seed_share.is_some(), args.smooth.is_some()];
    let separation = match (args.no_split, args.seed_distance) {
        (true, _) => Separation::Components,
        (_, Some(_)) => Separation::Distance,
        _ if seeds.contains(&true) => Separation::Probability,
        _ => base.separation,
    };
    Some(InstanceConfig {
        min_area: args.min_size.unwrap_or(base.min_area),
        seed_level: args.seed_level.unwrap_or(base.seed_level),
        seed_area: args.seed_size.unwrap_or(base.seed_area),
        seed_share: args.seed_share.unwrap_or(base.seed_share),
        smoothing: args.smooth.unwrap_or(base.smoothing),
        seed_distance: args.seed_distance.unwrap_or(base.seed_distance),
        max_hole: args.fill_holes.unwrap_or(base.max_hole),
        grow: args.grow.unwrap_or(base.grow),
        clear_border: args.clear_border || base.clear_border,
        separation,
        ..base
    })
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
