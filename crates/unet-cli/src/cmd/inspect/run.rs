//! `unet inspect RUN`: how a run, or each run of a set of folds, went or goes, read from its folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use unet_train::observe::EpochRecord;
use unet_train::{Checkpoint, MemoryEstimate, RunConfig, RunDir, checkpoint};

use super::model;
use crate::cmd::folds;
use crate::output::{self, Facts};
use crate::progress::{schedule_line, table_head, table_row, text};

/// What a run's folder tells.
struct Run<'a> {
    root: &'a Path,
    files: RunDir,
    config: RunConfig,
    epochs: Vec<EpochRecord>,
    /// Its best checkpoint, where there is one.
    best: Option<(PathBuf, Checkpoint)>,
    finished: bool,
    memory: Option<MemoryEstimate>,
}

/// Prints its configuration in brief, its model and its epochs.
pub fn report(root: &Path, as_json: bool) -> Result<()> {
    let run = Run::read(root)?;
    if as_json { output::print_json(&run.json()) } else { output::print(&run.lines()) }
}

/// Prints the same of each run of a set of folds that has begun.
pub fn report_set(root: &Path, as_json: bool) -> Result<()> {
    let (folds, begun) = folds::runs(root)?;
    let runs = begun.iter().map(|run| Run::read(run)).collect::<Result<Vec<_>>>()?;
    if as_json {
        return output::print_json(&json!({
            "kind": "folds",
            "path": root.display().to_string(),
            "folds": folds,
            "runs": runs.iter().map(Run::json).collect::<Vec<_>>(),
        }));
    }
    let mut facts = Facts::default();
    facts.add("folds", format!("{}: {} of {folds} begun", root.display(), runs.len()));
    if runs.len() < folds || runs.iter().any(|run| !run.finished) {
        facts.add("go on", format!("unet train --resume {}", root.display()));
    }
    let runs: String = runs.iter().map(|run| format!("\n{}", run.lines())).collect();
    output::print(&(facts.to_string() + &runs))
}

impl<'a> Run<'a> {
    fn read(root: &'a Path) -> Result<Self> {
        let files = RunDir::new(root);
        let config = RunConfig::load(&files.config(), None)?;
        let epochs = epochs(&files)?;
        let load = |file: PathBuf| Checkpoint::load(&file).map(|stored| (file, stored));
        let best = checkpoint::resolve(root).ok().map(load).transpose()?;
        // Also one that stopped early; without a state that can be read only the epochs tell.
        let finished = files.is_finished().unwrap_or(epochs.len() as u64 >= config.train.epochs);
        let memory = files.memory().ok().flatten();
        Ok(Self { root, files, config, epochs, best, finished, memory })
    }

    fn json(&self) -> Value {
        json!({
            "kind": "run",
            "path": self.root.display().to_string(),
            "finished": self.finished,
            "memory_bytes": self.memory.map(|m| m.total()),
            "memory_parts": self.memory,
            "config": self.config,
            "checkpoint": self.best.as_ref().map(|(file, _)| file.display().to_string()),
            "meta": self.best.as_ref().map(|(_, stored)| &stored.meta),
            "epochs": self.epochs,
        })
    }

    fn lines(&self) -> String {
        let Self { root, config, epochs, .. } = self;
        let mut facts = Facts::default();
        facts.add("run", root.display().to_string());
        if let Some(data) = &config.data.path {
            facts.add("data", format!("{}, held out: {}", data.display(), config.data.val));
        }
        facts.add("recipe", config.recipe.clone());
        let per_epoch = epochs.last().map_or(1, |r| r.step / r.epoch.max(1));
        facts.add("schedule", schedule_line(config, per_epoch));
        if let Some(memory) = self.memory {
            facts.add("memory", format!("about {} MiB to train it", memory.total() >> 20));
        }
        let all = epochs.len() as u64 >= config.train.epochs;
        let early = if self.finished && !all { ", and no epoch got better any more" } else { "" };
        facts.add("epochs", format!("{} of {} done{early}", epochs.len(), config.train.epochs));
        if let Some((file, stored)) = &self.best {
            facts.add("model", file.display().to_string());
            model::add_facts(stored, &mut facts);
        }
        if !self.finished && self.files.state().is_file() {
            facts.add("go on", format!("unet train --resume {}", root.display()));
        }
        facts.to_string() + &table(epochs, config.train.epochs)
    }
}

/// The epochs that `metrics.jsonl` tells of.
pub fn epochs(run: &RunDir) -> Result<Vec<EpochRecord>> {
    let path = run.metrics();
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.with_context(|| format!("{}: cannot read", path.display()))?,
    };
    // A run that goes on at this moment may have half a last line.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(n, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {} is no epoch of a run", path.display(), n + 1))
    };
    whole.lines().enumerate().map(parse).collect()
}

fn table(epochs: &[EpochRecord], total: u64) -> String {
    if epochs.is_empty() {
        return String::new();
    }
    // One may have been left out.
    let has_val = epochs.iter().any(|e| e.val.is_some());
    let seconds: f64 = epochs.iter().map(|e| e.seconds).sum();
    let time = std::time::Duration::try_from_secs_f64(seconds).map_or_else(|_| String::new(), text::duration);
    let rows: Vec<_> = epochs.iter().map(|e| table_row(e, total, has_val)).collect();
    format!("\n{}\n{}\n\nin {time}\n", table_head(has_val), rows.join("\n"))
}
