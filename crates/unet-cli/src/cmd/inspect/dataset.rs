//! `unet inspect DATA`: the images and masks that were found, and what `unet train` would make of them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use unet_data::{Checkup, Dataset, Finding, Histogram, MaskKind, OpenOptions, Severity, Split, Survey, ValSpec, codec};
use unet_train::plan::DEFAULT_BUDGET;
use unet_train::recipe::{AUTO, DEFAULT_RECIPE};
use unet_train::{Choice, ImageFacts, Means, MemoryEstimate, Plan, RunConfig, TrainError};

use crate::args::InspectArgs;
use crate::cmd::plan;
use crate::data;
use crate::output::{self, Facts};
use crate::progress::{network, schedule_line, text};
use crate::resolve;
use crate::terminal::Terminal;

/// Pairs of pictures on a contact sheet.
const PREVIEWED: usize = 16;
/// Neighbouring bins of a histogram that are one in JSON.
const BINS_IN_ONE: usize = 16;

/// Opens it, looks at every image, and prints what there is and what will hurt.
pub fn report(path: &Path, args: &InspectArgs, terminal: &Terminal) -> Result<()> {
    let began = Instant::now();
    let mut config = config(args)?;
    let options = OpenOptions { lenient: true, ..config.data.open_options() };
    let dataset = data::open(path, &options, terminal)?;
    // The plan comes first: what is found is found with the split that training would use.
    let plan = match config.recipe == AUTO && args.config.is_none() && !dataset.classes().is_layered() {
        // An examination goes on where a plan, which reads every image, has to stop.
        true => planned(&dataset, &config, args, began)
            .inspect_err(|error| terminal.line(format!("No plan: {}", output::message(error))))
            .ok(),
        false => None,
    };
    if let Some(plan) = &plan {
        config = plan.config.clone();
    }
    let split = config.data.val.split_of(dataset.as_ref())?;
    let found = data::with_counter(terminal, ("look", "looked at"), |progress| {
        Ok(unet_data::checkup(dataset.as_ref(), &split, progress)?)
    })?;
    // What cannot be read is a finding already.
    let survey = match &plan {
        Some(plan) => Some(plan.survey.clone()),
        None => unet_data::survey(dataset.as_ref(), &split.train).ok(),
    };
    let choices = plan.map_or_else(Vec::new, |plan| plan.choices);
    if let Some(file) = &args.preview {
        let sheet = unet_data::contact_sheet(&dataset, split.train.clone(), config.loader(), PREVIEWED)?;
        codec::write_png(file, &sheet)?;
        terminal.line(format!("Preview: {}", file.display()));
    }
    match args.json {
        true => print_json(dataset.as_ref(), &split, &found, (survey.as_ref(), &choices), &config),
        false => print_facts(path, dataset.as_ref(), &split, (&found, survey.as_ref(), &choices), &config),
    }
}

/// What `unet train` would plan.
fn planned(dataset: &Arc<dyn Dataset>, config: &RunConfig, args: &InspectArgs, began: Instant) -> Result<Plan> {
    let budget = args.budget.map_or(DEFAULT_BUDGET, Duration::from_secs_f64);
    let means = Means { began, budget, memory: None };
    Ok(unet_train::plan(dataset, config.clone(), means, |mut c: RunConfig| -> Result<_, TrainError> {
        if let Some(val) = &args.val {
            c.data.val = val.clone();
        }
        Ok(c)
    })?)
}

/// What would be trained: a recipe or a file, with something held out to compare with.
fn config(args: &InspectArgs) -> Result<RunConfig> {
    let mut config = match &args.config {
        Some(file) => RunConfig::load(file, None)?,
        None => RunConfig::recipe(args.recipe.as_deref().unwrap_or(DEFAULT_RECIPE))?,
    };
    resolve::reading(&args.read, &mut config.data);
    match &args.val {
        Some(val) => config.data.val = val.clone(),
        None if config.data.val == ValSpec::None => config.data.val = ValSpec::Percent(20.0),
        None => {}
    }
    Ok(config)
}

