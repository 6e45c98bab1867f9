//! The pages and the plot that are made of `docs/performance/*.json`, a file for each machine: the goals beside what was measured in README.md,
//! every row in docs/performance.md, docs/performance/step.svg. Takes the workspace; yields their texts, writes them, or says which are stale.

use super::plot;
use super::report::{Report, table};
use super::row::{Row, best};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Where the machines' files lie.
const FOLDER: &str = "docs/performance";
const README: &str = "README.md";
const PAGE: &str = "docs/performance.md";
const PLOT: &str = "docs/performance/step.svg";
/// Around what is made; all else in the pages is written by hand.
const BEGIN: &str = "<!-- made by `cargo xtask bench-report`, do not edit -->";
const END: &str = "<!-- end of what is made -->";

/// What a tier is to reach: our time at most so much of the best of the peers whose setting begins so.
struct Goal {
    bench: &'static str,
    tier: &'static str,
    precision: &'static str,
    limit: f64,
    peers: &'static [&'static str],
    words: &'static str,
}

const fn goal(
    bench: &'static str,
    (tier, precision): (&'static str, &'static str),
    limit: f64,
    peers: &'static [&'static str],
    words: &'static str,
) -> Goal {
    Goal { bench, tier, precision, limit, peers, words }
}

const TORCH: &[&str] = &["torch"];
const RUNTIMES: &[&str] = &["onnxruntime", "openvino"];
const GOALS: [Goal; 9] = [
    goal("step", ("amx", "bf16"), 0.4, TORCH, "training step, PyTorch's best"),
    goal("step", ("avx512", "f32"), 0.3, TORCH, "training step, PyTorch's best"),
    goal("step", ("avx512", "bf16"), f64::INFINITY, TORCH, "training step, PyTorch's best"),
    goal("step", ("avx2", "f32"), 0.25, TORCH, "training step, PyTorch's best"),
    goal("infer", ("amx", "bf16"), 0.4, TORCH, "inference, PyTorch's best"),
    goal("infer", ("amx", "bf16"), 1.0, &["openvino"], "inference, OpenVINO"),
    goal("infer", ("avx512", "f32"), 0.6, RUNTIMES, "inference, the better of ONNX Runtime and OpenVINO"),
    goal("infer", ("avx2", "f32"), 0.45, RUNTIMES, "inference, the better of ONNX Runtime and OpenVINO"),
    goal("infer", ("avx2", "f32"), f64::INFINITY, TORCH, "inference, PyTorch's best"),
];

/// The columns: images and network.
const SHAPES: [(&str, &str); 6] = [
    ("512x512x1/tutorial", "512² ×1"),
    ("512x512x1/milesial", "the same, 31 M"),
    ("256x256x8/tutorial", "256² ×8"),
    ("500x333x2/tutorial", "500×333 ×2"),
    ("256x256x2/base32", "256² ×2, base 32"),
    ("256x256x2/base16", "256² ×2, base 16"),
];

/// The measurements with a peer, and what the page calls them.
const TITLES: [(&str, &str); 5] = [
    ("step", "Training step"),
    ("infer", "Inference"),
    ("data", "96 augmented patches"),
    ("predict", "A large image in tiles"),
    ("scores", "Scores of the ISBI challenge"),
];

/// Writes the pages and the plot.
pub fn write() -> Result<()> {
    let root = crate::workspace::root()?;
    for (path, text) in texts(&root)? {
        std::fs::write(root.join(&path), text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("bench-report: {}", path.display());
    }
    Ok(())
}

/// The files that are not what the machines' files give; none where there are no such files.
pub fn stale(root: &Path) -> Result<Vec<PathBuf>> {
    let same = |path: &Path, text: &str| {
        // Git may have turned the ends of lines.
        let found = std::fs::read_to_string(root.join(path)).map(|found| found.replace("\r\n", "\n"));
        found.is_ok_and(|found| found == text)
    };
    let texts = texts(root)?.into_iter().filter(|(path, text)| !same(path, text));
    Ok(texts.map(|(path, _)| path).collect())
}

fn texts(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let machines = machines(root)?;
    if machines.is_empty() {
        return Ok(Vec::new());
    }
    let read = |path: &str| std::fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
    let page = |path: &str, made: &str| -> Result<(PathBuf, String)> {
        let text = read(path)?.replace("\r\n", "\n");
        Ok((PathBuf::from(path), replace(&text, made).with_context(|| format!("{path} is not as expected"))?))
    };
    Ok(vec![
        page(README, &goals(&machines))?,
        page(PAGE, &everything(&machines))?,
        (PathBuf::from(PLOT), plot::step(&machines)),
    ])
}

/// The machines' files, in the order of their names.
fn machines(root: &Path) -> Result<Vec<Report>> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {FOLDER}"))? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.iter().map(|path| Report::read_json(path)).collect()
}

