//! Being killed: at random moments and in the middle of writing a checkpoint, at any byte. A resumed run is the uninterrupted one: the same
//! checkpoints to the bit, the same lines and events without gap or repetition.
#![cfg(unix)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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

/// A desk with data, settings of so many epochs of 4 steps, and `whole/`, the uninterrupted run on `data`.
fn with_whole(settings: &str, epochs: u64, data: &'static str) -> Desk {
    let desk = Desk::with_data();
    desk.write("kill.toml", format!("{settings}epochs = {epochs}\n"));
    let ended = desk.unet(&["train", data, "--config", "kill.toml", "--val", "3..4", "--no-report", "--out", "whole"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    desk
}

/// The arguments that begin or go on with `run/`, whichever it needs: from its configuration on, a run that was killed is resumed.
fn arguments(desk: &Desk, data: &'static str) -> Vec<&'static str> {
    if desk.path("run/config.toml").is_file() {
        return vec!["train", "--resume", "run", "--no-report"];
    }
    vec!["train", data, "--config", "kill.toml", "--val", "3..4", "--no-report", "--out", "run"]
}

/// Lets `run/` come to its end, from its state where it has one, and compares everything with `whole/`.
fn finish_and_compare(desk: &Desk, data: &'static str) {
    let saved = desk.saved_steps("run");
    let ended = desk.unet(&arguments(desk, data));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(saved == 0 || ended.err.contains(&format!("resuming  after step {saved} of ")), "{}", ended.err);
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

/// Starts or resumes `run/` until it was killed at least that often before its end: in turn at any moment up to `longest` after it began, and
/// once it has got on and saved that. Of those killed at least two had been resumed in the middle and had got on from there. Where it comes to
/// its end it is compared and begun anew.
fn killed_at_random(desk: &Desk, data: &'static str, kills: u32, longest: Duration, seed: u64) {
    println!("seed {seed}, kills within {longest:?}");
    let (mut draws, mut starts, mut done, mut with_state, mut went_on) = (Draws(seed), 0, 0, 0, 0);
    while done < kills || went_on < 2 {
        starts += 1;
        assert!(starts <= 20 * kills, "{done} kills in {starts} starts, {went_on} of them of a run that went on");
        let before = desk.saved_steps("run");
        let mut child = desk.command(&arguments(desk, data)).stderr(Stdio::null()).spawn().expect("it runs");
        match starts % 2 {
            0 => desk.wait_for_more("run", before, &mut child),
            _ => std::thread::sleep(Duration::from_millis(5 + draws.below(longest.as_millis() as u64))),
        }
        std::thread::sleep(Duration::from_micros(draws.below(5000)));
        child.kill().expect("it was there, or had ended");
        if child.wait().expect("it ends").success() {
            finish_and_compare(desk, data);
            std::fs::remove_dir_all(desk.path("run")).expect("removed");
            continue;
        }
        let after = desk.saved_steps("run");
        assert!(after >= before, "step {after} after step {before}");
        done += 1;
        with_state += u32::from(after > 0);
        went_on += u32::from(before > 0 && after > before);
    }
    println!(
        "{done} kills, {with_state} of them with a step saved, {went_on} of them of a run that had gone on from a step"
    );
}

#[test]
fn a_run_killed_at_random_moments_is_the_uninterrupted_one() {
    let desk = with_whole(SETTINGS, 6, "data");
    killed_at_random(&desk, "data", 5, Duration::from_millis(150), std::process::id().into());
    finish_and_compare(&desk, "data");
}

/// The long form, by hand: `cargo test -p unet-cli --test kill -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes"]
fn a_long_run_killed_twenty_times_is_the_uninterrupted_one() {
    let settings = SETTINGS.replace("width = 4", "width = 8").replace("patch = 32", "patch = 64");
    let began = Instant::now();
    let desk = with_whole(&settings, 100, "synthetic"); // 400 steps
    // Long enough to begin and to get on, whatever else the machine does.
    let longest = began.elapsed() / 3;
    killed_at_random(&desk, "synthetic", 20, longest, std::process::id().into());
    finish_and_compare(&desk, "synthetic");
}

/// Begins `run/` and kills it in the first half of `steps`, with a step saved; gives how many are.
fn killed_in_its_first_half(desk: &Desk, data: &'static str, steps: u64) -> u64 {
    for _ in 0..50 {
        let mut child = desk.command(&arguments(desk, data)).stderr(Stdio::null()).spawn().expect("it runs");
        desk.wait_for_more("run", 0, &mut child);
        child.kill().expect("it was there, or had ended");
        child.wait().expect("it ends");
        let saved = desk.saved_steps("run");
        if (1..=steps / 2).contains(&saved) {
            return saved;
        }
        // This machine had something else to do meanwhile.
        std::fs::remove_dir_all(desk.path("run")).expect("removed");
    }
    panic!("a run of {steps} steps is over before it can be killed");
}

/// Starts or resumes `run/` where no file may become longer than so many blocks: the kernel kills it at that very byte.
fn killed_at_block(desk: &Desk, data: &'static str, limit: u64) {
    let script = format!("ulimit -f {limit}; exec \"$0\" \"$@\"");
    let mut typed = vec!["-c", &script, env!("CARGO_BIN_EXE_unet")];
    typed.extend(arguments(desk, data));
    let killed = Command::new("sh").current_dir(desk.path("")).args(typed).output().expect("sh runs");
    assert!(!killed.status.success(), "a limit of {limit} blocks stopped nothing");
    assert_eq!(killed.status.code(), None, "killed: {}", String::from_utf8_lossy(&killed.stderr));
}

#[test]
fn a_run_killed_in_the_middle_of_writing_a_file_is_the_uninterrupted_one() {
    let desk = with_whole(SETTINGS, 3, "data"); // 12 steps
    let blocks = |file: &str| std::fs::metadata(desk.path("whole/checkpoints").join(file)).expect("there").len() / 512;
    let (state, model) = (blocks("last.state.safetensors"), blocks("last.safetensors"));
    // Its first state is never whole …
    for limit in [1, state / 2] {
        killed_at_block(&desk, "data", limit);
        assert_eq!(desk.saved_steps("run"), 0);
    }
    // … and one that is stays until the next is.
    let mut saved = killed_in_its_first_half(&desk, "data", 12);
    let mut draws = Draws(std::process::id().into());
    let mut limits = vec![1, model / 2, model, state / 2, state];
    limits.extend((0..3).map(|_| 1 + draws.below(state)));
    for limit in limits {
        killed_at_block(&desk, "data", limit);
        // States grow a little as a run gets on: of the largest limits the first ones may be whole.
        let after = desk.saved_steps("run");
        assert!(after == saved || (limit > state / 2 && (saved..12).contains(&after)), "{limit} blocks: step {after}");
        saved = after;
    }
    finish_and_compare(&desk, "data");
}
