//! Quality against time: `unet train` as it plans, on the real slices, for several budgets, seeds and splits. Takes the arguments; prints a
//! table of means over seeds with their spread, and writes every run as JSON with a plot beside it. Runs that the file has already are not
//! made again, so that those of an hour can be collected over days: where the plan or the kernels have changed, start a new file.

use super::cases::choose;
use super::machine::Machine;
use super::{Args, recipe_plot};
use crate::{process, workspace};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Runs of more than a minute take hours with all their seeds and splits: they have to be named.
const UNASKED: &str = "auto/10s,auto/1m";
/// The value of membranes in the masks.
const MEMBRANE: &str = "0";

/// What is trained, for how long, on which split.
#[derive(Debug, Clone)]
struct Case {
    recipe: &'static str,
    budget: Option<&'static str>,
    val: &'static str,
}

/// One run and its scores on the slices that were held out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Run {
    /// `auto/1m`, or `tutorial`.
    pub case: String,
    /// Slices that were held out.
    pub val: String,
    pub seed: u16,
    /// Seconds from the program's start to its end.
    pub seconds: f64,
    pub steps: u64,
    pub width: u64,
    /// Of one view, and of the views that the plan has chosen.
    pub single: Scores,
    pub views: Scores,
    /// Of cells that grow along the ridges between them, at the best of the tenths as `views` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown: Option<CellScores>,
    /// Of the mask that has a line between those cells, thinned and flooded as any, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parted: Option<CellScores>,
    /// Of the cells as objects, parted as was best on the images trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells: Option<CellScores>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Scores {
    pub pixel_error: f64,
    pub membrane_dice: f64,
    pub v_rand: f64,
    pub v_info: f64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct CellScores {
    pub v_rand: f64,
    pub v_info: f64,
}

/// The scores of cells that were made in one way, where a run has them.
type Way = fn(&Run) -> Option<CellScores>;

/// What is kept.
#[derive(Debug, Serialize, Deserialize)]
pub struct Runs {
    pub machine: Machine,
    pub runs: Vec<Run>,
}

impl Case {
    fn all() -> Vec<Self> {
        let budgets = ["10s", "1m", "10m", "1h"].map(|b| ("auto", Some(b)));
        let kinds = budgets.into_iter().chain([("tutorial", None)]);
        kinds.flat_map(|(recipe, budget)| ["24..30", "0..6"].map(|val| Self { recipe, budget, val })).collect()
    }

    fn kind(&self) -> String {
        self.budget.map_or_else(|| self.recipe.to_owned(), |b| format!("{}/{b}", self.recipe))
    }

    fn name(&self) -> String {
        format!("{}/{}", self.kind(), self.val)
    }
}

/// Trains and scores.
pub fn run(args: &Args) -> Result<()> {
    let patterns = args.cases.as_deref().unwrap_or(UNASKED);
    let cases = choose("case", Case::all(), Case::name, Some(patterns))?;
    let root = workspace::root()?;
    process::run(workspace::cargo(&root).args(["build", "--release", "--locked", "--package", "unet-cli"]))?;
    let target = workspace::target_dir(&root)?;
    let program = target.join("release").join(format!("unet{}", std::env::consts::EXE_SUFFIX));
    let data = slices(&root)?;
    let place = target.join("bench-recipe");
    let mut kept = Runs { machine: Machine::look(), runs: Vec::new() };
    if let Some(file) = args.json.as_ref().filter(|f| f.exists()) {
        kept.runs = read(file, &kept.machine)?;
    }
    for case in &cases {
        for seed in 0..args.runs {
            let is_this = |r: &Run| (&r.case, r.val.as_str(), r.seed) == (&case.kind(), case.val, seed);
            if kept.runs.iter().any(is_this) {
                eprintln!("{}, seed {seed}: kept", case.name());
                continue;
            }
            eprintln!("{}, seed {seed}", case.name());
            kept.runs.push(train(&program, &data, &place, case, seed)?);
            if let Some(file) = &args.json {
                write(file, &kept)?;
            }
        }
    }
    if let Some(file) = &args.json {
        // Once more where nothing was missing: the plot may be drawn in another way by now.
        write(file, &kept)?;
    }
    println!("{}", table(&kept.runs));
    Ok(())
}

/// The folder of slices and masks.
fn slices(root: &Path) -> Result<PathBuf> {
    let base = std::env::var_os("UNET_ISBI2012").map_or_else(|| root.join("data/isbi2012"), PathBuf::from);
    let found = [base.join("train"), base.clone()].into_iter().find(|p| p.join("image").is_dir());
    match found {
        Some(folder) => Ok(folder),
        None => bail!(
            "{}: no slices here; cargo xtask fetch-data gets them, or UNET_ISBI2012 names their folder",
            base.display()
        ),
    }
}