fn print_json(
    dataset: &dyn Dataset,
    split: &Split,
    found: &Checkup,
    (survey, choices): (Option<&Survey>, &[Choice]),
    config: &RunConfig,
) -> Result<()> {
    // Where no image can be read, that is among the findings.
    let memory = memory(dataset, split, config).ok();
    let sizes: Vec<_> = found.sizes.iter().map(|(&(w, h), &n)| json!({"width": w, "height": h, "images": n})).collect();
    let depths: Vec<_> = found.depths.iter().map(|(bits, n)| json!({"bits": bits, "images": n})).collect();
    let classes: Vec<_> = dataset.classes().classes().iter().zip(found.shares()).collect();
    let classes: Vec<_> = classes
        .iter()
        .map(|(c, share)| json!({"value": c.value, "name": c.name, "colour": c.colour, "share": share}))
        .collect();
    output::print_json(&json!({
        "kind": "data",
        "name": dataset.name(),
        "images": dataset.len(),
        "stack": dataset.is_stack(),
        "channels": dataset.channels(),
        "bit_depth": found.depths.keys().max(),
        "bit_depths": depths,
        "range": [found.range.0, found.range.1],
        "histogram": histogram(&found.histogram),
        "sizes": sizes,
        "classes": classes,
        "ignored_pixels": found.ignored_pixels,
        "train": split.train.len(),
        "val": split.val.len(),
        "memory_bytes": memory.map(|m| m.total()),
        "memory_parts": memory,
        "survey": survey,
        "plan": choices,
        "findings": found.findings,
        "notes": dataset.notes(),
    }))
}

fn print_facts(
    path: &Path,
    dataset: &dyn Dataset,
    split: &Split,
    (found, survey, choices): (&Checkup, Option<&Survey>, &[Choice]),
    config: &RunConfig,
) -> Result<()> {
    let mut facts = Facts::default();
    let kind = if dataset.is_stack() { "slices of one stack" } else { "images with masks" };
    facts.add("data", format!("{}: {} {kind}", dataset.name(), dataset.len()));
    let sizes: Vec<_> = found.sizes.iter().map(|((w, h), n)| format!("{w}×{h} ({n})")).collect();
    facts.add("sizes", summary(&sizes));
    let depths: Vec<_> = found.depths.keys().map(ToString::to_string).collect();
    facts
        .add("pixels", format!("{}, {} bits", text::count(dataset.channels() as u64, "channel"), depths.join(" and ")));
    let (low, high) = found.range;
    let values =
        if low <= high { format!("{low} to {high}  {}", bars(&found.histogram.counts)) } else { "none".to_owned() };
    facts.add("values", values);
    for (class, share) in dataset.classes().classes().iter().zip(found.shares()) {
        let colour = match (dataset.classes().kind(), class.colour) {
            (MaskKind::Values | MaskKind::Layers, Some([r, g, b])) => format!(", drawn in #{r:02x}{g:02x}{b:02x}"),
            _ => String::new(), // its value is its colour
        };
        facts.add(
            format!("class {}", class.name),
            format!("mask value {}, {:.1} % of all pixels{colour}", class.name, 100.0 * share),
        );
    }
    for class in survey.iter().flat_map(|s| &s.classes) {
        if let (Some(thickness), Some(diameter), Some(brightness)) = (class.thickness, class.diameter, class.brightness)
        {
            let value = dataset.classes().kind().value(class.value);
            let parts = format!("{:.1} parts an image, half of them larger than {diameter:.0} px across", class.parts);
            facts.add(
                format!("shape of {value}"),
                format!("{thickness:.1} px thick, {parts}; brightness {brightness:+.1} σ"),
            );
        }
    }
    if let Some(value) = dataset.classes().ignore() {
        facts.add("ignored", format!("mask value {value}, {} pixels", found.ignored_pixels));
    }
    dataset.notes().iter().for_each(|note| facts.add("note", note));
    let held_out =
        format!("{} to train on, {} held out (--val {})", split.train.len(), split.val.len(), config.data.val);
    facts.add("split", held_out);
    add_plan(&mut facts, dataset, split, config)?;
    facts.add("train it", format!("unet train {}", path.display()));
    let findings: Vec<String> = found.findings.iter().map(in_words).collect();
    let findings =
        if findings.is_empty() { vec!["Nothing found that would hurt training.\n".to_owned()] } else { findings };
    let plan = if choices.is_empty() { String::new() } else { plan::lines(choices).join("\n") + "\n\n" };
    output::print(&format!("{facts}\n{plan}{}", findings.concat()))
}

