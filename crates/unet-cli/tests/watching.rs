//! What programs and people get to see of a run: events as JSON lines, silence, folds and their summary, another tier than before.

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::{Desk, Ended, IMAGES};

const TRAIN: [&str; 7] = ["train", "data", "--config", "tiny.toml", "--val", "3..4", "--no-report"];

/// Every line of stderr as a JSON document.
fn events(ended: &Ended) -> Vec<Value> {
    ended.err.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|e| e["event"].as_str().expect("each has its kind")).collect()
}

#[test]
fn json_lines_tell_the_whole_run_and_nothing_else() {
    let desk = Desk::with_data();
    let ended = desk.unet(&[&TRAIN[..], &["--log-format", "json", "--out", "run"]].concat());
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
    let events = events(&ended);
    let better = ["step", "step", "epoch", "best", "checkpoint", "checkpoint"];
    // A second epoch that is no better writes no best checkpoint.
    let no_better = ["step", "step", "epoch", "checkpoint"];
    let run = |second: &[&'static str]| [&["start"][..], &better, second, &["end"]].concat();
    let found: Vec<&str> = kinds(&events);
    assert!(found == run(&better) || found == run(&no_better), "{found:?}");
    assert_eq!((&events[4]["best"]["metric"], &events[4]["best"]["epoch"]), (&"val_loss".into(), &1.into()));
    assert_eq!(events[0]["config"]["model"]["width"], 2);
    assert_eq!((&events[1]["step"], &events[2]["step"]), (&1.into(), &2.into()));
    assert!(events[1]["loss"].as_f64().is_some_and(f64::is_finite) && events[1]["lr"].is_number());
    let record: Value =
        serde_json::from_str(desk.text("run/metrics.jsonl").lines().next().expect("a line")).expect("JSON");
    assert_eq!(events[3]["record"], record, "the records of metrics.jsonl");
    let last = events.last().expect("an end");
    assert_eq!((last["ended"].as_str(), last["step"].as_u64()), (Some("epochs"), Some(4)));

    let failed = desk.unet(&["train", "nowhere", "--log-format", "json"]);
    let event: Value = serde_json::from_str(failed.err.trim()).expect("one document");
    assert_eq!((failed.code, event["event"].as_str()), (Some(1), Some("error")));
    assert!(event["message"].as_str().is_some_and(|m| m.contains("nowhere")), "{event}");
}

#[test]
fn a_quiet_run_says_nothing_but_its_errors() {
    let desk = Desk::with_data();
    let ended = desk.unet(&[&TRAIN[..], &["--quiet", "--out", "run"]].concat());
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "", ""));
    assert!(desk.path("run/checkpoints/best.safetensors").is_file());
    desk.fails(&["train", "nowhere", "--quiet"], &["nowhere"]);
    let both = desk.unet(&[&TRAIN[..], &["--quiet", "--log-format", "json"]].concat());
    assert_eq!(both.code, Some(2));
}

/// The images that a run held out, by the overlays that it wrote of them.
fn held_out(desk: &Desk, run: &str) -> BTreeSet<String> {
    let names = desk.list(&format!("{run}/samples")).into_iter();
    names.filter_map(|n| n.split_once("_epoch").map(|(id, _)| id.to_owned())).collect()
}

