//! The worker of `cargo xtask bench data`: prepares augmented patches whenever it is asked to, and times it.
//!
//! `--write FOLDER` fills a folder with 30 synthetic slices of 512×512 pixels and their masks, as PNG, and ends. Otherwise it takes the
//! case as flags, prints `{"ready": …}` once it is warm, then, for each line `step` on standard input, loads one epoch and prints
//! `{"seconds": …, "loss": …}` (the "loss" is the mean of all values: the work cannot be left out); it ends when standard input does.

use std::collections::HashMap;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::Instant;

use unet_data::{AugmentConfig, Dataset, Loader, LoaderConfig, Normalization, Synthetic, SyntheticConfig, codec};

/// Patches in a batch, as many as the peers take.
const BATCH: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut flags = HashMap::new();
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} has no value"))?;
        flags.insert(flag, value);
    }
    if let Some(folder) = flags.get("--write") {
        return write(Path::new(folder));
    }
    let take = |flag: &str| flags.get(flag).ok_or_else(|| format!("{flag} is missing"));
    let number = |flag: &str| -> Result<usize, Box<dyn Error>> { Ok(take(flag)?.parse()?) };
    let threads = number("--threads")?;
    let dataset = unet_data::open(Path::new(take("--data")?))?;
    let indices = (0..dataset.len()).collect();
    let config = LoaderConfig {
        batch_size: BATCH,
        patch: Some(number("--patch")?),
        samples_per_epoch: Some(number("--patches")?),
        shuffle: true,
        augment: augmentation(take("--set")?)?,
        normalization: Normalization::Unit,
        threads,
        prefetch: 2 * threads,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(dataset, indices, config)?;
    epoch(&loader, 0)?;
    println!(
        r#"{{"ready": {{"what": "unet-data", "threads": {threads}, "versions": {{"unet": "{}"}}}}}}"#,
        env!("CARGO_PKG_VERSION"),
    );
    for (n, line) in (1..).zip(std::io::stdin().lock().lines()) {
        match line?.trim() {
            "step" => {
                let begin = Instant::now();
                let mean = epoch(&loader, n)?;
                println!(r#"{{"seconds": {}, "loss": {mean}}}"#, begin.elapsed().as_secs_f64());
            }
            other => return Err(format!("unknown request `{other}`: expected `step`").into()),
        }
    }
    Ok(())
}

/// `flips`, `elastic`, `full` or `dense`.
fn augmentation(name: &str) -> Result<AugmentConfig, Box<dyn Error>> {
    let flips = AugmentConfig::flips();
    match name {
        "flips" => Ok(flips),
        "elastic" => Ok(AugmentConfig { warp_probability: 1.0, elastic_sigma: 5.0, elastic_spacing: 64.0, ..flips }),
        "full" => Ok(AugmentConfig::full()),
        // As strong as albumentations' and torchvision's alpha 50, sigma 7.
        "dense" => {
            Ok(AugmentConfig { elastic_sigma: 0.0, dense_sigma: 1.2, dense_smoothing: 7.0, ..AugmentConfig::full() })
        }
        other => Err(format!("--set {other}: expected flips, elastic, full or dense").into()),
    }
}

/// Loads an epoch; gives the mean of its values.
fn epoch(loader: &Loader, n: u64) -> Result<f64, Box<dyn Error>> {
    let (mut sum, mut count) = (0.0, 0usize);
    for batch in loader.epoch(n) {
        let batch = batch?;
        // One value in 64 is enough to depend on all of the work.
        sum += batch.images.iter().step_by(64).map(|&v| f64::from(v)).sum::<f64>();
        count += batch.images.len().div_ceil(64);
    }
    Ok(sum / count as f64)
}

fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    let stack = Synthetic::new(SyntheticConfig::default())?;
    for part in ["image", "label"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    for index in 0..stack.len() {
        let sample = stack.load(index)?;
        codec::write_png(&folder.join("image").join(format!("{index}.png")), &sample.image)?;
        if let Some(mask) = sample.mask {
            let mask = stack.classes().to_image(&mask.labels, mask.width, mask.height)?;
            codec::write_png(&folder.join("label").join(format!("{index}.png")), &mask)?;
        }
    }
    Ok(())
}
