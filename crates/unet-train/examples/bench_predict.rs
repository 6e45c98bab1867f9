//! The worker of `cargo xtask bench predict`: segments one large image in tiles whenever it is asked to, and times it.
//!
//! Flags: `--side N --base N --tile N --threads N`. Prints `{"ready": …}` once it is warm, then, for each line `step` on standard input,
//! segments the image and prints `{"seconds": …, "loss": …}` (the loss being the mean probability). `--write FOLDER` beside them writes
//! `weights.safetensors` and `probability.raw` (32-bit floats) for another program to start from and to compare with, and ends.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use unet_data::{ClassTable, Image, Normalization, Pixels};
use unet_model::{Parameters, UNet, UNetConfig, init, weights};
use unet_train::predict::Tiling;
use unet_train::{Checkpoint, CheckpointMeta, PredictOptions, Prediction, Predictor, TrainError};

fn main() -> Result<(), Box<dyn Error>> {
    let flags = flags()?;
    let number = |flag: &str| -> Result<usize, Box<dyn Error>> {
        Ok(flags.get(flag).ok_or_else(|| format!("{flag} is missing"))?.parse()?)
    };
    let (side, tile, threads) = (number("--side")?, number("--tile")?, number("--threads")?);
    let config = UNetConfig { width: number("--base")?, ..UNetConfig::tutorial() };
    let params = Parameters::new(&config, init::init(1))?;
    let model = UNet::from_parameters(config, params)?;
    if let Some(folder) = flags.get("--write") {
        std::fs::create_dir_all(folder)?;
        let file = Path::new(folder).join("weights.safetensors");
        weights::save(&file, model.config(), model.params(), &serde_json::json!({}))?;
    }
    // A quarter of the tile is shared, as the peer is told.
    let tiling = Tiling::new(tile, tile / 4)?;
    let options = PredictOptions { threads, tiling, ..PredictOptions::default() };
    let mut predictor = Predictor::new(Checkpoint { model, meta: meta()? }, Path::new("the bench"), options)?;
    let image = Image::new(side, side, 1, Pixels::U8(pattern(side)))?;
    let mut segment = || -> Result<Prediction, TrainError> { predictor.predict(&image, Path::new("the pattern")) };
    let first = segment()?;
    if let Some(folder) = flags.get("--write") {
        let bytes: Vec<u8> = first.probabilities.iter().flat_map(|p| p.to_le_bytes()).collect();
        std::fs::write(Path::new(folder).join("probability.raw"), bytes)?;
        return Ok(());
    }
    drop(first);
    let version = env!("CARGO_PKG_VERSION");
    println!(r#"{{"ready": {{"what": "unet f32", "threads": {threads}, "versions": {{"unet": "{version}"}}}}}}"#);
    for line in std::io::stdin().lock().lines() {
        match line?.trim() {
            "step" => {
                let begin = Instant::now();
                let found = segment()?;
                let seconds = begin.elapsed().as_secs_f64();
                let mean = found.probabilities.iter().map(|&p| f64::from(p)).sum::<f64>() / (side * side) as f64;
                println!(r#"{{"seconds": {seconds}, "loss": {mean}}}"#);
            }
            other => return Err(format!("unknown request `{other}`: expected `step`").into()),
        }
    }
    Ok(())
}

fn flags() -> Result<HashMap<String, String>, Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut flags = HashMap::new();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} has no value"))?;
        flags.insert(flag, value);
    }
    Ok(flags)
}

fn meta() -> Result<CheckpointMeta, Box<dyn Error>> {
    Ok(CheckpointMeta {
        normalization: Normalization::Unit,
        classes: ClassTable::from_values(&[0, 255])?,
        threshold: 0.5,
        tta: unet_train::predict::Augmentation::None,
        objects: None,
        epoch: 0,
        step: 0,
        best: None,
    })
}

/// Rings of two periods that beat: structure at every scale, the same in any program that counts with whole numbers.
fn pattern(side: usize) -> Vec<u8> {
    let value = |x: usize, y: usize| ((x * x + y * y) / 97 % 256 + (x * y) / 61 % 256) / 2;
    (0..side * side).map(|pixel| value(pixel % side, pixel / side) as u8).collect()
}
