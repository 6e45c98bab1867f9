//! What the plan makes of unlike data: `unet train` without a setting on drawn folders of twelve kinds, each scored on pictures that it has
//! never seen, beside the best plain threshold. Takes the arguments; prints a table.

mod brush;
mod scene;
mod threshold;

use super::Args;
use super::cases::choose;
use super::machine::Machine;
use crate::{process, workspace};
use anyhow::{Context, Result};
use scene::{KINDS, Kind, Picture};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// The time of a run where none is given.
const BUDGET: &str = "20s";
/// Pictures that are scored.
const SCORED: u64 = 4;

/// How a kind went.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    /// What the plan chose, in words.
    plan: String,
    mean_iou: f64,
    dice: Vec<f64>,
    /// Mean IoU of the best threshold, of two classes.
    threshold: Option<f64>,
}

/// Trains and scores each kind that is asked for.
pub fn run(args: &Args) -> Result<()> {
    let all = KINDS.iter().collect();
    let kinds: Vec<&Kind> = choose("kind", all, |kind| kind.name.replace(' ', "-"), args.cases.as_deref())?;
    let root = workspace::root()?;
    process::run(workspace::cargo(&root).args(["build", "--release", "--locked", "--package", "unet-cli"]))?;
    let target = workspace::target_dir(&root)?;
    let program = target.join("release").join(format!("unet{}", std::env::consts::EXE_SUFFIX));
    let budget = args.budget.as_deref().unwrap_or(BUDGET);
    let mut rows = Vec::new();
    for kind in kinds {
        eprintln!("{}", kind.name);
        rows.push(measure(&program, &target.join("bench-kinds"), kind, budget)?);
        if let Some(file) = &args.json {
            let kept = serde_json::json!({"machine": Machine::look(), "budget": budget, "rows": rows});
            std::fs::write(file, serde_json::to_string_pretty(&kept)? + "\n")
                .with_context(|| file.display().to_string())?;
        }
    }
    println!("{}", table(&rows));
    Ok(())
}

fn measure(program: &Path, place: &Path, kind: &Kind, budget: &str) -> Result<Row> {
    if place.exists() {
        std::fs::remove_dir_all(place).with_context(|| place.display().to_string())?;
    }
    let (train, test, run) = (place.join("train"), place.join("test"), place.join("run"));
    for seed in 0..kind.pictures as u64 {
        write(&train, kind, seed, &(kind.draw)(seed))?;
    }
    let unseen: Vec<Picture> = (0..SCORED).map(|seed| (kind.draw)(1000 + seed)).collect();
    for (seed, picture) in unseen.iter().enumerate() {
        write(&test, kind, seed as u64, picture)?;
    }
    let mut command = Command::new(program);
    command.arg("train").arg(&train).args(["--budget", budget, "--no-report", "--quiet", "--out"]).arg(&run);
    process::run(&mut command)?;
    let mut command = Command::new(program);
    command.arg("evaluate").arg(&run).arg(&test).arg("--json");
    let report: Value = serde_json::from_str(&process::capture(&mut command)?)?;
    let config: toml::Table = std::fs::read_to_string(run.join("config.toml"))?.parse()?;
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl"))?;
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap_or_default())?;
    Ok(Row {
        kind: kind.name,
        plan: plan(&config, last["step"].as_u64().unwrap_or_default()),
        mean_iou: report["mean_iou"].as_f64().context("the scores of unet evaluate --json")?,
        dice: per_class(&report).context("the scores of unet evaluate --json")?,
        threshold: (kind.classes == 2).then(|| threshold::best(&unseen)),
    })
}

fn per_class(report: &Value) -> Option<Vec<f64>> {
    Some(report["per_class"].as_array()?.iter().map(|class| class["dice"].as_f64().unwrap_or(f64::NAN)).collect())
}

