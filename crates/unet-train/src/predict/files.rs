//! Predictions as files: `NAME_mask.png`, `NAME_prob.tif`, `NAME_overlay.png`, `NAME_palette.png` for an image, stacks for a stack. Nothing is overwritten
//! unless asked for, and each file is written whole or not at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use unet_data::codec::{TiffWriter, write_indexed_png, write_png, write_tiff};
use unet_data::{Image, InputImage};

use super::overlay::overlay;
use super::prediction::Prediction;
use super::predictor::Predictor;
use crate::TrainError;
use crate::error::nearest;

/// What can be written of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Output {
    /// Labels in the training masks' values.
    Mask,
    /// Probabilities as 32-bit floats: a page per class, one page for a single logit.
    Prob,
    /// The labels drawn over the image.
    Overlay,
    /// The mask again, each class in its colour; a single image keeps the training masks' values as indices of a palette.
    Palette,
}

impl Output {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Mask, Self::Prob, Self::Overlay, Self::Palette];

    /// Its name, and what stands behind the image's in its file's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::Prob => "prob",
            Self::Overlay => "overlay",
            Self::Palette => "palette",
        }
    }

    /// Stacks and floats are TIFF, single masks and overlays PNG.
    fn extension(self, pages: usize) -> &'static str {
        if self == Self::Prob || pages > 1 { "tif" } else { "png" }
    }
}

/// A list such as `mask,prob`. Masks are always written.
///
/// # Errors
/// A name is none of them.
pub fn parse_outputs(list: &str) -> Result<Vec<Output>, TrainError> {
    let mut outputs = vec![Output::Mask];
    for name in list.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        let found = Output::ALL.into_iter().find(|o| o.name() == name).ok_or_else(|| {
            let hint = nearest(name, Output::ALL.map(Output::name))
                .map_or_else(String::new, |n| format!(" (did you mean {n}?)"));
            TrainError::config("save", name, format!("mask, prob, overlay or palette, separated by commas{hint}"))
        })?;
        outputs.push(found);
    }
    outputs.sort_unstable();
    outputs.dedup();
    Ok(outputs)
}

/// Where predictions go, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputOptions {
    /// The folder; made where it is missing.
    pub dir: PathBuf,
    /// What to write.
    pub outputs: Vec<Output>,
    /// Whether existing files are overwritten.
    pub force: bool,
}

/// One input file, predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePrediction {
    /// The input.
    pub input: PathBuf,
    /// What was written of it.
    pub files: Vec<PathBuf>,
}

