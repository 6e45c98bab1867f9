//! The memory that a run says it will need, beside what it takes: the system's count of the process's peak, within 15 %.
#![cfg(target_os = "linux")]

mod support;

use std::io::Read;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use support::Desk;
use unet_data::{Image, Pixels};

/// Runs training to its end; gives what it announced and the most that it held, in bytes.
fn announced_and_taken(desk: &Desk, settings: &[&str]) -> (f64, f64) {
    let arguments = [&["train", "data", "--log-format", "json", "--no-report"], settings].concat();
    let mut child = desk.command(&arguments).stderr(Stdio::piped()).spawn().expect("it runs");
    let status = format!("/proc/{}/status", child.id());
    let ended = AtomicBool::new(false);
    let (mut log, mut stderr) = (String::new(), child.stderr.take().expect("a pipe"));
    let peak = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                let text = std::fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
                let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
                peak = peak.max(kib.unwrap_or(0) << 10);
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        stderr.read_to_string(&mut log).expect("UTF-8");
        ended.store(true, Ordering::Relaxed);
        watch.join().expect("it watched")
    });
    assert!(child.wait().expect("it ends").success(), "{log}");
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let start = events.into_iter().find(|event| !event["memory_bytes"].is_null()).expect("what it needs");
    (start["memory_bytes"].as_f64().expect("a number"), peak as f64)
}

/// `count` images of random pixels, half of each mask 255.
fn dataset(desk: &Desk, count: usize, side: usize) {
    let mut state = 1u32;
    for i in 0..count {
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let values = (0..side * side).map(|_| noise()).collect();
        let mask = (0..side * side).map(|p| if p % side < side / 2 { 255 } else { 0 }).collect();
        for (folder, pixels) in [("image", values), ("label", mask)] {
            let image = Image::new(side, side, 1, Pixels::U8(pixels)).expect("an image");
            desk.png(&format!("data/{folder}/{i}.png"), &image);
        }
    }
}

#[test]
fn what_is_announced_is_what_is_taken_within_15_percent() {
    let mut off = Vec::new();
    for (side, settings) in [
        // Activations weigh most, then parameters, then images; several steps, so that every buffer has been needed.
        (256, "model.width = 16\nmodel.depth = 4\ndata.patch = 256\ntrain.batch_size = 2"),
        (
            256,
            "model.width = 24\nmodel.depth = 3\ndata.patch = 128\ntrain.batch_size = 4\ntrain.accumulate = 2\ntrain.ema_decay = 0.0",
        ),
        (128, "model.width = 64\ndata.patch = 64\ntrain.batch_size = 1\noptimizer.kind = 'sgd'"),
        (96, "model.width = 40\nmodel.upsampling = 'transposed'\ndata.patch = 32\ntrain.batch_size = 2"),
        (400, "model.width = 8\nmodel.depth = 2\ndata.patch = 0\ntrain.batch_size = 2\ntrain.ema_decay = 0.0"),
        (512, "recipe = 'tutorial'\nmodel.width = 12\ndata.val = '20%'"),
        // Blocks that come and go; classes of a region; held-out images that are far larger than patches, in tiles and out of them.
        (256, "model.width = 16\ndata.patch = 256\ntrain.batch_size = 2\ntrain.checkpoint_activations = true"),
        (1200, "model.width = 4\ndata.patch = 64\ntrain.batch_size = 2\nloss.kind = 'dice_ce'"),
        (2048, "recipe = 'auto'\nmodel.width = 4\ndata.patch = 128\ntrain.batch_size = 2"),
        // As planned: matrices that are made orthogonal, and statistics taken anew, which leaves the buffers of training to validation.
        (512, "recipe = 'auto'\nmodel.width = 24\ndata.patch = 128\ntrain.ema_norm_batches = 2\ndata.val = '20%'"),
    ] {
        let desk = Desk::new();
        dataset(&desk, if side > 1000 { 2 } else { 5 }, side);
        let epochs = if side > 1000 { 1 } else { 2 };
        let settings = format!(
            "train.epochs = {epochs}\ntrain.threads = 2\ndata.threads = 1\ndata.samples_per_epoch = 4\n{settings}"
        );
        desk.write("memory.toml", &settings);
        let (announced, taken) = announced_and_taken(&desk, &["--config", "memory.toml"]);
        let ratio = announced / taken;
        println!(
            "{:.0} MiB announced, {:.0} MiB taken ({ratio:.3}): {settings}",
            announced / 1048576.0,
            taken / 1048576.0
        );
        if !(0.85..=1.15).contains(&ratio) {
            off.push((settings, ratio));
        }
    }
    assert!(off.is_empty(), "{off:?}");
}

/// Guards against a plan that keeps within the memory but was timed beyond it.
#[test]
fn a_planned_run_takes_no_more_than_it_may() {
    let desk = Desk::new();
    dataset(&desk, 5, 512);
    for most in [120.0, 260.0] {
        let settings = ["--memory", &most.to_string(), "--budget", "6s", "--out", &format!("run{most}")];
        let (announced, taken) = announced_and_taken(&desk, &settings);
        println!("{:.0} MiB announced, {:.0} MiB taken of {most}", announced / 1048576.0, taken / 1048576.0);
        assert!(taken <= most * 1048576.0, "{taken} bytes");
        assert!(announced > 0.5 * most * 1048576.0, "a larger run had fitted: {announced} of {most} MiB");
    }
}
