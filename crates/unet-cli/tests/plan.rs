//! Planned runs from the command line: what is said, what is kept, what stands.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{Desk, SIZE};
use unet_data::{Image, Pixels};

/// What keeps a planned run small.
const SMALL: [&str; 8] = ["--width", "2", "--depth", "1", "--patch", "16", "--threads", "1"];

#[test]
fn a_run_without_settings_is_planned_and_says_why() {
    let desk = Desk::with_data();
    let ended = desk.unet(&[&["train", "data", "--budget", "2s", "--out", "run", "--no-report"][..], &SMALL].concat());
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""), "{}", ended.err);
    assert!(ended.err.starts_with("Data: data\nPlan:\n  held out "), "{}", ended.err);
    let line = |what: &str| ended.err.lines().find(|l| l.starts_with(&format!("  {what} "))).unwrap();
    for (what, why) in [("patch", "as you asked"), ("loss", "of the pixels")] {
        assert!(line(what).contains(why), "{}", line(what));
    }
    // A fast machine makes all steps of use in the time.
    let steps = line("steps");
    assert!(steps.contains("as many as 2 s has room for") || steps.contains("learnt by heart"), "{steps}");
    let config = desk.text("run/config.toml");
    assert!(
        config.contains("recipe = \"auto\"") && config.contains("[why]") && config.contains("tta = \"d4\""),
        "{config}"
    );
    // All is settled in its file: nothing is planned anew, and the run is repeated to the byte.
    let again = desk.unet(&["train", "--config", "run/config.toml", "--out", "again", "--no-report"]);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(!again.err.contains("Plan:"), "{}", again.err);
    let bytes = |run: &str| std::fs::read(desk.path(run).join("checkpoints/last.safetensors")).unwrap();
    assert!(bytes("run") == bytes("again"));
    assert_eq!(desk.text("run/config.toml"), desk.text("again/config.toml"));
}

#[test]
fn a_plan_of_so_many_epochs_is_the_same_each_time() {
    let desk = Desk::with_data();
    let print = || {
        let ended = desk.unet(&[&["train", "data", "--epochs", "2", "--print-config"][..], &SMALL].concat());
        assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
        ended.out
    };
    assert_eq!(print(), print());
}

#[test]
fn a_budget_is_for_plans() {
    let desk = Desk::with_data();
    desk.fails(&["train", "data", "--recipe", "quick", "--budget", "1m"], &["--budget", "quick", "--max-time"]);
    desk.fails(&["train", "data", "--recipe", "quick", "--memory", "500"], &["--memory", "quick", "--batch-size"]);
    let both = desk.unet(&["train", "data", "--epochs", "2", "--budget", "1m"]);
    assert_eq!(both.code, Some(2), "{}", both.err);
    assert!(!desk.path("runs").exists());
}

