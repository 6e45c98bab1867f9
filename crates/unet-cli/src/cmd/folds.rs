//! `unet train --folds K`: K runs, each with another K-th of the images held out (contiguous blocks, as neighbouring slices are alike),
//! and a summary of their scores: mean and standard deviation.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use unet_train::observe::RunSummary;

use crate::progress::text;
use crate::terminal::Terminal;

/// Mean and sample standard deviation; of a single value the latter is 0.
fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

/// Prints the folds' best values and scores, and writes them to `folds.json` in `folder`.
pub fn summarize(folder: &Path, summaries: &[RunSummary], terminal: &Terminal) -> Result<()> {
    let best: Vec<f64> = summaries.iter().filter_map(|s| s.best.as_ref()).map(|b| b.value).collect();
    let metric = summaries.iter().find_map(|s| s.best.as_ref()).map_or("loss", |b| b.metric.as_str());
    let (mean, sd) = mean_and_sd(&best);
    terminal.line("");
    for (i, (summary, value)) in summaries.iter().zip(&best).enumerate() {
        let epoch = summary.best.as_ref().map_or(0, |b| b.epoch);
        terminal.line(format!(
            "  fold {}  {} {} (epoch {epoch})",
            i + 1,
            metric.replace('_', " "),
            text::number(*value)
        ));
    }
    let line = format!(
        "  {} {} ± {} over {}",
        metric.replace('_', " "),
        text::number(mean),
        text::number(sd),
        text::count(best.len() as u64, "fold")
    );
    terminal.line(line);
    let document = json!({"metric": metric, "values": best, "mean": mean, "sd": sd,
        "runs": summaries.iter().map(|s| s.run.display().to_string()).collect::<Vec<_>>()});
    let path = folder.join("folds.json");
    std::fs::write(&path, serde_json::to_string_pretty(&document)? + "\n")
        .with_context(|| format!("{}: cannot write", path.display()))?;
    terminal.line(format!("  written  {}", path.display()));
    Ok(())
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
