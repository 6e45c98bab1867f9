//! The validation images of a run, scored with its best checkpoint for the report: counts, the precision-recall curve, and the best and
//! the worst of them as pictures.

use std::path::Path;

use anyhow::{Context, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use unet_data::{Dataset, IGNORE, Image, Pixels};
use unet_train::metric::{Confusion, Scores};
use unet_train::predict::overlay;
use unet_train::{PredictOptions, Predictor, RunConfig};

use crate::progress::Counter;
use crate::terminal::Terminal;

/// Pictures kept from each end.
const KEPT: usize = 3;
/// Pixels of a picture's longer side, at most; larger ones are thinned out.
const LONGEST: usize = 640;
/// Thresholds of the curve.
pub const THRESHOLDS: usize = 100;

/// An image as a picture.
pub struct Example {
    pub id: String,
    pub dice: f64,
    /// PNG: the prediction over the image, wrong pixels in red.
    pub png: Vec<u8>,
}

/// What the best checkpoint makes of the validation images.
pub struct Scored {
    pub counts: Confusion,
    pub class_names: Vec<String>,
    /// Recall and precision of class 1 at thresholds from high to low, for two classes.
    pub curve: Vec<(f64, f64)>,
    /// Ascending by Dice.
    pub examples: Vec<Example>,
}

/// True and predicted pixels of class 1 by probability.
#[derive(Default)]
struct ByProbability {
    of_class: Vec<u64>,
    others: Vec<u64>,
}

impl Scored {
    /// Scores them; none where nothing was held out.
    pub fn of(
        run: &Path,
        config: &RunConfig,
        data: &dyn Dataset,
        options: PredictOptions,
        terminal: &Terminal,
    ) -> Result<Option<Self>> {
        let val = config.data.val.split_of(data)?.val;
        if val.is_empty() {
            return Ok(None);
        }
        let mut predictor = Predictor::open(run, options)?;
        let classes = predictor.meta().classes.clone();
        let mut scored = Self {
            counts: Confusion::of(&classes),
            class_names: classes.classes().iter().map(|c| c.name.clone()).collect(),
            curve: Vec::new(),
            examples: Vec::new(),
        };
        let two = classes.len() == 2 && !classes.is_layered();
        let mut by = ByProbability { of_class: vec![0; THRESHOLDS + 1], others: vec![0; THRESHOLDS + 1] };
        let mut counter = Counter::new(terminal, "report", "scored", val.len());
        for index in val {
            let sample = data.load(index)?;
            let Some(truth) = &sample.mask else { continue };
            let prediction = predictor.predict(&sample.image, &data.path(index))?;
            let mut counts = Confusion::of(&classes);
            counts.add(&prediction.labels, &truth.labels);
            scored.counts.merge(&counts);
            if two {
                by.add(prediction.of_class_one(), &truth.labels);
            }
            let dice = Scores::of(&counts).mean_dice.unwrap_or(f64::NAN);
            let picture = overlay(&sample.image, &prediction.labels, Some(&truth.labels))?;
            scored.keep(Example { id: sample.id.clone(), dice, png: png(&picture)? });
            counter.tick(&sample.id);
        }
        if two {
            scored.curve = by.curve();
        }
        Ok(Some(scored))
    }

    /// Keeps an example in its order, and of too many those at the ends.
    fn keep(&mut self, example: Example) {
        let at = self.examples.partition_point(|e| e.dice.total_cmp(&example.dice).is_lt());
        self.examples.insert(at, example);
        if self.examples.len() > 2 * KEPT {
            self.examples.remove(KEPT);
        }
    }
}

impl ByProbability {
    fn add(&mut self, probabilities: &[f32], truth: &[u8]) {
        for (p, label) in probabilities.iter().zip(truth).filter(|(_, label)| **label != IGNORE) {
            let at = ((f64::from(*p) * THRESHOLDS as f64) as usize).min(THRESHOLDS);
            let counts = if *label == 1 { &mut self.of_class } else { &mut self.others };
            counts[at] += 1;
        }
    }

    fn curve(&self) -> Vec<(f64, f64)> {
        let actual: u64 = self.of_class.iter().sum();
        let (mut hit, mut wrong) = (0, 0);
        let mut points = Vec::new();
        for (h, w) in self.of_class.iter().zip(&self.others).rev() {
            (hit, wrong) = (hit + h, wrong + w);
            if actual > 0 && hit + wrong > 0 {
                points.push((hit as f64 / actual as f64, hit as f64 / (hit + wrong) as f64));
            }
        }
        points
    }
}

/// An 8-bit RGB image as PNG, every n-th pixel of one that is too large.
fn png(picture: &Image) -> Result<Vec<u8>> {
    let Pixels::U8(rgb) = picture.pixels() else { anyhow::bail!("an overlay has 8 bits") };
    let step = picture.width().max(picture.height()).div_ceil(LONGEST).max(1);
    let (w, h) = (picture.width().div_ceil(step), picture.height().div_ceil(step));
    let row = |y: usize| (0..w).flat_map(move |x| (0..3).map(move |c| (y * step * picture.width() + x * step) * 3 + c));
    let thinned: Vec<u8> = (0..h).flat_map(row).map(|i| rgb[i]).collect();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&thinned, u32::try_from(w)?, u32::try_from(h)?, ExtendedColorType::Rgb8)
        .context("cannot encode an overlay")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_falls_from_few_sure_pixels_to_all_of_them() {
        let mut by = ByProbability { of_class: vec![0; THRESHOLDS + 1], others: vec![0; THRESHOLDS + 1] };
        by.add(&[1.0, 0.9, 0.2, 0.1, 0.95], &[1, 0, 1, 0, IGNORE]);
        let curve = by.curve();
        assert_eq!(curve.first(), Some(&(0.5, 1.0)));
        assert_eq!(curve.last(), Some(&(1.0, 0.5)));
        assert!(curve.windows(2).all(|w| w[0].0 <= w[1].0), "{curve:?}");
    }

    #[test]
    fn of_many_examples_the_ends_are_kept() {
        let mut scored = Scored { counts: Confusion::new(2), class_names: vec![], curve: vec![], examples: vec![] };
        for dice in [0.5, 0.9, 0.1, 0.7, 0.3, 0.8, 0.2, 0.6, 0.4] {
            scored.keep(Example { id: dice.to_string(), dice, png: vec![] });
        }
        let kept: Vec<f64> = scored.examples.iter().map(|e| e.dice).collect();
        assert_eq!((kept.len(), kept[0], kept[5]), (6, 0.1, 0.9));
        assert!(kept.is_sorted());
    }
}
