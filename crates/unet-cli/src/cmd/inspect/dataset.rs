//! `unet inspect DATA`: the images and masks that were found, and what `unet train` would make of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde_json::json;
use unet_data::Dataset;
use unet_kernels::Dims;
use unet_model::backend::cpu::{parameter_bytes, training_bytes};
use unet_train::RunConfig;
use unet_train::recipe::DEFAULT_RECIPE;

use crate::args::InspectArgs;
use crate::data;
use crate::output::{self, Facts};
use crate::progress::{network, text};
use crate::terminal::Terminal;

/// Copies of the parameters that training with AdamW and an average holds: weights, packed weights twice, gradients, two moments, average.
const PARAMETER_COPIES: usize = 7;

/// What was found.
struct Found {
    /// How many images of each size.
    sizes: BTreeMap<(usize, usize), usize>,
    bit_depth: u32,
    /// Pixels of each class.
    pixels: Vec<u64>,
}

/// Opens it, looks at every image, and prints what there is.
pub fn report(path: &Path, args: &InspectArgs, terminal: &Terminal) -> Result<()> {
    let dataset = data::open(path, &args.read.options(), terminal)?;
    let found = look(dataset.as_ref())?;
    let config = RunConfig::recipe(DEFAULT_RECIPE)?;
    if args.json { print_json(dataset.as_ref(), &found) } else { print_facts(path, dataset.as_ref(), &found, &config) }
}

fn look(dataset: &dyn Dataset) -> Result<Found> {
    let mut found = Found { sizes: BTreeMap::new(), bit_depth: 0, pixels: vec![0; dataset.classes().len()] };
    for i in 0..dataset.len() {
        let sample = dataset.load(i)?;
        *found.sizes.entry((sample.image.width(), sample.image.height())).or_default() += 1;
        found.bit_depth = found.bit_depth.max(sample.image.bit_depth());
        for &label in sample.mask.iter().flat_map(|m| &m.labels) {
            if let Some(n) = found.pixels.get_mut(usize::from(label)) {
                *n += 1; // ignored pixels have a label that is no class
            }
        }
    }
    Ok(found)
}

fn shares(found: &Found) -> Vec<f64> {
    let total = found.pixels.iter().sum::<u64>().max(1) as f64;
    found.pixels.iter().map(|&n| n as f64 / total).collect()
}

fn print_json(dataset: &dyn Dataset, found: &Found) -> Result<()> {
    let sizes: Vec<_> = found.sizes.iter().map(|(&(w, h), &n)| json!({"width": w, "height": h, "images": n})).collect();
    let classes: Vec<_> = dataset.classes().classes().iter().zip(shares(found)).collect();
    let classes: Vec<_> =
        classes.iter().map(|(c, share)| json!({"value": c.value, "name": c.name, "share": share})).collect();
    output::print_json(&json!({
        "kind": "data",
        "name": dataset.name(),
        "images": dataset.len(),
        "stack": dataset.is_stack(),
        "channels": dataset.channels(),
        "bit_depth": found.bit_depth,
        "sizes": sizes,
        "classes": classes,
        "notes": dataset.notes(),
    }))
}

fn print_facts(path: &Path, dataset: &dyn Dataset, found: &Found, config: &RunConfig) -> Result<()> {
    let mut facts = Facts::default();
    let kind = if dataset.is_stack() { "slices of one stack" } else { "images with masks" };
    facts.add("data", format!("{}: {} {kind}", dataset.name(), dataset.len()));
    let sizes: Vec<_> = found.sizes.iter().map(|((w, h), n)| format!("{w}×{h} ({n})")).collect();
    facts.add("sizes", summary(&sizes));
    facts.add("pixels", format!("{}, {} bits", text::count(dataset.channels() as u64, "channel"), found.bit_depth));
    for (class, share) in dataset.classes().classes().iter().zip(shares(found)) {
        facts.add(
            format!("class {}", class.name),
            format!("mask value {}, {:.1} % of all pixels", class.name, 100.0 * share),
        );
    }
    dataset.notes().iter().for_each(|note| facts.add("note", note));
    let logits = if dataset.classes().len() == 2 { 1 } else { dataset.classes().len() };
    let model = config.model.network(dataset.channels(), logits);
    let side = config.data.patch;
    let dims = Dims::new(config.train.batch_size, side, side, dataset.channels());
    let bytes = training_bytes(&model, dims, size_of::<f32>())? + PARAMETER_COPIES * parameter_bytes(&model);
    facts.add("network", network(&model));
    facts.add(
        "memory",
        format!("about {} MiB to train it on {} patches of {side}×{side}", bytes >> 20, config.train.batch_size),
    );
    facts.add("train it", format!("unet train {}", path.display()));
    output::print(&facts.to_string())
}

/// The first few, and how many more there are.
fn summary(sizes: &[String]) -> String {
    const NAMED: usize = 6;
    let more = if sizes.len() > NAMED { format!(" and {} more", sizes.len() - NAMED) } else { String::new() };
    sizes.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ") + &more
}
