//! `unet evaluate` for programs and for people, and runs that are selected by the challenge's scores.

mod support;

use serde_json::Value;
use support::{Desk, IMAGES};

/// The keys that `docs/cli.md` promises to programs, and the tables for people, which show the same numbers.
#[test]
fn scores_come_as_documented_keys_and_as_tables() {
    let desk = Desk::with_run();
    let ended = desk.unet(&["evaluate", "run", "data", "--json"]);
    let scores: Value = serde_json::from_str(&ended.out).expect("JSON");
    // A score of nothing (the precision of a class that was found nowhere) is null.
    let number = |of: &Value, key: &str| {
        let found = of.get(key).unwrap_or_else(|| panic!("no {key} in {of}"));
        assert!(found.is_number() || found.is_null(), "{key} is {found}");
        found.as_f64()
    };
    for key in ["images", "threshold", "pixel_accuracy", "pixel_error", "mean_dice", "mean_iou", "boundary_tolerance"] {
        number(&scores, key);
    }
    for class in scores["per_class"].as_array().expect("a list") {
        for key in ["value", "dice", "iou", "precision", "recall"] {
            number(class, key);
        }
    }
    let isbi = &scores["isbi"];
    for key in ["pixel_error_f", "v_rand", "v_info", "rand_error", "warping_error"] {
        number(isbi, key);
        number(&isbi["micro"], key);
    }
    for key in ["v_rand_threshold", "v_info_threshold"] {
        number(isbi, key);
    }
    let ids = scores["per_image"].as_array().expect("a list").iter().map(|image| image["id"].as_str());
    assert!(ids.eq((0..IMAGES).map(|i| ["0", "1", "2", "3"].get(i).copied())), "{}", scores["per_image"]);

    let table = desk.unet(&["evaluate", "run", "data", "--per-image"]).out;
    let row = |name: &str| -> Vec<&str> {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in\n{table}"));
        line[name.len()..].split_whitespace().collect()
    };
    let digits = |v: Option<f64>, digits: usize| v.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
    for (class, name) in [(0, "0"), (1, "255")] {
        let class = &scores["per_class"][class];
        let shown = ["dice", "iou", "precision", "recall"].map(|key| digits(number(class, key), 4));
        assert_eq!(row(name), shown, "{table}");
    }
    for (name, key, places) in [
        ("V_rand ", "v_rand", 4),
        ("V_info ", "v_info", 4),
        ("Rand error", "rand_error", 4),
        ("pixel error (1 - F)", "pixel_error_f", 4),
        ("warping error", "warping_error", 6),
    ] {
        let shown = [digits(number(isbi, key), places), digits(number(&isbi["micro"], key), places)];
        assert_eq!(row(name)[..2], shown, "{name}");
    }
    for (key, names) in
        [("grown", ["V_rand, grown", "V_info, grown"]), ("parted", ["V_rand, parted", "V_info, parted"])]
    {
        let cells = &isbi[key];
        assert_eq!(cells["curve"].as_array().map(Vec::len), Some(11), "{key}");
        for (name, score) in names.into_iter().zip(["v_rand", "v_info"]) {
            let threshold = number(cells, &format!("{score}_threshold"));
            assert_eq!(row(name), [digits(number(cells, score), 4), digits(threshold, 1)], "{name}");
        }
    }
    let objects = &scores["objects"];
    assert_eq!(row("adapted Rand error"), [digits(number(objects, "adapted_rand_error"), 4)]);
    // A line for each image comes last.
    let images: Vec<&str> = table.lines().rev().take(IMAGES).collect();
    for (image, line) in scores["per_image"].as_array().expect("a list").iter().rev().zip(images) {
        let shown: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            (Some(shown[0]), shown[1]),
            (image["id"].as_str(), digits(number(image, "pixel_accuracy"), 4).as_str())
        );
    }
}

#[test]
fn epochs_are_chosen_by_the_challenges_scores_from_the_command_line() {
    let desk = Desk::with_data();
    let train = ["train", "data", "--config", "tiny.toml", "--val", "3..4", "--select"];
    let ended = desk.unet(&[&train[..], &["val_v_rand", "--out", "run"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let records: Vec<Value> =
        desk.text("run/metrics.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let v_rand = |record: &Value| record["val"]["metrics"]["v_rand"].as_f64().expect("a number");
    let meta = unet_train::Checkpoint::load(&desk.path("run")).expect("a checkpoint").meta;
    let best = meta.best.expect("validated");
    let highest = records.iter().map(v_rand).fold(0.0, f64::max);
    assert_eq!((best.metric.as_str(), best.value), ("val_v_rand", highest));
    assert_eq!(records[best.epoch as usize - 1]["val"]["threshold"].as_f64(), Some(meta.threshold));
    desk.fails(&[&train[..], &["val_v_ramd", "--out", "x"]].concat(), &["did you mean 'val_v_rand'"]);
}