#[test]
fn folds_hold_out_each_image_once_and_are_summarised() {
    let desk = Desk::with_data();
    let train = ["train", "data", "--config", "tiny.toml", "--select", "val_dice", "--no-report", "--folds", "4"];
    let ended = desk.unet(&[&train[..], &["--out", "k"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(desk.list("k"), ["fold1", "fold2", "fold3", "fold4", "folds.json", "folds.toml"]);
    let mut all = BTreeSet::new();
    for fold in 1..=4 {
        let held_out = held_out(&desk, &format!("k/fold{fold}"));
        assert_eq!(held_out.len(), 1, "fold {fold}: {held_out:?}");
        all.extend(held_out);
    }
    assert_eq!(all.len(), IMAGES, "{all:?}");
    let report: Value = serde_json::from_str(&desk.unet(&["inspect", "k", "--json"]).out).expect("JSON");
    assert_eq!((&report["kind"], &report["folds"]), (&"folds".into(), &4.into()));
    let runs =
        report["runs"].as_array().expect("runs").iter().map(|run| (run["path"].clone(), run["finished"].clone()));
    assert_eq!(
        runs.collect::<Vec<_>>(),
        (1..=4).map(|fold| (format!("k/fold{fold}").into(), true.into())).collect::<Vec<_>>()
    );
    let lines = desk.unet(&["inspect", "k"]).out;
    assert!(lines.starts_with("folds") && lines.contains("4 of 4 begun") && !lines.contains("go on"), "{lines}");
    assert!((1..=4).all(|fold| lines.contains(&format!("k/fold{fold}/checkpoints/best.safetensors"))), "{lines}");
    // Mean and sample deviation of the best values, worked out anew from the runs' own records.
    let best = |fold: usize, score: &str| {
        let records = desk.text(&format!("k/fold{fold}/metrics.jsonl"));
        let records: Vec<Value> = records.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
        let best = records.iter().rfind(|r| r["best"] == true).expect("a best epoch");
        best["val"][score].as_f64().expect("a score")
    };
    let summary: Value = serde_json::from_str(&desk.text("k/folds.json")).expect("JSON");
    for (score, found) in [("mean_dice", &summary), ("loss", &summary["scores"]["loss"])] {
        let values: Vec<f64> = (1..=4).map(|fold| best(fold, score)).collect();
        let mean = values.iter().sum::<f64>() / 4.0;
        let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 3.0).sqrt();
        let close = |key: &str, expected: f64| (found[key].as_f64().expect("a number") - expected).abs() < 1e-12;
        assert!(close("mean", mean) && close("sd", sd), "{score}: {mean} ± {sd} in {summary}");
        assert_eq!(found["values"].as_array().map(Vec::len), Some(4));
    }
    assert_eq!(summary["metric"], "val_dice");
    assert!(ended.err.contains(" ± ") && ended.err.contains("over 4 folds"), "{}", ended.err);

    // One fold alone is that fold of all.
    let ended = desk.unet(&[&train[..], &["--fold", "3", "--out", "one"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(desk.list("one"), ["fold3"]);
    let bytes = |run: &str| std::fs::read(desk.path(run).join("checkpoints/last.safetensors")).expect("a checkpoint");
    assert!(bytes("one/fold3") == bytes("k/fold3"));
    desk.fails(&[&train[..], &["--fold", "5", "--out", "five"]].concat(), &["data.fold = 5", "4 folds"]);
}

/// The tier that this machine uses of itself.
fn own_tier(desk: &Desk) -> String {
    let json: Value = serde_json::from_str(&desk.unet(&["inspect", "--cpu", "--json"]).out).expect("JSON");
    json["used"].as_str().expect("a tier").to_owned()
}

#[test]
fn a_run_goes_on_on_another_tier_with_a_word_of_warning_or_not_at_all() {
    let desk = Desk::with_data();
    let own = own_tier(&desk);
    if own == "portable" {
        println!("skipped: this processor has no other tier than portable");
        return;
    }
    let train =
        [&TRAIN[..], &["--epochs", "40", "--max-time", "0.001s", "--tier", "portable", "--out", "run"]].concat();
    let ended = desk.unet(&train);
    assert_eq!(ended.code, Some(0), "time is up: {}", ended.err);
    assert!(ended.err.contains("The time is up"), "{}", ended.err);
    let words = ["portable", own.as_str(), "not bit-identical"];
    desk.fails(&["train", "--resume", "run", "--exact", "--tier", &own], &words);
    // The tier that was asked for is a setting of the run.
    assert!(desk.text("run/config.toml").contains("tier = \"portable\""));
    let same = desk.unet(&["train", "--resume", "run", "--exact", "--max-time", "0.001s"]);
    assert_eq!(same.code, Some(0), "{}", same.err);
    let ended = desk.unet(&["train", "--resume", "run", "--no-report", "--tier", &own]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(words.iter().all(|w| ended.err.contains(w)) && ended.err.contains("continues"), "{}", ended.err);
}

#[test]
fn a_printed_configuration_repeats_the_run_to_the_same_bytes() {
    let desk = Desk::with_data();
    let flags =
        ["--optimizer", "muon", "--loss", "dice_ce", "--schedule", "poly", "--warmup", "1", "--accumulate", "2"];
    let more =
        ["--patience", "3", "--seed", "7", "--val", "fold:1/4", "--normalization", "unit", "--select", "val_iou"];
    let train = [&["train", "data", "--config", "tiny.toml", "--tier", "portable"][..], &flags, &more].concat();
    assert_eq!(desk.unet(&[&train[..], &["--out", "typed"]].concat()).code, Some(0));
    let printed = desk.unet(&[&train[..], &["--print-config"]].concat());
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    desk.write("printed.toml", &printed.out);
    let ended = desk.unet(&["train", "--config", "printed.toml", "--out", "printed"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for file in ["best.safetensors", "last.safetensors"] {
        let bytes = |run: &str| std::fs::read(desk.path(run).join("checkpoints").join(file)).expect("a checkpoint");
        assert!(bytes("typed") == bytes("printed"), "{file} differs");
    }
    assert_eq!(desk.text("typed/config.toml"), desk.text("printed/config.toml"));
}