/// What was chosen, in a few words.
fn plan(config: &toml::Table, steps: u64) -> String {
    let of = |section: &str, key: &str| {
        let value = config.get(section).and_then(|s| s.get(key));
        let kind = |v: &toml::Value| v.get("kind").and_then(toml::Value::as_str).map(str::to_owned);
        value.map_or_else(String::new, |v| {
            v.as_str().map(str::to_owned).or_else(|| kind(v)).unwrap_or_else(|| v.to_string())
        })
    };
    format!(
        "width {}, {} × {}² px, {steps} steps; values {}; {}{}; cut {}; turns {}, views {}",
        of("model", "width"),
        of("train", "batch_size"),
        of("data", "patch"),
        of("data", "normalization"),
        of("loss", "kind"),
        match of("loss", "classes").as_str() {
            "" => String::new(),
            classes => format!(" of {classes}"),
        },
        of("data", "sampler"),
        of("augment", "symmetry"),
        of("predict", "tta"),
    )
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| kind | what the plan chose | mean IoU | best threshold's | Dice of each class |\n|---|---|--:|--:|---|\n"
            .to_owned();
    for Row { kind, plan, mean_iou, dice, threshold } in rows {
        let threshold = threshold.map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"));
        let dice: Vec<String> = dice.iter().map(|d| format!("{d:.3}")).collect();
        text += &format!("| {kind} | {plan} | {mean_iou:.3} | {threshold} | {} |\n", dice.join(" "));
    }
    text
}

/// Writes `image/N` and `label/N` as PGM or PPM; two classes are 0 and 255.
fn write(folder: &Path, kind: &Kind, seed: u64, picture: &Picture) -> Result<()> {
    let (w, h) = picture.size;
    let values: Vec<u8> = match picture.most {
        255 => picture.values.iter().map(|v| *v as u8).collect(),
        _ => picture.values.iter().flat_map(|v| (*v as u16).to_be_bytes()).collect(),
    };
    let step = if kind.classes == 2 { 255 } else { 1 };
    let labels = picture.labels.iter().map(|label| label * step).collect();
    let (magic, suffix) = if picture.channels == 3 { ("P6", "ppm") } else { ("P5", "pgm") };
    let files = [("image", magic, suffix, picture.most, values), ("label", "P5", "pgm", 255, labels)];
    for (part, magic, suffix, most, bytes) in files {
        let path = folder.join(part).join(format!("{seed:03}.{suffix}"));
        std::fs::create_dir_all(folder.join(part)).with_context(|| path.display().to_string())?;
        let head = format!("{magic}\n{w} {h}\n{most}\n").into_bytes();
        std::fs::write(&path, [head, bytes].concat()).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_was_chosen() {
        let config = "[model]\nwidth = 16\n[data]\npatch = 64\nsampler = {kind = \"random\"}\n[loss]\nkind = \"dice_ce\"\nclasses = [0]\n";
        let row = Row {
            kind: "k",
            plan: plan(&config.parse().expect("TOML"), 9),
            mean_iou: 0.9,
            dice: vec![0.5, 1.0],
            threshold: Some(0.25),
        };
        let text = table(&[row]);
        assert!(text.contains("width 16") && text.contains("9 steps") && text.contains("dice_ce of [0]"), "{text}");
        assert!(text.contains("cut random") && text.contains("| 0.900 | 0.250 | 0.500 1.000 |"), "{text}");
    }

    #[test]
    fn pictures_are_written_as_what_they_are() {
        let place = tempfile::tempdir().expect("a folder");
        let picture = Picture { size: (2, 1), channels: 1, most: 65535, values: vec![1.0, 258.0], labels: vec![0, 1] };
        write(place.path(), &KINDS[0], 7, &picture).expect("written");
        let read = |name: &str| std::fs::read(place.path().join(name)).expect("there");
        assert_eq!(read("image/007.pgm"), b"P5\n2 1\n65535\n\0\x01\x01\x02");
        assert_eq!(read("label/007.pgm"), b"P5\n2 1\n255\n\0\xff");
    }
}
