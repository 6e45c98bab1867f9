//! Stopping and going on: Ctrl-C ends a run after its step with everything saved, a second one at once; `--resume` goes on to the same bytes
//! as a run that was never stopped, and a full disk costs nothing that was there.
#![cfg(unix)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::Desk;
use unet_data::{Image, Pixels};

/// Long enough to be stopped, short enough to be finished.
const EPOCHS: &str = "60";
/// Wide enough for a checkpoint to be longer than any other file of a run.
const WIDTH: &str = "8";
/// Bytes in a block of the shell's `ulimit -f`, as POSIX has it.
const BLOCK: usize = 512;

/// Steps of a large part of a second: long enough for two signals to come within one.
const LONG_STEPS: &str = "
recipe = 'quick'
[model]
width = 16
depth = 3
[data]
patch = 256
samples_per_epoch = 400
threads = 1
[train]
epochs = 1
batch_size = 4
samples = 0
threads = 1
save_seconds = 1e-9
";

/// Sends an interrupt, as Ctrl-C does.
fn interrupt(child: &Child) {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(kill.success());
}

/// Trains into `run` and sends an interrupt after the second epoch; gives the exit status and what was said.
fn interrupted(desk: &Desk) -> (Option<i32>, String) {
    let arguments = ["train", "data", "--config", "tiny.toml", "--epochs", EPOCHS, "--width", WIDTH, "--out", "run"];
    let mut child = desk.command(&arguments).stderr(Stdio::piped()).spawn().expect("it runs");
    let (mut said, mut sent) = (String::new(), false);
    let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
    for line in stderr.lines().map_while(Result::ok) {
        if line.contains(&format!("2/{EPOCHS}")) && !sent {
            sent = true;
            interrupt(&child);
        }
        said += &line;
        said.push('\n');
    }
    (child.wait().expect("it ends").code(), said)
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_bytes() {
    let desk = Desk::with_data();
    let (code, said) = interrupted(&desk);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Stopped after") && said.contains("unet train --resume run"), "{said}");
    assert!(!said.contains("error"), "{said}");
    let lines = || desk.text("run/metrics.jsonl").lines().count();
    assert!(lines() < 60, "it was not stopped");

    let ended = desk.unet(&["train", "--resume", "run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("resuming"), "{}", ended.err);
    assert_eq!(lines(), 60);
    let whole = ["train", "data", "--config", "tiny.toml", "--epochs", EPOCHS, "--width", WIDTH, "--out", "whole"];
    assert_eq!(desk.unet(&whole).code, Some(0));
    for file in ["best.safetensors", "last.safetensors"] {
        let bytes = |run: &str| std::fs::read(desk.path(run).join("checkpoints").join(file)).expect("a checkpoint");
        assert!(bytes("run") == bytes("whole"), "{file} differs");
    }
}

#[test]
fn a_second_interrupt_stops_a_run_at_once_and_what_was_saved_goes_on() {
    let desk = Desk::with_data();
    desk.write("long.toml", LONG_STEPS);
    let noise = |i: usize| (0..256 * 256).map(|p| ((p + 1) * (p / 7 + i) % 251) as u8).collect();
    let stripes = |i: usize| (0..256 * 256).map(|p| u8::from((p + i) % 64 < 32)).collect();
    for (i, folder) in (0..4).flat_map(|i| [(i, "image"), (i, "label")]) {
        let values = if folder == "image" { noise(i) } else { stripes(i) };
        desk.png(&format!("large/{folder}/{i}.png"), &Image::new(256, 256, 1, Pixels::U8(values)).expect("an image"));
    }
    let train = ["train", "large", "--config", "long.toml", "--no-report", "--out", "run"];
    let mut child = desk.command(&train).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    desk.wait_for_more("run", 0, &mut child);
    // The checkpoint follows the state: from then on a step is under way.
    while !desk.path("run/checkpoints/last.safetensors").is_file() {
        assert_eq!(child.try_wait().expect("it can be asked"), None, "it ended");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    interrupt(&child);
    let told = lines.find(|line| line.contains("Ctrl-C again stops at once, without saving"));
    assert!(told.is_some(), "it was told what a second one does");
    interrupt(&child);
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest:?}");
    assert!(!rest.iter().any(|line| line.contains("Stopped after")), "{rest:?}");

    let saved = desk.saved_steps("run");
    assert!(saved > 0);
    let json: Value = serde_json::from_str(&desk.unet(&["inspect", "run", "--json"]).out).expect("JSON");
    assert_eq!((&json["finished"], &json["meta"]["step"]), (&false.into(), &saved.into()));
    let ended = desk.unet(&["train", "--resume", "run", "--no-report", "--max-time", "2s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains(&format!("resuming  after step {saved} of ")), "{}", ended.err);
    assert!(desk.saved_steps("run") > saved, "it went on");
}

#[test]
fn a_full_disk_keeps_the_previous_checkpoints_and_the_run_goes_on_later() {
    let desk = Desk::with_data();
    let (_, said) = interrupted(&desk);
    assert!(said.contains("Stopped after"), "{said}");
    let checkpoint = desk.path("run/checkpoints/last.safetensors");
    let before = std::fs::read(&checkpoint).expect("a checkpoint");
    // No file may grow beyond what the checkpoint's first half takes: a write fails in the middle, as on a full disk.
    let script = format!("ulimit -f {}; trap '' XFSZ; exec \"$0\" train --resume run", before.len() / 2 / BLOCK);
    let limited = Command::new("sh")
        .current_dir(desk.path(""))
        .args(["-c", &script, env!("CARGO_BIN_EXE_unet")])
        .output()
        .expect("sh runs");
    let error = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(1), "{error}");
    assert!(error.contains("error: ") && error.contains("safetensors"), "{error}");
    assert!(std::fs::read(&checkpoint).expect("still there") == before, "the previous checkpoint changed");
    assert!(desk.list("run/checkpoints").iter().all(|f| f.ends_with(".safetensors")), "litter was left");

    let ended = desk.unet(&["train", "--resume", "run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}

#[test]
fn a_run_that_was_killed_before_anything_was_saved_is_no_dead_end() {
    let desk = Desk::with_data();
    let train = ["train", "data", "--config", "tiny.toml", "--no-report", "--out", "run"];
    // Before its configuration was written …
    desk.write("run/.lock", "");
    desk.write("run/.config.toml.1-1.part", "half");
    let config = desk.unet(&[&train[..], &["--print-config"]].concat()).out;
    assert_eq!(desk.unet(&train).code, Some(0));
    assert!(!desk.path("run/.config.toml.1-1.part").exists());
    // … and after that.
    desk.write("killed/config.toml", config);
    desk.write("killed/events.out.tfevents.1.unet", "begun");
    desk.fails(&[&train[..5], &["--out", "killed"]].concat(), &["killed", "not empty", "--resume killed"]);
    let ended = desk.unet(&["train", "--resume", "killed", "--no-report"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(ended.err.contains("begins anew"), "{}", ended.err);
    let model = |run: &str| std::fs::read(desk.path(run).join("checkpoints/last.safetensors")).expect("a checkpoint");
    assert!(model("run") == model("killed"));
    assert_eq!(desk.list("killed").iter().filter(|f| f.contains("tfevents")).count(), 1);
}

#[test]
fn the_data_of_a_run_may_move() {
    let desk = Desk::with_data();
    let (_, said) = interrupted(&desk);
    assert!(said.contains("Stopped after"), "{said}");
    std::fs::rename(desk.path("data"), desk.path("moved")).expect("renamed");
    desk.fails(&["train", "--resume", "run"], &["data", "unet train DATA --resume RUN"]);
    let ended = desk.unet(&["train", "moved", "--resume", "run"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    desk.fails(&["train", "--resume", "nowhere"], &["nowhere", "no run to resume here"]);
}
