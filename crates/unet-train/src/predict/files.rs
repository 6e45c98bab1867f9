//! Predictions as files: `NAME_mask.png`, `NAME_prob.tif` and so on for an image, stacks for a stack. Nothing is overwritten unless asked
//! for, and each file is written whole or not at all.
//!
//! Length: what is written under which name, and the two ways of writing it, depend on each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use unet_data::codec::{TiffWriter, write_indexed_png, write_png, write_tiff};
use unet_data::{ClassTable, Image, InputImage};

use super::large::{is_large, predict_large};
use super::object_files::ObjectFiles;
use super::overlay::overlay;
use super::prediction::Prediction;
use super::predictor::Predictor;
use crate::TrainError;
use crate::error::nearest;
use crate::objects::InstanceConfig;

/// What can be written of a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Output {
    /// Labels in the training masks' values; a page of 0 and 255 for each of classes that may lie over one another.
    Mask,
    /// Probabilities as 32-bit floats: a page per class, one page for a single logit.
    Prob,
    /// The labels drawn over the image.
    Overlay,
    /// The mask again, each class in its colour; a single image keeps the training masks' values as indices of a palette.
    Palette,
    /// How much views and networks disagree, as 32-bit floats: [`Prediction::uncertainty`].
    Uncertainty,
    /// Objects of class 1: a label image, their outlines drawn over the image, a mask that keeps them apart, tables (CSV, JSON), and ImageJ
    /// regions.
    Instances,
}

impl Output {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Mask, Self::Prob, Self::Overlay, Self::Palette, Self::Uncertainty, Self::Instances];

    /// Its name, and what stands behind the image's in its file's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mask => "mask",
            Self::Prob => "prob",
            Self::Overlay => "overlay",
            Self::Palette => "palette",
            Self::Uncertainty => "uncertainty",
            Self::Instances => "instances",
        }
    }

    /// What stands behind the image's name in those of its files. Labels, floats, stacks, large images and masks of layers are TIFF, others
    /// PNG.
    fn endings(self, as_tiff: bool, layered: bool) -> Vec<String> {
        let drawn = if as_tiff { "tif" } else { "png" };
        match self {
            Self::Mask if layered => vec!["mask.tif".to_owned()],
            Self::Mask | Self::Overlay | Self::Palette => vec![format!("{}.{drawn}", self.name())],
            Self::Prob | Self::Uncertainty => vec![format!("{}.tif", self.name())],
            Self::Instances => {
                let images = [("instances", "tif"), ("outlines", drawn), ("parted", drawn)];
                let tables = [("objects", "csv"), ("objects", "json"), ("rois", "zip")];
                images.into_iter().chain(tables).map(|(name, kind)| format!("{name}.{kind}")).collect()
            }
        }
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
            TrainError::config(
                "save",
                name,
                format!("{}, separated by commas{hint}", Output::ALL.map(Output::name).join(", ")),
            )
        })?;
        outputs.push(found);
    }
    outputs.sort_unstable();
    outputs.dedup();
    Ok(outputs)
}

/// Where predictions go, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputOptions {
    /// The folder; made where it is missing.
    pub dir: PathBuf,
    /// What to write.
    pub outputs: Vec<Output>,
    /// What becomes of files that exist.
    pub existing: Existing,
    /// Whether probabilities are written in 16 bits (65535 is certainty) in place of 32-bit floats.
    pub prob_16: bool,
    /// How objects are made of probabilities; without it as the checkpoint says, or else at its threshold.
    pub objects: Option<InstanceConfig>,
    /// Whether the network's classes may lie over one another, so that masks are TIFFs with a page for each. [`predict_files`] knows that
    /// itself; [`check_outputs`] cannot.
    pub layered: bool,
    /// Single images of more pixels than this are read, predicted and written in bands of rows, as tiled BigTIFFs.
    pub large: u64,
}

/// Pixels of the largest image that is held in memory as a whole.
const LARGE: u64 = 1 << 26;

/// What becomes of files that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They are an error, found out before anything is computed.
    #[default]
    Refuse,
    /// They are overwritten.
    Overwrite,
    /// An input whose files are all there is skipped; one that lacks some is predicted anew.
    Resume,
}

impl OutputOptions {
    /// These outputs into that folder, everything else as usual.
    pub fn new(dir: PathBuf, outputs: Vec<Output>) -> Self {
        Self { dir, outputs, existing: Existing::Refuse, prob_16: false, objects: None, layered: false, large: LARGE }
    }
}

/// One input file, predicted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePrediction {
    /// The input.
    pub input: PathBuf,
    /// What was written of it; nothing where all was there already.
    pub files: Vec<PathBuf>,
}

/// How many pages are done, and who is told.
struct Progress<'a> {
    pages: usize,
    tell: &'a mut dyn FnMut(f64),
}

