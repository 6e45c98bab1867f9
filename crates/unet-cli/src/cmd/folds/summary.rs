//! The summary of a set of folds: mean and standard deviation of their scores, on the screen and in `folds.json`.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use unet_train::RunDir;
use unet_train::observe::EpochRecord;

use super::Fold;
use crate::cmd::inspect::run_records;
use crate::progress::text;
use crate::terminal::Terminal;

/// A score of a validation record.
type Score = fn(&EpochRecord) -> Option<f64>;

/// What is summarised beside the measure that chose the best epochs, all at those epochs.
const SCORES: [(&str, Score); 4] = [
    ("loss", |r| r.val.as_ref().map(|v| v.loss)),
    ("dice", |r| r.val.as_ref().and_then(|v| v.scores.mean_dice)),
    ("iou", |r| r.val.as_ref().and_then(|v| v.scores.mean_iou)),
    ("pixel_error", |r| r.val.as_ref().and_then(|v| v.scores.pixel_error)),
];

/// Mean and sample standard deviation; of a single value the latter is 0.
fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

/// `values` as a line and as a JSON object.
fn summary(name: &str, values: &[f64]) -> (String, serde_json::Value) {
    let (mean, sd) = mean_and_sd(values);
    let line = format!("  {} {} ± {}", name.replace('_', " "), text::number(mean), text::number(sd));
    (line, json!({"values": values, "mean": mean, "sd": sd}))
}

/// Prints the folds' best values and scores, and writes them to `folds.json` in `folder`. All folds ran to their end.
pub fn write(folder: &Path, folds: &[Fold], terminal: &Terminal) -> Result<()> {
    let best: Vec<_> = folds.iter().filter_map(|f| f.best.as_ref()).collect();
    let metric = best.first().map_or("loss", |b| b.metric.as_str());
    terminal.line("");
    for (i, b) in best.iter().enumerate() {
        let (name, value) = (metric.replace('_', " "), text::number(b.value));
        terminal.line(format!("  fold {}  {name} {value} (epoch {})", i + 1, b.epoch));
    }
    let values: Vec<f64> = best.iter().map(|b| b.value).collect();
    let (line, mut document) = summary(metric, &values);
    terminal.line(format!("{line} over {}", text::count(values.len() as u64, "fold")));
    let records: Vec<EpochRecord> = folds.iter().filter_map(|f| best_record(f).transpose()).collect::<Result<_>>()?;
    let mut scores = serde_json::Map::new();
    for (name, of) in SCORES {
        let values: Vec<f64> = records.iter().filter_map(of).collect();
        // A fold whose held-out masks lack a class may have no score: then there is no mean over all folds.
        if values.len() == folds.len() {
            let (line, object) = summary(&format!("val_{name}"), &values);
            if format!("val_{name}") != metric {
                terminal.line(line);
            }
            scores.insert(name.to_owned(), object);
        }
    }
    let runs: Vec<_> = folds.iter().map(|f| f.run.display().to_string()).collect();
    document["metric"] = metric.into();
    document["runs"] = runs.into();
    document["scores"] = scores.into();
    let path = folder.join("folds.json");
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")
        .with_context(|| format!("{}: cannot write", path.display()))?;
    terminal.line(format!("  written  {}", path.display()));
    Ok(())
}

/// The record of a run's best epoch; none where that is the model that it started from.
fn best_record(fold: &Fold) -> Result<Option<EpochRecord>> {
    let Some(best) = &fold.best else { return Ok(None) };
    Ok(run_records(&RunDir::new(&fold.run))?.into_iter().find(|r| r.epoch == best.epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_sd(&[1.0, 2.0, 3.0]), (2.0, 1.0));
        assert_eq!(mean_and_sd(&[5.0]), (5.0, 0.0));
    }
}
