//! Sets of folds: one that was stopped or killed goes on as one, to the same bytes and the same summary; what it is made of is in its file.

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use support::{Desk, Ended, TINY};

/// Long enough for a fold to be met in its middle.
const EPOCHS: &str = "60";
const TRAIN: [&str; 10] =
    ["train", "data", "--config", "tiny.toml", "--epochs", EPOCHS, "--width", "8", "--folds", "3"];

fn ok(ended: Ended) -> String {
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    ended.err
}

/// The summary, but for where the runs lie.
fn summary(desk: &Desk, set: &str) -> Value {
    let mut summary: Value = serde_json::from_str(&desk.text(&format!("{set}/folds.json"))).expect("JSON");
    summary["runs"].take();
    summary
}

fn model(desk: &Desk, run: &str) -> Vec<u8> {
    std::fs::read(desk.path(run).join("checkpoints/last.safetensors")).expect("a checkpoint")
}

fn assert_alike(desk: &Desk, set: &str, other: &str) {
    for fold in ["fold1", "fold2", "fold3"] {
        assert!(model(desk, &format!("{set}/{fold}")) == model(desk, &format!("{other}/{fold}")), "{fold} differs");
    }
    assert_eq!(summary(desk, set), summary(desk, other));
}

/// Begins a set in `k`, and lets `end` end it in the second epoch of the second fold; gives what was said.
fn ended_in_the_second_fold(desk: &Desk, end: impl Fn(&mut std::process::Child)) -> String {
    let arguments = [&TRAIN[..], &["--no-report", "--out", "k"]].concat();
    let mut child = desk.command(&arguments).stderr(Stdio::piped()).spawn().expect("it runs");
    let (mut said, mut ended) = (String::new(), false);
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    for line in stderr.lines().map_while(Result::ok) {
        said += &(line + "\n");
        if !ended && said.split("Fold 2 of 3").nth(1).is_some_and(|fold| fold.contains(&format!("2/{EPOCHS}"))) {
            ended = true;
            end(&mut child);
        }
    }
    assert!(!child.wait().expect("it ends").success(), "{said}");
    assert!(
        !desk.path("k/fold3").exists() && !desk.path("k/folds.json").exists(),
        "it was not stopped in the second fold"
    );
    said
}

#[test]
fn a_killed_set_keeps_what_is_finished_and_goes_on_to_the_same_summary() {
    let desk = Desk::with_data();
    ok(desk.unet(&[&TRAIN[..], &["--no-report", "--out", "whole"]].concat()));
    ended_in_the_second_fold(&desk, |child| child.kill().expect("it was there"));
    let first = desk.text("k/fold1/metrics.jsonl");
    let said = ok(desk.unet(&["train", "--resume", "k", "--no-report"]));
    assert!(said.contains("Kept: k/fold1") || said.contains("Kept: k\\fold1"), "{said}");
    assert!(said.contains("resuming") && said.contains("over 3 folds"), "{said}");
    assert_eq!(desk.text("k/fold1/metrics.jsonl"), first, "trained once, as its seconds say");
    assert_alike(&desk, "k", "whole");

    // Killed between two folds; and where nothing is left to do, that is no failure.
    std::fs::remove_dir_all(desk.path("k/fold3")).expect("removed");
    std::fs::remove_file(desk.path("k/folds.json")).expect("removed");
    for kept in [2, 3] {
        let said = ok(desk.unet(&["train", "--resume", "k", "--no-report"]));
        assert_eq!(said.matches("Kept: ").count(), kept, "{said}");
        assert_alike(&desk, "k", "whole");
    }
    // The reports that were not come to are made up for.
    ok(desk.unet(&["train", "--resume", "k"]));
    assert!(desk.path("k/fold1/report.html").is_file() && desk.path("k/fold3/report.html").is_file());
}

#[cfg(unix)]
#[test]
fn an_interrupted_set_says_how_all_of_it_goes_on() {
    let desk = Desk::with_data();
    let said = ended_in_the_second_fold(&desk, |child| {
        let id = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    });
    assert!(said.contains("Stopped after") && said.contains("unet train --resume k\n"), "{said}");
    desk.fails(&[&TRAIN[..], &["--out", "k"]].concat(), &["k: is not empty", "--resume k"]);
    // Its data may have moved, and what is typed holds for every fold.
    std::fs::rename(desk.path("data"), desk.path("moved")).expect("renamed");
    desk.fails(&["train", "--resume", "k"], &["data", "unet train DATA --resume RUN"]);
    ok(desk.unet(&["train", "moved", "--resume", "k", "--threads", "2", "--no-report"]));
    assert!(desk.text("k/fold3/config.toml").contains("path = \"moved\""));
    assert!(desk.path("k/folds.json").is_file());
}

#[test]
fn folds_are_settings_as_any_other() {
    let desk = Desk::with_data();
    desk.write("folds.toml", TINY.replace("[data]", "[data]\nfolds = 3"));
    let train = ["train", "data", "--config", "folds.toml", "--no-report"];
    ok(desk.unet(&[&train[..], &["--out", "k"]].concat()));
    let file = desk.text("k/folds.toml");
    assert!(file.contains("folds = 3"), "{file}");
    assert_eq!(desk.unet(&[&train[..4], &["--print-config"]].concat()).out, file);
    ok(desk.unet(&["train", "--config", "k/folds.toml", "--no-report", "--out", "again"]));
    assert_alike(&desk, "k", "again");
    // One alone, by a flag or by the file; what is typed takes the place of what the file says.
    ok(desk.unet(&[&train[..], &["--fold", "2", "--out", "one"]].concat()));
    assert!(desk.list("one") == ["fold2"] && model(&desk, "one/fold2") == model(&desk, "k/fold2"));
    desk.write("folds.toml", TINY.replace("[data]", "[data]\nfolds = 3\nfold = 2"));
    ok(desk.unet(&[&train[..], &["--out", "two"]].concat()));
    assert!(desk.list("two") == ["fold2"] && model(&desk, "two/fold2") == model(&desk, "k/fold2"));
    let printed = |flags: &[&str]| desk.unet(&[&train[..4], &["--print-config"], flags].concat()).out;
    assert!(!printed(&["--val", "3..4"]).contains("fold"));
    let other = printed(&["--folds", "4"]);
    assert!(other.contains("folds = 4") && !other.contains("fold = 2"), "{other}");
    // A run of the set is a run by itself.
    ok(desk.unet(&["train", "--config", "k/fold3/config.toml", "--no-report", "--out", "third"]));
    assert!(model(&desk, "third") == model(&desk, "k/fold3"));
}

#[test]
fn folds_that_there_cannot_be_leave_no_folder() {
    let desk = Desk::with_data();
    let train = ["train", "data", "--config", "tiny.toml", "--out", "k"];
    desk.fails(&[&train[..], &["--folds", "3", "--select", "val_dice_9"]].concat(), &["val_dice_9"]);
    desk.fails(&[&train[..], &["--fold", "1"]].concat(), &["data.fold = 1", "data.folds"]);
    desk.fails(&[&train[..], &["--folds", "3", "--fold", "4"]].concat(), &["data.fold = 4", "1 to 3"]);
    assert!(!desk.path("k").exists());
    assert_eq!(desk.unet(&["train", "data", "--fold", "1"]).code, Some(2), "of how many?");
}