impl Progress<'_> {
    fn page(&mut self) {
        self.pages += 1;
        (self.tell)(self.pages as f64);
    }

    /// Of the page at hand, so many tiles of so many.
    fn tiles(&mut self, done: usize, all: usize) {
        (self.tell)(self.pages as f64 + done as f64 / all.max(1) as f64);
    }
}

/// Predicts every page of `inputs` and writes what is asked for. `progress` is called after each page with the number done; within a page
/// that is cut into tiles also at each of them, with a fraction of the page.
///
/// # Errors
/// An output exists already, or two inputs would write the same one: found out before anything is computed. An image cannot be read, is
/// not like those of the training, or its outputs cannot be written.
pub fn predict_files(
    predictor: &mut Predictor,
    inputs: &[InputImage],
    options: &OutputOptions,
    progress: &mut dyn FnMut(f64),
) -> Result<Vec<FilePrediction>, TrainError> {
    let options = &OutputOptions { layered: predictor.meta().classes.is_layered(), ..options.clone() };
    if options.layered && options.outputs.contains(&Output::Instances) {
        let expected = "mask, prob, overlay, palette or uncertainty: objects are made of class 1 of two, not of classes that lie over others";
        return Err(TrainError::config("save", "instances", expected));
    }
    check_outputs(inputs, options)?;
    if options.outputs.contains(&Output::Uncertainty) && predictor.opinions() < 2 {
        let expected = "several views or networks to disagree: --tta flip, or --with MODEL";
        return Err(TrainError::config("save", "uncertainty", expected));
    }
    let files = by_file(inputs);
    std::fs::create_dir_all(&options.dir).map_err(|e| TrainError::io(&options.dir, "create", e))?;
    let (mut done, mut written) = (Progress { pages: 0, tell: progress }, Vec::new());
    for pages in &files {
        let written_files = match pages.as_slice() {
            pages if options.existing == Existing::Resume && is_finished(options, pages[0]) => {
                pages.iter().for_each(|_| done.page());
                Vec::new()
            }
            [page] if page.pages == 1 => one_image(predictor, page, options, &mut done)?,
            pages => one_stack(predictor, pages, options, &mut done)?,
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

fn paths_of(options: &OutputOptions, page: &InputImage, output: Output) -> Vec<PathBuf> {
    let stem = page.path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    output
        .endings(page.pages > 1 || is_large(page, options), options.layered)
        .iter()
        .map(|ending| options.dir.join(format!("{stem}_{ending}")))
        .collect()
}

/// Whether all that is asked for of a file is there.
fn is_finished(options: &OutputOptions, page: &InputImage) -> bool {
    options.outputs.iter().flat_map(|&output| paths_of(options, page, output)).all(|path| path.exists())
}

/// Whether every output can be written under its name; [`predict_files`] asks this itself, for those who call it file by file.
///
/// # Errors
/// An output exists already and is not to be overwritten, or two inputs would write the same one.
pub fn check_outputs(inputs: &[InputImage], options: &OutputOptions) -> Result<(), TrainError> {
    let mut taken: BTreeMap<PathBuf, &Path> = BTreeMap::new();
    for page in by_file(inputs).into_iter().map(|pages| pages[0]) {
        for path in options.outputs.iter().flat_map(|&output| paths_of(options, page, output)) {
            if path.exists() && options.existing == Existing::Refuse {
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
    done: &mut Progress<'_>,
) -> Result<Vec<PathBuf>, TrainError> {
    if is_large(page, options) {
        let files: Vec<PathBuf> = options.outputs.iter().flat_map(|&output| paths_of(options, page, output)).collect();
        predict_large(predictor, page, options, &files, &mut |tiles, all| done.tiles(tiles, all))?;
        done.page();
        return Ok(files);
    }
    let image = page.load()?;
    let prediction = predictor.predict_with(&image, &page.path, &mut |tiles, all| done.tiles(tiles, all))?;
    let mut files = Vec::new();
    for &output in &options.outputs {
        let paths = paths_of(options, page, output);
        write_output(predictor, (&image, &prediction), options, output, &paths)?;
        files.extend(paths);
    }
    done.page();
    Ok(files)
}

/// Writes one output of a single image.
fn write_output(
    predictor: &Predictor,
    (image, prediction): (&Image, &Prediction),
    options: &OutputOptions,
    output: Output,
    paths: &[PathBuf],
) -> Result<(), TrainError> {
    if output == Output::Instances {
        let mut objects = ObjectFiles::new(&config_of(predictor, options), &prediction.weights);
        let found = predictor.install(|| objects.add(image, prediction.of_class_one(), None, &paths[0]))?;
        let mut writer = TiffWriter::create(&paths[0], 4 * found.labels.len() as u64)?;
        writer.labels(&found.labels, (image.width(), image.height()), image.pixel_size())?;
        writer.finish()?;
        write_png(&paths[1], &found.outlines)?;
        write_png(&paths[2], &found.parted)?;
        return objects.write(&paths[3..]);
    }
    let pages = pages_of(output, predictor, image, prediction, options)?;
    match (output, pages.as_slice(), &paths[0]) {
        (Output::Palette, [single], path) => match predictor.meta().classes.palette() {
            Some(palette) => {
                let mask = prediction.mask(&predictor.meta().classes)?.with_pixel_size(image.pixel_size().cloned());
                write_indexed_png(path, &mask, &palette)?;
            }
            None => write_png(path, single)?,
        },
        (Output::Mask | Output::Overlay, [single], path) => write_png(path, single)?,
        (_, pages, path) => write_tiff(path, pages)?,
    }
    Ok(())
}

/// How objects are made of probabilities.
fn config_of(predictor: &Predictor, options: &OutputOptions) -> InstanceConfig {
    options.objects.unwrap_or_else(|| predictor.objects())
}

/// Stacks are written as they are predicted, a page at a time.
fn one_stack(
    predictor: &mut Predictor,
    pages: &[&InputImage],
    options: &OutputOptions,
    done: &mut Progress<'_>,
) -> Result<Vec<PathBuf>, TrainError> {
    let mut writers = Vec::new();
    let mut objects = None;
    for &output in &options.outputs {
        let paths = paths_of(options, pages[0], output);
        let expected = expected_bytes(output, predictor, pages, options);
        writers.push((output, TiffWriter::create(&paths[0], expected)?));
        if output == Output::Instances {
            let config = config_of(predictor, options);
            let drawn = [TiffWriter::create(&paths[1], expected)?, TiffWriter::create(&paths[2], expected)?];
            objects = Some((ObjectFiles::new(&config, predictor.weights()), drawn, paths));
        }
    }
    for (slice, page) in pages.iter().enumerate() {
        let image = page.load()?;
        let prediction = predictor.predict_with(&image, &page.path, &mut |tiles, all| done.tiles(tiles, all))?;
        for (output, writer) in &mut writers {
            if let (Output::Instances, Some((objects, [outlines, parted], _))) = (*output, &mut objects) {
                let of_one = prediction.of_class_one();
                let found = predictor.install(|| objects.add(&image, of_one, Some(slice), &page.path))?;
                writer.labels(&found.labels, (image.width(), image.height()), image.pixel_size())?;
                outlines.page(&found.outlines)?;
                parted.page(&found.parted)?;
                continue;
            }
            for written in pages_of(*output, predictor, &image, &prediction, options)? {
                writer.page(&written)?;
            }
        }
        done.page();
    }
    writers.into_iter().try_for_each(|(_, writer)| writer.finish())?;
    if let Some((objects, drawn, paths)) = objects {
        drawn.into_iter().try_for_each(TiffWriter::finish)?;
        objects.write(&paths[3..])?;
    }
    Ok(options.outputs.iter().flat_map(|&output| paths_of(options, pages[0], output)).collect())
}

/// Bytes of a stack's pages, undecoded.
fn expected_bytes(output: Output, predictor: &Predictor, pages: &[&InputImage], options: &OutputOptions) -> u64 {
    let pixels: u64 = pages.iter().map(|p| p.width as u64 * p.height as u64).sum();
    let planes = predictor.config().out_channels as u64;
    pixels
        * match output {
            Output::Mask if options.layered => planes,
            Output::Mask => 2,
            Output::Prob => 4 * planes,
            Output::Overlay | Output::Palette => 3,
            Output::Uncertainty | Output::Instances => 4,
        }
}

/// What is written, with the physical size of the image's pixels.
fn pages_of(
    output: Output,
    predictor: &Predictor,
    image: &Image,
    prediction: &Prediction,
    options: &OutputOptions,
) -> Result<Vec<Image>, TrainError> {
    let pages = drawn(output, &predictor.meta().classes, image, prediction, options.prob_16)?;
    Ok(pages.into_iter().map(|page| page.with_pixel_size(image.pixel_size().cloned())).collect())
}

/// The images of one output.
pub(super) fn drawn(
    output: Output,
    classes: &ClassTable,
    image: &Image,
    prediction: &Prediction,
    prob_16: bool,
) -> Result<Vec<Image>, TrainError> {
    match output {
        Output::Mask => prediction.mask_pages(classes),
        Output::Prob if prob_16 => prediction.probability_images_16(),
        Output::Prob => prediction.probability_images(),
        Output::Uncertainty => Ok(prediction.uncertainty_image()?.into_iter().collect()),
        // Written by their own code: they are more than images.
        Output::Instances => Ok(Vec::new()),
        Output::Palette => {
            let Prediction { labels, width, height, .. } = prediction;
            Ok(vec![classes.to_rgb(labels, *width, *height)?])
        }
        Output::Overlay => Ok(vec![overlay(image, &prediction.labels, None)?]),
    }
}
