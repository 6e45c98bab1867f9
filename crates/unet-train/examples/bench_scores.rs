//! The worker of `cargo xtask bench scores`: the scores of the ISBI challenge on a stack of its size, 30 slices of 512x512 pixels, at all
//! eleven thresholds, thinning included.
//!
//! Without flags it scores once and prints what it found and the seconds. With `--threads N` it prints `{"ready": …}`, then, for each line
//! `step` on standard input, scores the stack and prints `{"seconds": …, "loss": …}` (the loss being 1 - V_rand). `--write FOLDER` writes
//! the stack for another program: `truth.raw`, a byte for each pixel, and `probability.raw`, 32-bit floats.

use std::error::Error;
use std::io::BufRead;
use std::time::Instant;

use unet_train::metric::{IsbiReport, IsbiSlice, Proposal, ScoreError, isbi_scores};
use unet_train::objects::Grid;

const SLICES: usize = 30;
const GRID: Grid = Grid::new(512, 512);
/// Mean distance of two cells in pixels; the real sections have about as many cells.
const SPACING: usize = 32;

/// Truth and probability of a slice.
type Section = (Vec<u8>, Vec<f32>);

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let stack: Vec<Section> = (0..SLICES as u64).map(section).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => {
            let begin = Instant::now();
            let report = score(&stack)?;
            println!("{:#?}", report.scores);
            println!("{SLICES} slices, {} thresholds: {:.2} s", report.curve.len(), begin.elapsed().as_secs_f64());
        }
        ["--write", folder] => {
            let folder = std::path::Path::new(folder);
            std::fs::create_dir_all(folder)?;
            let truths: Vec<u8> = stack.iter().flat_map(|(truth, _)| truth.iter().copied()).collect();
            let values = stack.iter().flat_map(|(_, values)| values.iter().flat_map(|v| v.to_le_bytes()));
            std::fs::write(folder.join("truth.raw"), truths)?;
            std::fs::write(folder.join("probability.raw"), values.collect::<Vec<u8>>())?;
        }
        ["--threads", threads] => serve(&stack, threads.parse()?)?,
        other => return Err(format!("unknown arguments {other:?}").into()),
    }
    Ok(())
}

fn serve(stack: &[Section], threads: usize) -> Result<(), Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    pool.install(|| score(stack))?;
    let version = env!("CARGO_PKG_VERSION");
    println!(r#"{{"ready": {{"what": "unet", "threads": {threads}, "versions": {{"unet": "{version}"}}}}}}"#);
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "step" => {
                let begin = Instant::now();
                let report = pool.install(|| score(stack))?;
                let loss = 1.0 - report.scores.v_rand;
                println!(r#"{{"seconds": {}, "loss": {loss}}}"#, begin.elapsed().as_secs_f64());
            }
            other => return Err(format!("unknown request `{other}`: expected `step`").into()),
        }
    }
    Ok(())
}

fn score(stack: &[Section]) -> Result<IsbiReport, ScoreError> {
    let slices: Vec<IsbiSlice<'_>> = stack
        .iter()
        .map(|(truth, values)| IsbiSlice { grid: GRID, truth, proposal: Proposal::Probability(values) })
        .collect();
    isbi_scores(&slices)
}

/// Cells around jittered centres with walls between them, and a noisy guess at it.
fn section(seed: u64) -> (Vec<u8>, Vec<f32>) {
    let depth = |x: usize, y: usize| {
        let (mut first, mut second) = (f32::INFINITY, f32::INFINITY);
        for (row, column) in (0..5).flat_map(|v| (0..5).map(move |u| (y / SPACING + v, x / SPACING + u))) {
            let jitter = |salt| uniform(seed ^ salt, (row * 64 + column) as u64) * SPACING as f32;
            let center_x = (column * SPACING) as f32 + jitter(1 << 32) - 2.0 * SPACING as f32;
            let center_y = (row * SPACING) as f32 + jitter(2 << 32) - 2.0 * SPACING as f32;
            let distance = (x as f32 - center_x).hypot(y as f32 - center_y);
            (first, second) = (first.min(distance), second.min(distance.max(first)));
        }
        second - first
    };
    let depths: Vec<f32> = (0..GRID.pixels()).map(|pixel| depth(pixel % GRID.width, pixel / GRID.width)).collect();
    let truth = depths.iter().map(|&depth| u8::from(depth > 4.0)).collect();
    let noise = |pixel: usize| 3.0 * (uniform(seed ^ (3 << 32), pixel as u64) - 0.5);
    let guess = |(pixel, &depth): (usize, &f32)| 1.0 / (1.0 + (-(depth - 4.0) / 1.5 - noise(pixel)).exp());
    let probability = depths.iter().enumerate().map(guess).collect();
    (truth, probability)
}

/// A number from 0 to 1 out of a seed and an index (the finalizer of SplitMix64).
fn uniform(seed: u64, index: u64) -> f32 {
    let mut bits = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((bits ^ (bits >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}