/// `text` with what is between the marks replaced.
fn replace(text: &str, made: &str) -> Result<String> {
    match (text.split_once(BEGIN), text.split_once(END)) {
        (Some((before, _)), Some((_, after))) => Ok(format!("{before}{BEGIN}\n{made}{END}{after}")),
        _ => bail!("it needs the lines `{BEGIN}` and `{END}` around what is made"),
    }
}

/// The goals, a row each and machine by machine, beside the ratios measured; what was not measured says so.
fn goals(machines: &[Report]) -> String {
    let heads: Vec<&str> = SHAPES.iter().map(|(_, head)| *head).collect();
    let mut text = format!("\n| our time by | goal | {} | memory |\n", heads.join(" | "));
    text += &format!("|---|--:|{}--:|\n", "--:|".repeat(SHAPES.len()));
    for goal in &GOALS {
        let lines: Vec<String> = machines.iter().filter_map(|machine| measured(goal, machine)).collect();
        if lines.is_empty() && goal.limit.is_finite() {
            let cells = "not measured | ".repeat(SHAPES.len() + 1);
            text += &format!(
                "| {} {}: {} | ≤ {} | {}\n",
                goal.tier,
                goal.precision,
                goal.words,
                goal.limit,
                cells.trim_end()
            );
        }
        lines.iter().for_each(|line| text += line);
    }
    let limits = "\nBelow 1 we are faster, or smaller; ✗ is a goal missed. Memory is the largest ratio of the peaks, whose goal is 1.";
    let names: Vec<String> = machines.iter().map(Report::heading).collect();
    format!("{text}{limits} Measured on: {}.\n\n", names.join("; "))
}

/// A goal on one machine; none where it did not run there. On AVX2 the peer is held to it where the machine has more.
fn measured(goal: &Goal, machine: &Report) -> Option<String> {
    let wider = machine.machine.features.iter().any(|feature| feature == "avx512f");
    let isa = (goal.tier == "avx2" && wider).then_some("avx2");
    let fits = |row: &Row| {
        row.bench == goal.bench
            && row.tier() == goal.tier
            && row.precision() == goal.precision
            && row.threads == machine.machine.cores
            && row.peer_isa.as_deref() == isa
            && goal.peers.iter().any(|peer| row.peer.starts_with(peer))
    };
    let rows = best(&machine.rows, fits);
    if rows.is_empty() {
        return None;
    }
    let cell = |ratio: Option<f64>, limit: f64| match ratio {
        Some(ratio) if limit.is_infinite() => format!("{ratio:.2}"),
        Some(ratio) if ratio > limit => format!("**{ratio:.2}** ✗"),
        Some(ratio) => format!("**{ratio:.2}**"),
        None => "not measured".to_owned(),
    };
    let of = |shape: &str| rows.iter().find(|row| row.shape() == shape).and_then(|row| row.ratio);
    let cells: Vec<String> = SHAPES.iter().map(|(shape, _)| cell(of(shape), goal.limit)).collect();
    let memory = rows.iter().filter_map(|row| Some(row.ours_peak_mb? / row.peer_peak_mb?)).reduce(f64::max);
    let limit = if goal.limit.is_finite() { format!("≤ {}", goal.limit) } else { "none".to_owned() };
    let held = if isa.is_some() { " held to AVX2" } else { "" };
    let name = format!("{} {} on {}: {}{held}", goal.tier, goal.precision, machine.machine.cpu, goal.words);
    Some(format!("| {name} | {limit} | {} | {} |\n", cells.join(" | "), cell(memory, 1.0)))
}

