//! [`contact_sheet`]: patches as training would see them, each beside its mask in the classes' colours, as one picture to look at.

use std::sync::Arc;

use crate::{Batch, ClassTable, DataError, Dataset, IGNORE, Image, Loader, LoaderConfig, Normalization, Pixels};

/// Gap between pictures, in pixels.
const GAP: usize = 4;
/// Pairs beside each other.
const COLUMNS: usize = 4;
/// Longest side of a picture; smaller patches are magnified to about it.
const SIDE: usize = 256;
/// Pixels of small patches become squares of this side at most.
const MOST_MAGNIFIED: usize = 4;
/// Colour of the paper.
const PAPER: u8 = 32;
/// How much of a class's colour lies over the image.
const TINT: f32 = 0.45;
/// Share of all values that are black, and as many white: a few hot pixels do not decide what the rest looks like.
const CLIPPED: f64 = 0.002;

/// `count` patches of the first epoch of a loader with this configuration, in rows of four: each image, then the image under its mask.
///
/// All patches share one black and one white, close to their least and largest values, so that changes of brightness show. Large patches are
/// averaged down, small ones magnified; several channels show the first three, or the first alone.
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
        loader.epoch(0).map(|batch| Ok(Picture::of(&batch?))).collect::<Result<_, DataError>>()?;
    let range = range(&pictures);
    let (cell_w, cell_h) = pictures.iter().fold((0, 0), |(w, h), p| (p.width.max(w), p.height.max(h)));
    let (columns, rows) = (COLUMNS.min(pictures.len()), pictures.len().div_ceil(COLUMNS));
    let (width, height) = (columns * (2 * cell_w + 3 * GAP), rows * (cell_h + 2 * GAP));
    let mut sheet = vec![PAPER; width * height * 3];
    for (i, picture) in pictures.iter().enumerate() {
        let x = i % COLUMNS * (2 * cell_w + 3 * GAP) + GAP;
        let y = i / COLUMNS * (cell_h + 2 * GAP) + GAP;
        for (k, rgb) in picture.painted(range, dataset.classes()).into_iter().enumerate() {
            for row in 0..picture.height {
                let to = ((y + row) * width + x + k * (cell_w + GAP)) * 3;
                let from = row * picture.width * 3;
                sheet[to..to + picture.width * 3].copy_from_slice(&rgb[from..from + picture.width * 3]);
            }
        }
    }
    Image::new(width, height, 3, Pixels::U8(sheet))
}

/// The values that become black and white.
fn range(pictures: &[Picture]) -> (f32, f32) {
    let mut values: Vec<f32> = pictures.iter().flat_map(|p| p.pixels.iter().flat_map(|(rgb, _)| *rgb)).collect();
    let clipped = (values.len() as f64 * CLIPPED) as usize;
    let last = values.len() - 1;
    let low = *values.select_nth_unstable_by(clipped, f32::total_cmp).1;
    let high = *values.select_nth_unstable_by(last - clipped, f32::total_cmp).1;
    // Where nearly all pixels are alike, the rest is what there is to see.
    if high > low { (low, high) } else { values.iter().fold((low, high), |(a, b), &v| (a.min(v), b.max(v))) }
}

/// One patch, at the size it is shown in.
struct Picture {
    width: usize,
    height: usize,
    /// Colour and class of each pixel.
    pixels: Vec<([f32; 3], u8)>,
}

impl Picture {
    fn of(batch: &Batch) -> Self {
        let longest = batch.w.max(batch.h).max(1);
        let (step, repeat) = (longest.div_ceil(SIDE).max(1), (SIDE / longest).clamp(1, MOST_MAGNIFIED));
        let (width, height) = (batch.w.div_ceil(step) * repeat, batch.h.div_ceil(step) * repeat);
        let pixel = |i: usize| block(batch, i % width / repeat * step, i / width / repeat * step, step);
        Self { width, height, pixels: (0..width * height).map(pixel).collect() }
    }

    /// 8-bit RGB without and with the mask.
    fn painted(&self, (low, high): (f32, f32), classes: &ClassTable) -> [Vec<u8>; 2] {
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let mut painted = [Vec::with_capacity(self.pixels.len() * 3), Vec::with_capacity(self.pixels.len() * 3)];
        for &(values, label) in &self.pixels {
            let rgb = values.map(|v| ((v - low) * scale).clamp(0.0, 255.0));
            let colour = match label {
                IGNORE => [255, 0, 255],
                0 => [0, 0, 0],
                label => classes.colour_of(usize::from(label)),
            };
            painted[0].extend(rgb.map(|v| v as u8));
            painted[1].extend([0, 1, 2].map(|k| (rgb[k] + TINT * (f32::from(colour[k]) - rgb[k])) as u8));
        }
        painted
    }
}

/// Mean colour of a square of pixels, and the class of its middle.
fn block(batch: &Batch, left: usize, top: usize, side: usize) -> ([f32; 3], u8) {
    let (right, bottom) = ((left + side).min(batch.w), (top + side).min(batch.h));
    let mut sum = [0.0f32; 3];
    for y in top..bottom {
        for x in left..right {
            let at = (y * batch.w + x) * batch.c;
            let value = |k: usize| batch.images[at + if batch.c >= 3 { k } else { 0 }];
            sum.iter_mut().enumerate().for_each(|(k, s)| *s += value(k));
        }
    }
    let pixels = ((right - left) * (bottom - top)) as f32;
    let middle = (top + bottom) / 2 * batch.w + (left + right) / 2;
    (sum.map(|s| s / pixels), batch.labels[middle])
}
