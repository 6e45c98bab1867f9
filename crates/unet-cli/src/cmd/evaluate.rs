//! `unet evaluate`: pixel scores of a model on a data set, or of finished masks against the truth; a table, or JSON with the keys of
//! [`unet_train::Report`].

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use unet_data::Dataset;
use unet_train::evaluate::{ClassReport, Report};
use unet_train::{PredictOptions, Predictor, RunConfig, RunDir, evaluate_model, evaluate_predictions};

use crate::args::{EvaluateArgs, OnArg};
use crate::progress::{Counter, text};
use crate::terminal::Terminal;
use crate::{data, output, resolve};

/// The threshold on the probabilities of finished predictions, whose model is not known.
const THRESHOLD: f64 = 0.5;

/// Scores, and prints the scores.
pub fn run(args: &EvaluateArgs, terminal: &Terminal) -> Result<ExitCode> {
    let (title, report) = match (&args.model, &args.data, &args.pred, &args.truth) {
        (Some(model), Some(data), _, _) => score_model(args, model, Path::new(data), terminal)?,
        (_, _, Some(pred), Some(truth)) => {
            let report = evaluate_predictions(pred, truth, args.threshold.unwrap_or(THRESHOLD))?;
            (format!("{} against {}", pred.display(), truth.display()), report)
        }
        _ => bail!("give MODEL and DATA, or --pred and --truth"),
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&format!("{title}\n\n{}", table(&report)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn score_model(args: &EvaluateArgs, model: &Path, data: &Path, terminal: &Terminal) -> Result<(String, Report)> {
    let threads = resolve::threads(&args.machine)?;
    let options = PredictOptions { threads, threshold: args.threshold, ..PredictOptions::default() };
    let mut predictor = Predictor::open(model, options)?;
    let dataset = data::open_with_classes(data, &predictor.meta().classes)?;
    let (part, indices) = chosen(args.on.unwrap_or(OnArg::All), model, data, dataset.as_ref(), terminal)?;
    let mut counter = Counter::new(terminal, "score", "scored", indices.len());
    let report = evaluate_model(&mut predictor, dataset.as_ref(), &indices, &mut |n| counter.tick(&n.to_string()))?;
    Ok((format!("{} on {} ({part})", predictor.path().display(), data.display()), report))
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
    let split = spec.split(dataset.len())?;
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

/// The scores as people read them.
fn table(report: &Report) -> String {
    let threshold = report.threshold.map_or_else(String::new, |t| format!(", threshold {t}"));
    let images = text::count(report.images as u64, "image");
    let mut lines = vec![
        format!(
            "{images}{threshold}: pixel accuracy {}, pixel error {}",
            score(report.pixel_accuracy),
            score(report.pixel_error)
        ),
        String::new(),
        format!("{:<12}{:>10}{:>10}{:>12}{:>10}", "mask value", "Dice", "IoU", "precision", "recall"),
    ];
    lines.extend(report.per_class.iter().map(class_row));
    lines.push(format!("{:<12}{:>10}{:>10}", "mean", score(report.mean_dice), score(report.mean_iou)));
    lines.push(String::new());
    let width = report.per_image.iter().map(|i| i.id.chars().count()).max().unwrap_or(0).max("image".len()) + 2;
    lines.push(format!("{:<width$}{:>10}{:>12}{:>10}", "image", "accuracy", "mean Dice", "mean IoU"));
    lines.extend(report.per_image.iter().map(|i| {
        let [accuracy, dice, iou] = [i.pixel_accuracy, i.mean_dice, i.mean_iou].map(score);
        format!("{:<width$}{accuracy:>10}{dice:>12}{iou:>10}", i.id)
    }));
    lines.join("\n") + "\n"
}

fn class_row(class: &ClassReport) -> String {
    let s = &class.scores;
    let [dice, iou, precision, recall] = [s.dice, s.iou, s.precision, s.recall].map(score);
    format!("{:<12}{dice:>10}{iou:>10}{precision:>12}{recall:>10}", class.value)
}

/// A score, or a dash where there was nothing to count.
fn score(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| format!("{v:.4}"))
}
