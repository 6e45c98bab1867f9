//! Being killed: at random moments and in the middle of writing a checkpoint, at any byte. A resumed run is the uninterrupted one: the same
//! checkpoints to the bit, the same lines and events without gap or repetition.
#![cfg(unix)]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::Desk;

/// Saved after every step, so that a kill has something to hit.
const SETTINGS: &str = "
[model]
width = 4
depth = 2
[data]
patch = 32
samples_per_epoch = 8
[train]
batch_size = 2
samples = 1
threads = 1
save_seconds = 1e-9
select = 'val_dice'
";

/// A desk with data, settings, and `whole/`, the uninterrupted run of that many epochs of 4 steps.
fn with_whole(epochs: u64) -> Desk {
    let desk = Desk::with_data();
    desk.write("kill.toml", format!("{SETTINGS}epochs = {epochs}\n"));
    let ended = desk.unet(&["train", "data", "--config", "kill.toml", "--val", "3..4", "--out", "whole"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    desk
}

/// The arguments that begin or go on with `run/`, whichever it needs.
fn arguments(desk: &Desk) -> Vec<&'static str> {
    if desk.path("run/checkpoints/last.state.safetensors").is_file() {
        return vec!["train", "--resume", "run"];
    }
    // Killed before its first state: there is nothing to go on with.
    let _ = std::fs::remove_dir_all(desk.path("run"));
    vec!["train", "data", "--config", "kill.toml", "--val", "3..4", "--out", "run"]
}

/// Lets `run/` come to its end and compares everything with `whole/`.
fn finish_and_compare(desk: &Desk) {
    let ended = desk.unet(&arguments(desk));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    for file in ["best.safetensors", "last.safetensors"] {
        let bytes = |run: &str| std::fs::read(desk.path(run).join("checkpoints").join(file)).expect("a checkpoint");
        assert!(bytes("run") == bytes("whole"), "{file} differs");
    }
    assert_eq!(records(desk, "run"), records(desk, "whole"));
    assert_eq!(events(desk, "run"), events(desk, "whole"));
    let litter = desk.list("run/checkpoints").into_iter().find(|f| f.ends_with(".part"));
    assert_eq!(litter, None);
}

/// The lines of `metrics.jsonl`, without what the clock says.
fn records(desk: &Desk, run: &str) -> Vec<Value> {
    let parse = |line: &str| {
        let mut record: Value = serde_json::from_str(line).expect("a whole line");
        let fields = record.as_object_mut().expect("an object");
        ["seconds", "images_per_second"].iter().for_each(|key| drop(fields.remove(*key)));
        record
    };
    desk.text(&format!("{run}/metrics.jsonl")).lines().map(parse).collect()
}

/// The lengths of the records in the one event file, in their order: the same steps with the same tags.
fn events(desk: &Desk, run: &str) -> Vec<u64> {
    let files: Vec<_> = desk.list(run).into_iter().filter(|f| f.contains("tfevents")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = std::fs::read(desk.path(run).join(&files[0])).expect("readable");
    let (mut at, mut lengths) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        lengths.push(length);
        at += 16 + length as usize;
    }
    assert_eq!(at, bytes.len(), "the last record is whole");
    lengths
}

/// A small generator: tests need no better one.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// Starts or resumes `run/` that often, and kills it after up to so many milliseconds each time.
fn killed_at_random(desk: &Desk, kills: u32, most_ms: u64, seed: u64) {
    let (mut draws, mut done) = (Draws(seed), 0);
    for _ in 0..kills {
        let mut child = desk.command(&arguments(desk)).stderr(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(5 + draws.below(most_ms)));
        child.kill().expect("it was there, or had ended");
        done += u32::from(child.wait().expect("it ends").success());
    }
    println!("{kills} kills, {done} of them after the end");
}

#[test]
fn a_run_killed_at_random_moments_is_the_uninterrupted_one() {
    let desk = with_whole(6);
    let seed = std::process::id().into();
    println!("seed {seed}");
    killed_at_random(&desk, 5, 150, seed);
    finish_and_compare(&desk);
}

/// The long form, by hand: `cargo test -p unet-cli --test kill -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn a_long_run_killed_twenty_times_is_the_uninterrupted_one() {
    let desk = Desk::with_data();
    let epochs = 100; // of 4 steps
    desk.write(
        "kill.toml",
        format!(
            "{}epochs = {epochs}\n",
            SETTINGS.replace("width = 4", "width = 8").replace("patch = 32", "patch = 64")
        ),
    );
    let whole = ["train", "synthetic", "--config", "kill.toml", "--val", "3..4", "--out", "whole"];
    assert_eq!(desk.unet(&whole).code, Some(0));
    let seed = std::process::id().into();
    println!("seed {seed}");
    let (mut draws, mut kills) = (Draws(seed), 0);
    while kills < 20 {
        let begin = [&whole[..7], &["run"]].concat();
        let resume = vec!["train", "--resume", "run"];
        let there = desk.path("run/checkpoints/last.state.safetensors").is_file();
        if !there {
            let _ = std::fs::remove_dir_all(desk.path("run"));
        }
        let mut child =
            desk.command(if there { &resume } else { &begin }).stderr(Stdio::null()).spawn().expect("it runs");
        std::thread::sleep(Duration::from_millis(200 + draws.below(2000)));
        child.kill().expect("killed");
        assert!(!child.wait().expect("it ends").success(), "it came to its end after {kills} kills: make it longer");
        kills += 1;
    }
    println!("{kills} kills");
    finish_and_compare(&desk);
}

#[test]
fn a_run_killed_in_the_middle_of_writing_a_file_is_the_uninterrupted_one() {
    let desk = with_whole(3);
    let state = std::fs::metadata(desk.path("whole/checkpoints/last.state.safetensors")).expect("there").len();
    let model = std::fs::metadata(desk.path("whole/checkpoints/last.safetensors")).expect("there").len();
    let mut draws = Draws(std::process::id().into());
    let mut limits = vec![1, model / 512 / 2, model / 512, state / 512 / 2, state / 512];
    limits.extend((0..3).map(|_| 1 + draws.below(state / 512)));
    for limit in limits {
        // The kernel kills whoever writes a file beyond this length: a checkpoint ends in its middle, at that very byte.
        let mut typed: Vec<&str> = vec!["-c", ""];
        let script = format!("ulimit -f {limit}; exec \"$0\" \"$@\"");
        typed[1] = &script;
        typed.push(env!("CARGO_BIN_EXE_unet"));
        typed.extend(arguments(&desk));
        let killed = Command::new("sh").current_dir(desk.path("")).args(typed).output().expect("sh runs");
        assert!(!killed.status.success(), "a limit of {limit} blocks stopped nothing");
        assert_eq!(killed.status.code(), None, "killed: {}", String::from_utf8_lossy(&killed.stderr));
    }
    finish_and_compare(&desk);
}
