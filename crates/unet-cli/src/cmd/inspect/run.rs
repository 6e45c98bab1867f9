//! `unet inspect RUN`: how a run went or goes, read from its folder.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use unet_train::observe::EpochRecord;
use unet_train::{Checkpoint, RunConfig, RunDir, checkpoint};

use super::model;
use crate::output::{self, Facts};
use crate::progress::{schedule_line, table_head, table_row, text};

/// Prints its configuration in brief, its model and its epochs.
pub fn report(root: &Path, as_json: bool) -> Result<()> {
    let run = RunDir::new(root);
    let config = RunConfig::load(&run.config(), None)?;
    let epochs = epochs(&run)?;
    let file = checkpoint::resolve(root).ok();
    let stored = file.as_deref().map(Checkpoint::load).transpose()?;
    let all = epochs.len() as u64 >= config.train.epochs;
    // Also one that stopped early; without a state that can be read only the epochs tell.
    let finished = run.is_finished().unwrap_or(all);
    let memory = run.memory().ok().flatten();
    if as_json {
        return output::print_json(&json!({
            "kind": "run",
            "path": root.display().to_string(),
            "finished": finished,
            "memory_bytes": memory.map(|m| m.total()),
            "memory_parts": memory,
            "config": config,
            "checkpoint": file.map(|f| f.display().to_string()),
            "meta": stored.map(|s| s.meta),
            "epochs": epochs,
        }));
    }
    let mut facts = Facts::default();
    facts.add("run", root.display().to_string());
    if let Some(data) = &config.data.path {
        facts.add("data", format!("{}, held out: {}", data.display(), config.data.val));
    }
    facts.add("recipe", config.recipe.clone());
    let per_epoch = epochs.last().map_or(1, |r| r.step / r.epoch.max(1));
    facts.add("schedule", schedule_line(&config, per_epoch));
    let early = if finished && !all { ", and no epoch got better any more" } else { "" };
    if let Some(memory) = memory {
        facts.add("memory", format!("about {} MiB to train it", memory.total() >> 20));
    }
    facts.add("epochs", format!("{} of {} done{early}", epochs.len(), config.train.epochs));
    if let (Some(file), Some(stored)) = (&file, &stored) {
        facts.add("model", file.display().to_string());
        model::add_facts(stored, &mut facts);
    }
    if !finished && run.state().is_file() {
        facts.add("go on", format!("unet train --resume {}", root.display()));
    }
    output::print(&(facts.to_string() + &table(&epochs, config.train.epochs)))
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
