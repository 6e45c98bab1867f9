//! `unet evaluate`: scores of a model on a data set, or of finished masks against the truth; tables, or JSON with the keys of
//! [`unet_train::Report`], and the curves over thresholds as an image.

mod curve;
mod table;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use unet_data::{Dataset, MaskOptions, OpenOptions};
use unet_train::evaluate::Report;
use unet_train::{PredictOptions, Predictor, RunConfig, RunDir, evaluate_model, evaluate_predictions_as};

use crate::args::{EvaluateArgs, OnArg};
use crate::progress::Counter;
use crate::terminal::Terminal;
use crate::{data, output, resolve};

/// The threshold on the probabilities of finished predictions, whose model is not known.
const THRESHOLD: f64 = 0.5;

/// Scores, and prints the scores.
pub fn run(args: &EvaluateArgs, terminal: &Terminal) -> Result<ExitCode> {
    args.curve.as_deref().map_or(Ok(()), curve::check)?;
    let (title, report) = match (&args.model, &args.data, &args.pred, &args.truth) {
        (Some(model), Some(data), _, _) => score_model(args, model, Path::new(data), terminal)?,
        (_, _, Some(pred), Some(truth)) => {
            let masks =
                MaskOptions { ignore: args.ignore, threshold: args.mask_threshold, multi_label: args.multi_label };
            let report = evaluate_predictions_as(pred, truth, args.threshold.unwrap_or(THRESHOLD), masks)?;
            (format!("{} against {}", pred.display(), truth.display()), report)
        }
        _ => bail!("give MODEL and DATA, or --pred and --truth"),
    };
    if let Some(file) = &args.curve {
        curve::write(file, &title, &report)?;
        terminal.line(format!("Curves over thresholds: {}", file.display()));
    }
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&format!("{title}\n\n{}", table::of(&report, args.per_image)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn score_model(args: &EvaluateArgs, model: &Path, data: &Path, terminal: &Terminal) -> Result<(String, Report)> {
    let options =
        PredictOptions { threshold: args.threshold, augmentation: args.tta, ..resolve::predicting(&args.machine)? };
    let mut predictor = Predictor::open(model, options)?;
    let dataset =
        data::open_with_classes(data, &predictor.meta().classes, &run_options(model, args.on.unwrap_or(OnArg::All))?)?;
    let (part, indices) = chosen(args.on.unwrap_or(OnArg::All), model, data, dataset.as_ref(), terminal)?;
    let mut counter = Counter::new(terminal, "score", "scored", indices.len());
    let report = evaluate_model(&mut predictor, dataset.as_ref(), &indices, &mut |n| counter.tick(&n.to_string()))?;
    Ok((format!("{} on {} ({part})", predictor.path().display(), data.display()), report))
}

/// How the model's run opened its files; the defaults for a model that belongs to none. Its validation folder counts where a part of
/// the run's images is asked for.
fn run_options(model: &Path, on: OnArg) -> Result<OpenOptions<'static>> {
    let Some(run) = resolve::run_of(model) else { return Ok(OpenOptions::default()) };
    let options = RunConfig::load(&RunDir::new(&run).config(), None)?.data.open_options();
    Ok(if on == OnArg::All { OpenOptions { validation: None, ..options } } else { options })
}

/// The images to score, and how that part is called. A part is what the model's run made it.
fn chosen(
    on: OnArg,
    model: &Path,
    data: &Path,
    dataset: &dyn Dataset,
    terminal: &Terminal,
) -> Result<(String, Vec<usize>)> {
    let part = match on {
        OnArg::All => return Ok(("all images".to_owned(), (0..dataset.len()).collect())),
        OnArg::Train => "train",
        OnArg::Val => "val",
    };
    let run = resolve::run_of(model).with_context(|| {
        format!("{}: belongs to no run, so nothing says which images are '{part}'; use --on all", model.display())
    })?;
    let config = RunConfig::load(&RunDir::new(&run).config(), None)?;
    let spec = &config.data.val;
    if let Some(own) = config.data.path.filter(|own| !same_place(own, data)) {
        terminal.line(format!(
            "note: {} was trained on {}; its split {spec} is now laid over {}",
            run.display(),
            own.display(),
            data.display()
        ));
    }
    let split = spec.split_of(dataset)?;
    let indices = if on == OnArg::Train { split.train } else { split.val };
    if indices.is_empty() {
        bail!("{}: the run held no images out; use --on train or --on all", run.display());
    }
    Ok((format!("{part}, split {spec}"), indices))
}

fn same_place(a: &Path, b: &Path) -> bool {
    let real = |p: &Path| match p {
        p if p == Path::new(data::ISBI2012) => std::fs::canonicalize(data::ISBI2012_FOLDER).ok(),
        p => std::fs::canonicalize(p).ok(),
    };
    a == b || real(a).is_some_and(|a| Some(a) == real(b))
}
