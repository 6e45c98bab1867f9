//! [`contact_sheet`]: patches as training would see them, each beside its mask in the classes' colours, as one picture to look at.

use std::sync::Arc;

use crate::{Batch, ClassTable, DataError, Dataset, IGNORE, Image, Loader, LoaderConfig, Normalization, Pixels};

/// Gap between pictures, in pixels.
const GAP: usize = 4;
/// Pairs beside each other.
const COLUMNS: usize = 4;
/// Longest side of a picture.
const SIDE: usize = 192;
/// Colour of the paper.
const PAPER: u8 = 32;
/// How much of a class's colour lies over the image.
const TINT: f32 = 0.45;

/// `count` patches of the first epoch of a loader with this configuration, in rows of four: each image, then the image under its mask.
///
/// Values are stretched between the least and the largest of each patch; several channels show the first three, or the first alone.
///
/// # Errors
/// What loading gives.
pub fn contact_sheet(
    dataset: &Arc<dyn Dataset>,
    indices: Vec<usize>,
    config: LoaderConfig,
    count: usize,
) -> Result<Image, DataError> {
    let config = LoaderConfig {
        batch_size: 1,
        samples_per_epoch: Some(count.max(1)),
        normalization: Normalization::Raw,
        ..config
    };
    let loader = Loader::new(Arc::clone(dataset), indices, config)?;
    let pictures: Vec<Picture> =
        loader.epoch(0).map(|batch| Ok(Picture::of(&batch?, dataset.classes()))).collect::<Result<_, DataError>>()?;
    let (cell_w, cell_h) = pictures.iter().fold((0, 0), |(w, h), p| (p.width.max(w), p.height.max(h)));
    let (columns, rows) = (COLUMNS.min(pictures.len()), pictures.len().div_ceil(COLUMNS));
    let (width, height) = (columns * (2 * cell_w + 3 * GAP) + GAP, rows * (cell_h + 2 * GAP) + GAP);
    let mut sheet = vec![PAPER; width * height * 3];
    for (i, picture) in pictures.iter().enumerate() {
        let x = i % COLUMNS * (2 * cell_w + 3 * GAP) + GAP;
        let y = i / COLUMNS * (cell_h + 2 * GAP) + GAP;
        for (k, rgb) in [&picture.plain, &picture.masked].into_iter().enumerate() {
            for row in 0..picture.height {
                let to = ((y + row) * width + x + k * (cell_w + GAP)) * 3;
                let from = row * picture.width * 3;
                sheet[to..to + picture.width * 3].copy_from_slice(&rgb[from..from + picture.width * 3]);
            }
        }
    }
    Image::new(width, height, 3, Pixels::U8(sheet))
}

/// One patch, small enough, without and with its mask.
struct Picture {
    width: usize,
    height: usize,
    plain: Vec<u8>,
    masked: Vec<u8>,
}

impl Picture {
    fn of(batch: &Batch, classes: &ClassTable) -> Self {
        let step = batch.w.max(batch.h).div_ceil(SIDE).max(1);
        let (width, height) = (batch.w.div_ceil(step), batch.h.div_ceil(step));
        let (low, high) = batch.images.iter().fold((f32::MAX, f32::MIN), |(a, b), &v| (a.min(v), b.max(v)));
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let (mut plain, mut masked) = (Vec::new(), Vec::new());
        for y in (0..batch.h).step_by(step) {
            for x in (0..batch.w).step_by(step) {
                let at = y * batch.w + x;
                let pixel = &batch.images[at * batch.c..(at + 1) * batch.c];
                let rgb = [0, 1, 2].map(|k| (pixel[if batch.c >= 3 { k } else { 0 }] - low) * scale);
                plain.extend(rgb.map(|v| v as u8));
                let colour = match batch.labels[at] {
                    IGNORE => [255, 0, 255],
                    0 => [0, 0, 0],
                    label => classes.colour_of(usize::from(label)),
                };
                masked.extend([0, 1, 2].map(|k| (rgb[k] + TINT * (f32::from(colour[k]) - rgb[k])) as u8));
            }
        }
        Self { width, height, plain, masked }
    }
}