#[test]
fn inspect_shows_the_plan_and_takes_it_apart_for_programs() {
    let desk = Desk::with_data();
    let ended = desk.unet(&["inspect", "data", "--budget", "5s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.out.contains("\nPlan:\n") && ended.out.contains("as many as 5 s has room for"), "{}", ended.out);
    let ended = desk.unet(&["inspect", "data", "--json", "--val", "3..4"]);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    let plan = json["plan"].as_array().unwrap();
    let held = plan.iter().find(|c| c["what"] == "held out").unwrap();
    assert_eq!((held["value"].as_str(), held["why"].as_str()), (Some("3..4"), Some("as you asked")));
    let ended = desk.unet(&["inspect", "data", "--recipe", "quick", "--json"]);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["plan"].as_array().map(Vec::len), Some(0), "a fixed recipe has no plan");
}

#[test]
fn a_model_is_used_as_its_plan_says_unless_told_otherwise() {
    let desk = Desk::with_data();
    let train =
        [&["train", "data", "--epochs", "2", "--val", "3..4", "--out", "run", "--no-report"][..], &SMALL].concat();
    assert_eq!(desk.unet(&train).code, Some(0));
    let loss = |flags: &[&str]| {
        let ended = desk.unet(&[&["evaluate", "run", "data", "--on", "val", "--json"], flags].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        let json: Value = serde_json::from_str(&ended.out).unwrap();
        json["per_class"].to_string() + &json["pixel_error"].to_string() + &json["isbi"].to_string()
    };
    assert_eq!(loss(&[]), loss(&["--tta", "d4"]));
    assert_ne!(loss(&[]), loss(&["--tta", "none"]));
}

#[test]
fn objects_that_fill_the_images_are_made_so_by_the_model() {
    let desk = Desk::with_data();
    let method = |run: &str, objects: &str| {
        std::fs::write(desk.path("run.toml"), format!("[predict]\nobjects = {objects}\n")).unwrap();
        let flags = ["--config", "run.toml", "--epochs", "2", "--val", "3..4", "--out", run, "--no-report"];
        let trained = desk.unet(&[&["train", "data"], &flags[..], &SMALL].concat());
        assert_eq!(trained.code, Some(0), "{}", trained.err);
        let ended = desk.unet(&["evaluate", run, "data", "--on", "val", "--json"]);
        let json: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(json["threshold"], json["objects"]["method"]["threshold"], "at the threshold of the pixels");
        ["seed_share", "smoothing", "of_class"].map(|key| json["objects"]["method"][key].as_f64().unwrap())
    };
    assert_eq!(method("packed", "{ kind = 'packed', class = 0 }"), [0.5, 0.0, 0.0]);
    assert_eq!(method("scattered", "{ kind = 'scattered' }"), [0.0, 1.0, 1.0]);
    std::fs::write(desk.path("run.toml"), "[predict]\nobjects = { kind = 'packed', class = 2 }\n").unwrap();
    desk.fails(
        &["train", "data", "--config", "run.toml", "--epochs", "2"],
        &["predict.objects", "class 2", "class 0 or 1"],
    );
}

/// Guards against findings made with a split that no run would use.
#[test]
fn what_is_found_is_found_with_the_split_that_training_would_use() {
    let desk = Desk::new();
    // Ten single images, each there twice: whatever is held out has its twin among those trained on, or beside it.
    for i in 0..10u32 {
        let noise = |p: u32| (p.wrapping_add(i % 5 * 7919).wrapping_mul(2_654_435_761) >> 13) as u8;
        let blocks = |p: u32| noise((p / SIZE.0 as u32 / 5) * 100 + p % SIZE.0 as u32 / 5);
        let pixels = 0..(SIZE.0 * SIZE.1) as u32;
        let mask = pixels.clone().map(|p| if p % 45 < 20 { 255 } else { 0 }).collect();
        for (folder, values) in [("image", pixels.map(blocks).collect()), ("label", mask)] {
            let image = Image::new(SIZE.0, SIZE.1, 1, Pixels::U8(values)).unwrap();
            desk.png(&format!("data/{folder}/{i}.png"), &image);
        }
    }
    let inspect = |flags: &[&str]| -> Value {
        let ended = desk.unet(&[&["inspect", "data", "--json"], flags].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        serde_json::from_str(&ended.out).unwrap()
    };
    let of = |json: &Value| (json["findings"].to_string(), json["train"].clone(), json["val"].clone());
    let plain = inspect(&[]);
    let held_out = plain["plan"].as_array().unwrap().iter().find(|c| c["what"] == "held out").unwrap();
    let planned = held_out["value"].as_str().unwrap();
    assert!(planned.starts_with("random:"), "{planned}");
    assert!(plain["findings"].to_string().contains("nearly the same"), "{plain}");
    assert_eq!(of(&plain), of(&inspect(&["--val", planned])));
    assert_ne!(of(&plain).0, of(&inspect(&["--val", "20%"])).0);
}
