//! Times the scores of the ISBI challenge on a stack of its size: 30 slices of 512x512 pixels, eleven thresholds. Takes
//! nothing; prints the scores and the seconds. Run with `cargo run --release -p unet-train --example score_speed`.

use std::time::Instant;

use unet_train::metric::{IsbiSlice, Proposal, ScoreError, isbi_scores};
use unet_train::objects::Grid;

const SLICES: usize = 30;
const GRID: Grid = Grid::new(512, 512);
/// Mean distance of two cells in pixels; the real sections have about as many cells.
const SPACING: usize = 32;

fn main() -> Result<(), ScoreError> {
    let stack: Vec<(Vec<u8>, Vec<f32>)> = (0..SLICES as u64).map(section).collect();
    let slices: Vec<IsbiSlice<'_>> = stack
        .iter()
        .map(|(truth, values)| IsbiSlice { grid: GRID, truth, proposal: Proposal::Probability(values) })
        .collect();
    let start = Instant::now();
    let report = isbi_scores(&slices)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{:#?}", report.scores);
    println!("{SLICES} slices of 512x512, {} thresholds: {seconds:.2} s", report.curve.len());
    println!("on {} threads", std::thread::available_parallelism().map_or(1, usize::from));
    Ok(())
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