fn train(program: &Path, data: &Path, place: &Path, case: &Case, seed: u16) -> Result<Run> {
    if place.exists() {
        std::fs::remove_dir_all(place).with_context(|| place.display().to_string())?;
    }
    let mut command = Command::new(program);
    command.arg("train").arg(data).args(["--recipe", case.recipe, "--val", case.val, "--seed", &seed.to_string()]);
    command.args(["--no-report", "--quiet", "--out"]).arg(place);
    command.args(case.budget.iter().flat_map(|b| ["--budget", b]));
    let began = Instant::now();
    process::run(&mut command)?;
    let seconds = began.elapsed().as_secs_f64();
    let evaluate = |tta: &[&str]| -> Result<Value> {
        let mut command = Command::new(program);
        command.arg("evaluate").arg(place).arg(data).args(["--on", "val", "--json"]).args(tta);
        Ok(serde_json::from_str(&process::capture(&mut command)?)?)
    };
    let score = |report: &Value| scores(report).context("the scores of unet evaluate --json");
    let metrics = std::fs::read_to_string(place.join("metrics.jsonl"))?;
    let last: Value = serde_json::from_str(metrics.lines().last().unwrap_or_default())?;
    let config = std::fs::read_to_string(place.join("config.toml"))?;
    let width = config.lines().find_map(|l| l.strip_prefix("width = ")?.parse().ok()).unwrap_or_default();
    let planned = evaluate(&[])?;
    let (single, views) = (score(&evaluate(&["--tta", "none"])?)?, score(&planned)?);
    let isbi = |key: &str| {
        cell_scores(&planned["isbi"][key]).with_context(|| format!("isbi.{key} in what unet evaluate --json says"))
    };
    let (grown, parted) = (Some(isbi("grown")?), Some(isbi("parted")?));
    let mut tune = Command::new(program);
    tune.arg("tune").arg(place).arg(data).args(["--score", "objects_v_info", "--on", "train", "--json"]);
    process::capture(&mut tune)?;
    let cells = Some(cell_scores(&evaluate(&[])?["objects"]).context("objects in what unet evaluate --json says")?);
    let steps = last["step"].as_u64().unwrap_or_default();
    let (case, val) = (case.kind(), case.val.to_owned());
    Ok(Run { case, val, seed, seconds, steps, width, single, views, grown, parted, cells })
}

fn cell_scores(section: &Value) -> Option<CellScores> {
    Some(CellScores { v_rand: section["v_rand"].as_f64()?, v_info: section["v_info"].as_f64()? })
}

fn scores(report: &Value) -> Option<Scores> {
    let membrane = report["per_class"].as_array()?.iter().find(|c| {
        let value = &c["value"];
        value.as_str().map_or_else(|| value.to_string(), str::to_owned) == MEMBRANE
    })?;
    Some(Scores {
        pixel_error: report["pixel_error"].as_f64()?,
        membrane_dice: membrane["dice"].as_f64()?,
        v_rand: report["isbi"]["v_rand"].as_f64()?,
        v_info: report["isbi"]["v_info"].as_f64()?,
    })
}

/// The runs that a file has already.
fn read(file: &Path, here: &Machine) -> Result<Vec<Run>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let kept: Runs =
        serde_json::from_str(&text).with_context(|| format!("{}: no runs of bench recipe", file.display()))?;
    if !kept.machine.is_like(here) {
        bail!(
            "{}: its runs were made on {}, this is {}; name another file with --json",
            file.display(),
            kept.machine.name(),
            here.name()
        );
    }
    Ok(kept.runs)
}

fn write(file: &Path, kept: &Runs) -> Result<()> {
    std::fs::write(file, serde_json::to_string_pretty(kept)? + "\n").with_context(|| file.display().to_string())?;
    let plot = file.with_extension("svg");
    std::fs::write(&plot, recipe_plot::svg(&kept.runs)).with_context(|| plot.display().to_string())
}