/// The network that the settings make for this data, and the memory that training it takes.
fn add_plan(facts: &mut Facts, dataset: &dyn Dataset, split: &Split, config: &RunConfig) -> Result<()> {
    let classes = dataset.classes().len();
    let logits = config.loss.build_for(classes, dataset.classes().is_layered())?.logits_per_pixel(classes);
    let model = config.network(dataset.channels(), logits);
    let (w, h) = if config.data.patch > 0 { (config.data.patch, config.data.patch) } else { dataset.size(0)? };
    let bytes = memory(dataset, split, config)?.total();
    facts.add("network", network(&model));
    let memory = format!("about {} MiB to train it on {} patches of {w}×{h}", bytes >> 20, config.train.batch_size);
    facts.add("memory", memory);
    facts.add("schedule", schedule_line(config, steps_per_epoch(dataset, split, config)?));
    Ok(())
}

/// What training with these settings needs.
fn memory(dataset: &dyn Dataset, split: &Split, config: &RunConfig) -> Result<MemoryEstimate> {
    Ok(unet_train::estimate_memory(config, &ImageFacts::of(dataset, split)?)?)
}

/// Steps of an epoch: batches of what is trained on, so many of them a step.
fn steps_per_epoch(dataset: &dyn Dataset, split: &Split, config: &RunConfig) -> Result<u64> {
    let batches = config.loader().batches_per_epoch(dataset, &split.train)?;
    Ok(batches.div_ceil(config.train.accumulate.max(1)) as u64)
}

/// A finding as lines: what, where, what to do.
fn in_words(finding: &Finding) -> String {
    let mark = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let files = if finding.files.is_empty() { String::new() } else { format!("  in   {}\n", summary(&finding.files)) };
    format!("{mark}: {}\n{files}  do   {}\n", finding.what, finding.remedy)
}

/// A histogram as JSON: 256 equal bins from `low` to `high`.
fn histogram(histogram: &Histogram) -> serde_json::Value {
    let counts: Vec<u64> = histogram.counts.chunks(BINS_IN_ONE).map(|bins| bins.iter().sum()).collect();
    json!({"low": histogram.low, "high": histogram.high, "counts": counts})
}

/// A histogram in one line, from its first to its last value.
fn bars(histogram: &[u64]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const COLUMNS: usize = 32;
    let (Some(first), Some(last)) = (histogram.iter().position(|n| *n > 0), histogram.iter().rposition(|n| *n > 0))
    else {
        return String::new(); // no image could be read
    };
    let span = last - first + 1;
    let mut columns = [0u64; COLUMNS];
    for (i, n) in histogram[first..=last].iter().enumerate() {
        columns[i * COLUMNS / span] += n;
    }
    let most = columns.iter().copied().max().unwrap_or(1).max(1);
    columns.iter().map(|n| STEPS[(n * 7).div_ceil(most) as usize]).collect()
}

/// The first few, and how many more there are.
fn summary(sizes: &[String]) -> String {
    const NAMED: usize = 6;
    let more = if sizes.len() > NAMED { format!(" and {} more", sizes.len() - NAMED) } else { String::new() };
    sizes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ") + &more
}

#[cfg(test)]
mod tests {
    use unet_data::{Synthetic, SyntheticConfig};

    use super::*;

    /// Guards against steps of images that are held out, and against steps for batches that are gathered into one.
    #[test]
    fn an_epoch_has_the_steps_that_training_takes() {
        let small = SyntheticConfig { slices: 10, ..SyntheticConfig::default() };
        let data = Synthetic::new(small).expect("slices");
        let split = ValSpec::Percent(20.0).split_of(&data).expect("a split");
        let steps = |text: &str| {
            let config = RunConfig::from_toml(text, "test", Some("quick")).expect("valid");
            steps_per_epoch(&data, &split, &config).expect("steps")
        };
        assert_eq!(steps("data.samples_per_epoch = 0\ntrain.batch_size = 2"), 4, "eight of ten slices");
        assert_eq!(steps("data.samples_per_epoch = 0\ntrain.batch_size = 2\ntrain.accumulate = 3"), 2);
        assert_eq!(steps("data.samples_per_epoch = 21\ntrain.batch_size = 2\ntrain.accumulate = 4"), 3);
    }
}