/// Predicts every page of `inputs` and writes what is asked for. `progress` is called after each page with the number done.
///
/// # Errors
/// An output exists already, or two inputs would write the same one: found out before anything is computed. An image cannot be read, is
/// not like those of the training, or its outputs cannot be written.
pub fn predict_files(
    predictor: &mut Predictor,
    inputs: &[InputImage],
    options: &OutputOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<FilePrediction>, TrainError> {
    check_outputs(inputs, options)?;
    let files = by_file(inputs);
    std::fs::create_dir_all(&options.dir).map_err(|e| TrainError::io(&options.dir, "create", e))?;
    let (mut done, mut written) = (0, Vec::new());
    for pages in &files {
        let mut page_done = || {
            done += 1;
            progress(done);
        };
        let written_files = match pages.as_slice() {
            [page] if page.pages == 1 => one_image(predictor, page, options, &mut page_done)?,
            pages => one_stack(predictor, pages, options, &mut page_done)?,
        };
        written.push(FilePrediction { input: pages[0].path.clone(), files: written_files });
    }
    Ok(written)
}

/// The pages of each file, files in the order given.
fn by_file(inputs: &[InputImage]) -> Vec<Vec<&InputImage>> {
    let mut files: Vec<Vec<&InputImage>> = Vec::new();
    for input in inputs {
        match files.last_mut() {
            Some(pages) if pages[0].path == input.path => pages.push(input),
            _ => files.push(vec![input]),
        }
    }
    files
}

fn path_of(options: &OutputOptions, page: &InputImage, output: Output) -> PathBuf {
    let stem = page.path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    options.dir.join(format!("{stem}_{}.{}", output.name(), output.extension(page.pages)))
}

/// Whether every output can be written under its name; [`predict_files`] asks this itself, for those who call it file by file.
///
/// # Errors
/// An output exists already and is not to be overwritten, or two inputs would write the same one.
pub fn check_outputs(inputs: &[InputImage], options: &OutputOptions) -> Result<(), TrainError> {
    let mut taken: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for page in by_file(inputs).into_iter().map(|pages| pages[0]) {
        for &output in &options.outputs {
            let path = path_of(options, page, output);
            if path.exists() && !options.force {
                return Err(TrainError::Exists { path });
            }
            if let Some(other) = taken.insert(path.clone(), &page.path) {
                let problem = format!(
                    "both {} and {} would be written to it; predict them into two folders",
                    other.display(),
                    page.path.display()
                );
                return Err(TrainError::Pairing { path, problem });
            }
        }
    }
    Ok(())
}

fn one_image(
    predictor: &mut Predictor,
    page: &InputImage,
    options: &OutputOptions,
    done: &mut dyn FnMut(),
) -> Result<Vec<PathBuf>, TrainError> {
    let image = page.load()?;
    let prediction = predictor.predict(&image, &page.path)?;
    let mut files = Vec::new();
    for &output in &options.outputs {
        let path = path_of(options, page, output);
        let pages = pages_of(output, predictor, &image, &prediction)?;
        match (output, pages.as_slice()) {
            (Output::Palette, [single]) => match predictor.meta().classes.palette() {
                Some(palette) => {
                    let mask = prediction.mask(&predictor.meta().classes)?.with_pixel_size(image.pixel_size().cloned());
                    write_indexed_png(&path, &mask, &palette)?;
                }
                None => write_png(&path, single)?,
            },
            (Output::Mask | Output::Overlay, [single]) => write_png(&path, single)?,
            (_, pages) => write_tiff(&path, pages)?,
        }
        files.push(path);
    }
    done();
    Ok(files)
}

/// Stacks are written as they are predicted, a page at a time.
fn one_stack(
    predictor: &mut Predictor,
    pages: &[&InputImage],
    options: &OutputOptions,
    done: &mut dyn FnMut(),
) -> Result<Vec<PathBuf>, TrainError> {
    let planes = if predictor.config().out_channels == 1 { 1 } else { predictor.meta().classes.len() };
    let pixels: u64 = pages.iter().map(|p| p.width as u64 * p.height as u64).sum();
    let mut writers = Vec::new();
    for &output in &options.outputs {
        let bytes_per_pixel = match output {
            Output::Mask => 2,
            Output::Prob => 4 * planes as u64,
            Output::Overlay | Output::Palette => 3,
        };
        let path = path_of(options, pages[0], output);
        writers.push((output, TiffWriter::create(&path, pixels * bytes_per_pixel)?, path));
    }
    for page in pages {
        let image = page.load()?;
        let prediction = predictor.predict(&image, &page.path)?;
        for (output, writer, _) in &mut writers {
            for written in pages_of(*output, predictor, &image, &prediction)? {
                writer.page(&written)?;
            }
        }
        done();
    }
    writers.into_iter().map(|(_, writer, path)| Ok(writer.finish().map(|()| path)?)).collect()
}

/// What is written, with the physical size of the image's pixels.
fn pages_of(
    output: Output,
    predictor: &Predictor,
    image: &Image,
    prediction: &Prediction,
) -> Result<Vec<Image>, TrainError> {
    let pages = drawn(output, predictor, image, prediction)?;
    Ok(pages.into_iter().map(|page| page.with_pixel_size(image.pixel_size().cloned())).collect())
}

fn drawn(
    output: Output,
    predictor: &Predictor,
    image: &Image,
    prediction: &Prediction,
) -> Result<Vec<Image>, TrainError> {
    match output {
        Output::Mask => Ok(vec![prediction.mask(&predictor.meta().classes)?]),
        Output::Prob => prediction.probability_images(),
        Output::Palette => {
            let Prediction { labels, width, height, .. } = prediction;
            Ok(vec![predictor.meta().classes.to_rgb(labels, *width, *height)?])
        }
        Output::Overlay => Ok(vec![overlay(image, &prediction.labels, None)?]),
    }
}