/// A row for each case and split: means over the seeds, least and most.
pub fn table(runs: &[Run]) -> String {
    let mut text = "| case | held out | seeds | width, steps | seconds | views | pixel error | membrane Dice | V_rand | V_info |\n\
        |---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for run in runs {
        let group = (run.case.as_str(), run.val.as_str());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for (case, val) in groups {
        let own: Vec<&Run> = runs.iter().filter(|r| r.case == case && r.val == val).collect();
        let of = |f: &dyn Fn(&Run) -> f64| own.iter().map(|r| f(r)).collect::<Vec<f64>>();
        let steps = spread(&of(&|r| r.steps as f64), 0);
        let seconds = spread(&of(&|r| r.seconds), 1);
        for (views, side) in [("one", (|r| r.single) as fn(&Run) -> Scores), ("planned", |r| r.views)] {
            let column = |f: fn(Scores) -> f64| spread(&of(&|r| f(side(r))), 4);
            text += &format!(
                "| {case} | {val} | {} | {}, {steps} | {seconds} | {views} | {} | {} | {} | {} |\n",
                own.len(),
                own[0].width,
                column(|s| s.pixel_error),
                column(|s| s.membrane_dice),
                column(|s| s.v_rand),
                column(|s| s.v_info)
            );
        }
        let ways: [(&str, Way); 3] = [("grown", |r| r.grown), ("parted", |r| r.parted), ("cells", |r| r.cells)];
        for (made, way) in ways {
            let cells: Vec<CellScores> = own.iter().filter_map(|r| way(r)).collect();
            if cells.len() < own.len() {
                continue;
            }
            let column = |f: fn(&CellScores) -> f64| spread(&cells.iter().map(f).collect::<Vec<f64>>(), 4);
            let (rand, info) = (column(|s| s.v_rand), column(|s| s.v_info));
            text += &format!(
                "| {case} | {val} | {} | {}, {steps} | {seconds} | {made} | – | – | {rand} | {info} |\n",
                own.len(),
                own[0].width
            );
        }
    }
    text
}

/// `mean (least–most)`, of a single run its value.
fn spread(values: &[f64], digits: usize) -> String {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    if values.len() == 1 {
        return format!("{mean:.digits$}");
    }
    let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    format!("{mean:.digits$} ({low:.digits$}–{high:.digits$})")
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn some() -> Vec<Run> {
        let run = |seed, v: f64| {
            let single = Scores { pixel_error: 0.08, membrane_dice: 0.8, v_rand: v, v_info: v };
            let (case, val) = ("auto/1m".to_owned(), "24..30".to_owned());
            let (grown, parted, cells) = (None, None, None);
            Run { case, val, seed, seconds: 60.0, steps: 500, width: 16, single, views: single, grown, parted, cells }
        };
        vec![run(0, 0.95), run(1, 0.97)]
    }

    #[test]
    fn seeds_are_averaged_with_their_spread() {
        let text = table(&some());
        assert!(text.contains("| auto/1m | 24..30 | 2 | 16, 500 (500–500) | 60.0 (60.0–60.0) | one |"), "{text}");
        assert!(text.contains("0.9600 (0.9500–0.9700)") && !text.contains("cells"), "{text}");
        let cells = |v_rand| Some(CellScores { v_rand, v_info: 0.5 });
        let masks: Vec<Run> = some().into_iter().map(|run| Run { parted: cells(run.single.v_rand), ..run }).collect();
        assert!(table(&masks).contains("| parted | – | – | 0.9600 (0.9500–0.9700) | 0.5000"), "{text}");
        // Runs of one case count together wherever they stand, and cells where all have them.
        let mut runs = some();
        (runs[0].cells, runs[1].cells, runs[1].grown) = (cells(0.9), cells(0.8), cells(0.7));
        runs.insert(1, Run { case: "auto/10s".to_owned(), ..runs[0].clone() });
        let text = table(&runs);
        assert!(text.contains("| auto/10s | 24..30 | 1 | 16, 500 | 60.0 | one | 0.0800 |"), "{text}");
        assert!(text.contains("| cells | – | – | 0.8500 (0.8000–0.9000) | 0.5000 (0.5000–0.5000) |"), "{text}");
        assert_eq!((text.matches("| one |").count(), text.matches("| grown |").count()), (2, 0), "{text}");
    }

    #[test]
    fn the_scores_are_found_in_the_report() {
        let report = serde_json::json!({"pixel_error": 0.1, "per_class": [{"value": 0, "dice": 0.8}, {"value": 255, "dice": 0.9}],
            "isbi": {"v_rand": 0.9, "v_info": 0.95}});
        assert_eq!(scores(&report).map(|s| s.membrane_dice), Some(0.8));
        assert!(scores(&serde_json::json!({})).is_none());
        let section = serde_json::json!({"v_rand": 0.97, "v_info": 0.98});
        assert_eq!(cell_scores(&section).map(|s| s.v_info), Some(0.98));
    }

    #[test]
    fn the_plot_has_a_mark_for_each_run() {
        let svg = recipe_plot::svg(&some());
        assert_eq!(svg.matches("<circle").count(), 2 * 2, "{svg}");
    }
}
