//! [`Predictor`]: a checkpoint at work. Takes an image as decoded, yields a [`Prediction`]: probabilities and labels.

use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use unet_data::{ClassTable, Image, Pixels};
use unet_kernels::Kernels;
use unet_model::UNetConfig;

use super::tile::{Segmenter, Tiling};
use crate::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointMeta, resolve};
use crate::device::compute_pool;

/// How to predict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PredictOptions {
    /// Threads that compute; 0 for one per core.
    pub threads: usize,
    /// How large images are cut.
    pub tiling: Tiling,
    /// Another threshold than the checkpoint's, for two classes.
    pub threshold: Option<f64>,
}

/// A checkpoint at work.
#[derive(Debug)]
pub struct Predictor {
    path: PathBuf,
    config: UNetConfig,
    meta: CheckpointMeta,
    segmenter: Segmenter,
    pool: ThreadPool,
}

/// What the network says about one image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// A plane (H, W) per class, one after the other; for a single logit one plane, P(class 1).
    pub probabilities: Vec<f32>,
    /// Class index of each pixel: (H, W).
    pub labels: Vec<u8>,
}

impl Predictor {
    /// Opens a checkpoint: a `.safetensors` file, or a run directory, which stands for its best one.
    ///
    /// # Errors
    /// As [`Checkpoint::load`]; an impossible threshold.
    pub fn open(path: &Path, options: PredictOptions) -> Result<Self, TrainError> {
        Self::new(Checkpoint::load(path)?, &resolve(path)?, options)
    }

    /// Puts a checkpoint to work; `path` names it in errors.
    ///
    /// # Errors
    /// An impossible threshold; `UNET_TIER` names a tier that the processor lacks.
    pub fn new(checkpoint: Checkpoint, path: &Path, options: PredictOptions) -> Result<Self, TrainError> {
        let Checkpoint { model, mut meta } = checkpoint;
        if let Some(threshold) = options.threshold {
            meta.threshold = threshold;
        }
        if !(0.0..=1.0).contains(&meta.threshold) {
            return Err(TrainError::config("threshold", meta.threshold, "0 to 1"));
        }
        let pool = compute_pool(options.threads)?;
        let kernels = Kernels::from_env().map_err(unet_model::ModelError::from)?;
        let segmenter = Segmenter::new(kernels, &model, options.tiling)?;
        Ok(Self { path: path.to_owned(), config: model.config().clone(), meta, segmenter, pool })
    }

    /// The checkpoint's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The network.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Classes, normalisation, threshold (the one in use).
    pub fn meta(&self) -> &CheckpointMeta {
        &self.meta
    }

    /// Runs `f` on the threads that this predictor computes on.
    pub(crate) fn install<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        self.pool.install(f)
    }

    /// Segments one image; `path` names it in errors.
    ///
    /// # Errors
    /// It has other channels than the model takes, or is smaller than the network's deepest level needs.
    pub fn predict(&mut self, image: &Image, path: &Path) -> Result<Prediction, TrainError> {
        if image.channels() != self.config.in_channels {
            let (found, expected) = (image.channels(), self.config.in_channels);
            return Err(TrainError::Channels { path: path.to_owned(), found, expected });
        }
        let (h, w) = (image.height(), image.width());
        let least = 1usize << self.config.depth;
        if h < least || w < least {
            return Err(TrainError::TooSmall { path: path.to_owned(), found: (w, h), least });
        }
        let x = self.meta.normalization.apply(image)?;
        let logits = self.pool.install(|| self.segmenter.logits(&x, (h, w)))?;
        let probabilities = probabilities_of(&logits, self.config.out_channels);
        let labels = labels_of(&probabilities, h * w, self.meta.threshold);
        Ok(Prediction { width: w, height: h, probabilities, labels })
    }
}

impl Prediction {
    /// P(class 1), (H, W): the only plane of a single logit, the second of two.
    pub fn of_class_one(&self) -> &[f32] {
        let pixels = self.width * self.height;
        let planes = self.probabilities.len() / pixels.max(1);
        let from = if planes > 1 { pixels } else { 0 };
        &self.probabilities[from..from + pixels]
    }

    /// The mask in the user's own values.
    ///
    /// # Errors
    /// The table has fewer classes than the prediction.
    pub fn mask(&self, classes: &ClassTable) -> Result<Image, TrainError> {
        Ok(classes.to_image(&self.labels, self.width, self.height)?)
    }

    /// The probabilities as 32-bit float images, one per plane.
    ///
    /// # Errors
    /// Never for a prediction of this crate; the planes do not have the image's size.
    pub fn probability_images(&self) -> Result<Vec<Image>, TrainError> {
        let planes = self.probabilities.chunks(self.width * self.height);
        planes.map(|p| Ok(Image::new(self.width, self.height, 1, Pixels::F32(p.to_vec()))?)).collect()
    }
}

/// Logits (pixels, K) to planes of probabilities: the sigmoid of a single logit, else the softmax.
pub(crate) fn probabilities_of(logits: &[f32], k: usize) -> Vec<f32> {
    if k == 1 {
        return logits.iter().map(|&x| (1.0 / (1.0 + (-f64::from(x)).exp())) as f32).collect();
    }
    let pixels = logits.len() / k;
    let mut planes = vec![0.0; logits.len()];
    for (p, x) in logits.chunks_exact(k).enumerate() {
        let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f32 = x.iter().map(|v| (v - max).exp()).sum();
        x.iter().enumerate().for_each(|(c, v)| planes[c * pixels + p] = (v - max).exp() / total);
    }
    planes
}

/// Planes of probabilities to labels: two classes by the threshold on P(class 1), more by the largest (the first of equals).
pub(crate) fn labels_of(planes: &[f32], pixels: usize, threshold: f64) -> Vec<u8> {
    let k = planes.len() / pixels.max(1);
    if k <= 2 {
        let of_one = &planes[planes.len() - pixels..];
        return of_one.iter().map(|&p| u8::from(f64::from(p) >= threshold)).collect();
    }
    (0..pixels)
        .map(|p| {
            (1..k).fold(0, |best, c| if planes[c * pixels + p] > planes[best * pixels + p] { c } else { best }) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_logit_is_a_sigmoid_and_several_are_a_softmax_in_planes() {
        let p = probabilities_of(&[0.0, 200.0, -200.0], 1);
        assert_eq!((p[0], p[1]), (0.5, 1.0));
        assert!(p[2] >= 0.0 && p[2] < 1e-30);
        let p = probabilities_of(&[0.0, 0.0, 3.0, 1e4, -1e4, 0.0], 3);
        assert!((p[0] + p[2] + p[4] - 1.0).abs() < 1e-6);
        assert_eq!((p[1], p[3], p[5]), (1.0, 0.0, 0.0));
    }

    #[test]
    fn the_threshold_decides_between_two_classes_and_the_largest_among_more() {
        assert_eq!(labels_of(&[0.5, 0.49, 0.9], 3, 0.5), [1, 0, 1]);
        assert_eq!(labels_of(&[0.4, 0.2, 0.6, 0.8], 2, 0.7), [0, 1]);
        assert_eq!(labels_of(&[0.2, 0.4, 0.3, 0.4, 0.5, 0.2], 2, 0.5), [2, 0]);
    }
}
