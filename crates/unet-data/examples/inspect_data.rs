//! Opens a dataset (a folder given as argument, or the built-in synthetic stack), says what it found, and loads one epoch of
//! augmented patches: `cargo run -p unet-data --example inspect_data -- [FOLDER] [PREVIEW_DIR]`.
//!
//! With a second argument the first 32 images and masks are written there as PNG.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use unet_data::{
    AugmentConfig, DataError, Dataset, Loader, LoaderConfig, Normalization, Synthetic, SyntheticConfig, ValSpec,
};

/// Images that are written at most.
const PREVIEWED: usize = 32;

fn main() -> Result<(), DataError> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let dataset: Arc<dyn Dataset> = match args.next() {
        Some(path) if path.as_os_str() != "synthetic" => unet_data::open(&path)?,
        _ => Arc::new(Synthetic::new(SyntheticConfig::default())?),
    };
    let values: Vec<u32> = dataset.classes().classes().iter().map(|c| c.value).collect();
    println!(
        "{}: {} images of {} channel(s), mask values {values:?}",
        dataset.name(),
        dataset.len(),
        dataset.channels()
    );
    for note in dataset.notes() {
        println!("note: {note}");
    }
    if let Some(folder) = args.next() {
        preview(dataset.as_ref(), &folder)?;
    }

    let split = "20%".parse::<ValSpec>()?.split(dataset.len())?;
    let normalization = Normalization::mean_std_of(dataset.as_ref(), &split.train)?;
    println!("{} for training, {} held out, {normalization:?}", split.train.len(), split.val.len());
    let config = LoaderConfig {
        batch_size: 4,
        patch: Some(256),
        shuffle: true,
        augment: AugmentConfig::strong(),
        normalization,
        ..LoaderConfig::default()
    };
    let loader = Loader::new(dataset, split.train, config)?;
    for epoch in 0..2 {
        let start = Instant::now();
        let mut patches = 0;
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            patches += batch.n;
            println!("epoch {epoch}: ({}, {}, {}, {}) of {}", batch.n, batch.h, batch.w, batch.c, batch.ids.join(", "));
        }
        println!("epoch {epoch}: {:.0} patches a second", patches as f64 / start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Writes the first images and masks.
fn preview(dataset: &dyn Dataset, folder: &Path) -> Result<(), DataError> {
    for i in 0..dataset.len().min(PREVIEWED) {
        let sample = dataset.load(i)?;
        unet_data::codec::write_png(&folder.join(format!("{}.png", sample.id)), &sample.image)?;
        if let Some(mask) = sample.mask {
            let mask = dataset.classes().to_image(&mask.labels, mask.width, mask.height)?;
            unet_data::codec::write_png(&folder.join(format!("{}_mask.png", sample.id)), &mask)?;
        }
    }
    Ok(())
}
