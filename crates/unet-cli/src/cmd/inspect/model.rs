//! `unet inspect MODEL`: the network, how it is fed, and what it was trained to tell apart.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use unet_data::Normalization;
use unet_train::Checkpoint;

use crate::output::{self, Facts};
use crate::progress::{network, text};

/// Opens it and prints what it says of itself.
pub fn report(path: &Path, as_json: bool) -> Result<()> {
    let checkpoint = Checkpoint::load(path)?;
    if !as_json {
        let mut facts = Facts::default();
        facts.add("model", path.display().to_string());
        add_facts(&checkpoint, &mut facts);
        return output::print(&facts.to_string());
    }
    output::print_json(&json!({
        "kind": "model",
        "path": path.display().to_string(),
        "architecture": checkpoint.model.config(),
        "parameters": checkpoint.model.params().trained_len(),
        "meta": checkpoint.meta,
    }))
}

/// Adds what a checkpoint says of itself.
pub fn add_facts(checkpoint: &Checkpoint, facts: &mut Facts) {
    let Checkpoint { model, meta } = checkpoint;
    facts.add("network", format!("{}, {} weights", network(model.config()), text::large(model.params().trained_len())));
    facts.add("input", normalization(&meta.normalization));
    let values: Vec<_> = meta.classes.classes().iter().map(|c| c.name.as_str()).collect();
    let (layered, values) = (meta.classes.is_layered(), values.join(", "));
    let two = meta.classes.len() == 2;
    let threshold = if layered || two { format!(", threshold {}", meta.threshold) } else { String::new() };
    let kind = if layered { "classes that may overlap:" } else { "values" };
    facts.add("masks", format!("{kind} {values}{threshold}"));
    if meta.step > 0 {
        facts.add("trained", format!("{}, {}", text::count(meta.epoch, "epoch"), text::count(meta.step, "step")));
    }
    if let Some(best) = &meta.best {
        let metric = best.metric.replace('_', " ");
        facts.add("best", format!("epoch {}, {metric} {}", best.epoch, text::number(best.value)));
    }
}

fn normalization(n: &Normalization) -> String {
    match n {
        Normalization::Raw => "values as stored".to_owned(),
        Normalization::Unit => "values from 0 to 1".to_owned(),
        Normalization::Range { low, high } => format!("0 to 1 from {low:?} to {high:?}"),
        Normalization::MeanStd { mean, std } => format!("(values - {mean:?}) / {std:?}"),
    }
}