/// Every row and every layer of every machine.
fn everything(machines: &[Report]) -> String {
    let mut text = String::new();
    for machine in machines {
        text += &format!("\n### {}\n", machine.heading());
        for (bench, title) in TITLES {
            let mut rows: Vec<&Row> = machine.rows.iter().filter(|row| row.bench == bench).collect();
            if rows.is_empty() {
                continue;
            }
            // In the order of the columns above, whatever was measured last.
            rows.sort_by_key(|row| SHAPES.iter().position(|(shape, _)| *shape == row.shape()));
            text += &format!("\n#### {title}\n\n{}", table(&rows));
        }
        if !machine.layers.is_empty() {
            text += "\n#### Layer by layer\n\nEffective speeds, those of a direct convolution, and their share of the tier's f32 peak.\n";
            machine.layers.iter().for_each(|layers| text += &format!("\n{}", layers.markdown()));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::super::row::tests::row;
    use super::*;

    fn machine(features: &[&str]) -> Report {
        let mut rows = vec![
            row("f32/512x512x1/tutorial", "unet f32 avx2", "torch f32 contiguous", (1.0, 5.0)),
            row("f32/512x512x1/tutorial", "unet f32 avx2", "torch f32 channels_last", (1.0, 2.0)),
            row("f32/256x256x2/base16", "unet f32 avx2", "torch f32 channels_last", (1.0, 8.0)),
        ];
        (rows[1].ours_peak_mb, rows[1].peer_peak_mb) = (Some(50.0), Some(100.0));
        let mut report = report(rows);
        (report.machine.cpu, report.machine.cores) = ("A CPU".to_owned(), 2);
        report.machine.features = features.iter().map(|feature| (*feature).to_owned()).collect();
        report
    }

    #[test]
    fn goals_stand_beside_the_best_peer_and_misses_are_shown() {
        let text = goals(&[machine(&["avx2"])]);
        let line = "| avx2 f32 on A CPU: training step, PyTorch's best | ≤ 0.25 | **0.50** ✗ | not measured | not measured | not measured | not measured | **0.12** | **0.50** |";
        assert!(text.lines().any(|found| found == line), "{text}");
        assert!(text.contains("| amx bf16: training step, PyTorch's best | ≤ 0.4 | not measured |"), "{text}");
    }

    #[test]
    fn a_peer_that_is_free_to_use_more_is_no_measure_of_avx2() {
        let text = goals(&[machine(&["avx2", "avx512f"])]);
        assert!(!text.contains("0.50"), "{text}");
    }

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let text = replace(&format!("a\n{BEGIN}\nold\n{END}\nb\n"), "new\n").expect("marks");
        assert_eq!(text, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert!(replace("no marks", "new").is_err());
    }

    #[test]
    fn pages_that_are_not_what_the_files_give_are_stale() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(stale(dir.path()).expect("nothing measured"), Vec::<PathBuf>::new());
        std::fs::create_dir_all(dir.path().join(FOLDER)).expect("created");
        machine(&["avx2"]).write_json(&dir.path().join(FOLDER).join("cpu.json")).expect("written");
        for page in [README, PAGE] {
            std::fs::write(dir.path().join(page), format!("{BEGIN}\n{END}\n")).expect("written");
        }
        assert_eq!(stale(dir.path()).expect("stale"), [README, PAGE, PLOT].map(PathBuf::from));
        for (path, text) in texts(dir.path()).expect("made") {
            std::fs::write(dir.path().join(path), text.replace('\n', "\r\n")).expect("written");
        }
        assert_eq!(stale(dir.path()).expect("fresh"), Vec::<PathBuf>::new());
    }

    #[test]
    fn the_committed_pages_are_what_the_files_give() {
        let root = crate::workspace::root().expect("a workspace");
        assert_eq!(stale(&root).expect("readable"), Vec::<PathBuf>::new(), "run `cargo xtask bench-report`");
    }
}
