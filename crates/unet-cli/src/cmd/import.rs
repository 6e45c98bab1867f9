//! `unet import`: weights that were trained elsewhere, with what prediction needs beside them, as a model.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use unet_data::{ClassTable, Normalization};
use unet_model::UNet;
use unet_model::import::import;
use unet_train::{Checkpoint, CheckpointMeta};

use crate::args::{ImportArgs, NormalizationArg};
use crate::output::{self, Facts};
use crate::progress::{network, text};

/// Two classes are told apart at this probability.
const THRESHOLD: f64 = 0.5;

/// Reads, describes, writes.
pub fn run(args: &ImportArgs) -> Result<ExitCode> {
    if args.out.exists() && !args.force {
        bail!("{}: exists already; pass --force to overwrite it, or choose another name", args.out.display());
    }
    let imported = import(&args.file)?;
    let (classes, origin) = classes(imported.mask_values.as_ref(), imported.config.out_channels)
        .with_context(|| args.file.display().to_string())?;
    let meta = CheckpointMeta {
        normalization: match args.normalization {
            NormalizationArg::Raw => Normalization::Raw,
            NormalizationArg::Unit => Normalization::Unit,
        },
        classes,
        threshold: THRESHOLD,
        tta: unet_train::predict::Augmentation::None,
        objects: None,
        epoch: 0,
        step: 0,
        best: None,
    };
    let model = UNet::from_parameters(imported.config, imported.params)?;
    make_parent(&args.out)?;
    Checkpoint::save(&args.out, &model, &meta)?;
    let mut facts = Facts::default();
    facts.add("model", args.out.display().to_string());
    facts.add("network", format!("{}, {} weights", network(model.config()), text::large(model.params().trained_len())));
    let values: Vec<u32> = meta.classes.classes().iter().map(|c| c.value).collect();
    facts.add("masks", format!("values {} ({origin})", text::values(&values)));
    facts.add("predict", format!("unet predict {} IMAGES -o masks", args.out.display()));
    output::print(&facts.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// The classes: the mask values that the file knows, else 0 and 255 for two and 0, 1, 2 … for more; and where they come from.
fn classes(mask_values: Option<&Value>, logits: usize) -> Result<(ClassTable, &'static str)> {
    let count = logits.max(2);
    let numbers: Option<Vec<u32>> = mask_values
        .and_then(Value::as_array)
        .and_then(|values| values.iter().map(|v| v.as_u64().and_then(|v| u32::try_from(v).ok())).collect());
    match numbers {
        Some(values) if values.len() == count => Ok((ClassTable::from_values(&values)?, "from the file")),
        Some(values) => bail!("{} mask values {values:?} do not go with {logits} logits per pixel", values.len()),
        None if count == 2 => Ok((ClassTable::from_values(&[0, 255])?, "by convention")),
        None => Ok((ClassTable::from_values(&(0..count as u32).collect::<Vec<_>>())?, "numbered")),
    }
}

fn make_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::create_dir_all(parent)
            .with_context(|| format!("{}: cannot create this folder; choose another -o", parent.display())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_come_from_the_file_or_from_convention() {
        let values = |v: Option<Value>, logits| -> Result<Vec<u32>> {
            Ok(classes(v.as_ref(), logits)?.0.classes().iter().map(|c| c.value).collect())
        };
        assert_eq!(values(None, 1).expect("two"), [0, 255]);
        assert_eq!(values(Some(json!([0, 1])), 2).expect("two"), [0, 1]);
        assert_eq!(values(None, 3).expect("three"), [0, 1, 2]);
        assert_eq!(values(Some(json!([[0, 0, 0], [255, 0, 0]])), 2).expect("colours are numbered"), [0, 255]);
        assert!(values(Some(json!([0, 1, 2])), 2).is_err());
    }
}
