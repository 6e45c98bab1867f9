//! The README's main job at its smallest, as a user types it: train on the built-in stack, segment images, score the result.
//!
//! Takes the workspace; leaves everything in `smoke` in cargo's target folder. Fails when a command does, when a file that was promised is
//! not there, or when the scores make no sense. It says nothing about quality: the network has a few thousand parameters.

use crate::{process, workspace};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Width and height of the images to segment: neither a multiple of 16, which the network's four levels would like.
const SIZE: (usize, usize) = (83, 61);

/// Does the job once.
pub fn check(root: &Path) -> Result<()> {
    let folder = workspace::target_dir(root)?.join("smoke");
    let run = train(root, &folder)?;
    let (images, masks) = (write_images(&folder)?, folder.join("masks"));
    let (run, images, masks) = (text(&run)?, text(&images)?, text(&masks)?);
    unet(root, &["predict", run, images, "-o", masks, "--save", "mask,prob,overlay"])?;
    for name in ["0_mask.png", "1_mask.png", "0_prob.tif", "1_prob.tif", "0_overlay.png", "1_overlay.png"] {
        let path = Path::new(masks).join(name);
        let size =
            std::fs::metadata(&path).with_context(|| format!("`unet predict` wrote no {}", path.display()))?.len();
        ensure!(size > 0, "{} is empty", path.display());
    }
    let json = unet(root, &["evaluate", run, "synthetic", "--on", "val", "--json"])?;
    check_scores(&json)
}

/// Trains into `folder/run`, anew.
pub fn train(root: &Path, folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let run = folder.join("run");
    let settings = "train synthetic --width 4 --patch 64 --epochs 2 --val 28..30 --seed 1 --histograms 1 --out";
    let arguments: Vec<&str> = settings.split(' ').chain([text(&run)?]).collect();
    unet(root, &arguments)?;
    for name in ["config.toml", "metrics.jsonl", "checkpoints/best.safetensors", "checkpoints/last.safetensors"] {
        ensure!(run.join(name).is_file(), "`unet train` left no {name} in {}", run.display());
    }
    Ok(run)
}

/// Predicts objects into a new folder in `folder`, as a user of ImageJ would.
pub fn objects(root: &Path, run: &Path, folder: &Path) -> Result<PathBuf> {
    let out = folder.join("objects");
    predict_objects(root, run, &write_images(folder)?, &out)?;
    Ok(out)
}

/// Predicts the objects of `images` into `out`.
pub fn predict_objects(root: &Path, run: &Path, images: &Path, out: &Path) -> Result<()> {
    let arguments = ["predict", text(run)?, text(images)?, "-o", text(out)?, "--force", "--min-size", "1"];
    unet(root, &[&arguments[..], &["--save", "instances", "--seed-distance", "4"]].concat()).map(drop)
}

/// Two small images in the folder `images` in `folder`.
fn write_images(folder: &Path) -> Result<PathBuf> {
    let images = folder.join("images");
    std::fs::create_dir_all(&images).with_context(|| format!("cannot create {}", images.display()))?;
    for (index, name) in ["0.bmp", "1.bmp"].into_iter().enumerate() {
        std::fs::write(images.join(name), bitmap(SIZE, index)).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(images)
}

/// Runs `unet` as the README says; gives what it printed to standard output. What it says on standard error is shown if it fails.
fn unet(root: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = workspace::cargo(root);
    command.args(["run", "--quiet", "--locked", "--package", "unet-cli", "--"]).args(arguments);
    process::capture(&mut command)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// The keys that every reader of `unet evaluate --json` relies on, with values that can be.
fn check_scores(json: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Scores {
        images: usize,
        pixel_accuracy: f64,
        per_class: Vec<serde_json::Value>,
    }
    let scores: Scores =
        serde_json::from_str(json).with_context(|| format!("`unet evaluate --json` printed `{json}`"))?;
    if scores.images != 2 || !(0.0..=1.0).contains(&scores.pixel_accuracy) || scores.per_class.len() != 2 {
        bail!("`unet evaluate --json` on 2 images of 2 classes printed `{json}`");
    }
    Ok(())
}

/// An 8-bit gray Windows bitmap (`BITMAPINFOHEADER`, a palette of 256 grays, rows padded to 4 bytes) of rings around its centre.
fn bitmap((width, height): (usize, usize), phase: usize) -> Vec<u8> {
    const HEADERS: usize = 14 + 40 + 256 * 4;
    let row = width.next_multiple_of(4);
    let word = |value: usize| (value as u32).to_le_bytes();
    let mut file = b"BM".to_vec();
    file.extend([word(HEADERS + row * height), word(0), word(HEADERS), word(40), word(width), word(height)].concat());
    file.extend([1, 0, 8, 0]); // planes, bits per pixel
    file.extend([word(0), word(row * height), word(2835), word(2835), word(256), word(0)].concat());
    file.extend((0..=255u8).flat_map(|gray| [gray, gray, gray, 0]));
    for y in 0..height {
        let radius =
            |x: usize| ((x as f64 - width as f64 / 2.0).hypot(y as f64 - height as f64 / 2.0) + phase as f64) / 3.0;
        file.extend((0..row).map(|x| if x < width { (128.0 + 100.0 * radius(x).sin()) as u8 } else { 0 }));
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_cannot_be_are_refused() {
        let json = |images: usize, accuracy: f64| {
            format!(r#"{{"images": {images}, "pixel_accuracy": {accuracy}, "per_class": [{{}}, {{}}], "more": 1}}"#)
        };
        assert!(check_scores(&json(2, 0.5)).is_ok());
        for wrong in [json(1, 0.5), json(2, 1.5), "{}".to_owned(), String::new()] {
            assert!(check_scores(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bitmap_is_as_long_as_its_header_says() {
        let file = bitmap((5, 3), 0);
        assert_eq!(file.len(), 14 + 40 + 1024 + 8 * 3);
        assert_eq!(file[2..6], (file.len() as u32).to_le_bytes());
    }
}
