//! Validation during a run: every held-out image whole, its loss and its counts; overlays of the first few.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPool;
use unet_data::{DataError, Dataset, Image, Normalization, codec};
use unet_kernels::Kernels;

use crate::TrainError;
use crate::loss::LossSum;
use crate::metric::{Confusion, Scores};
use crate::observe::{Event, ValidationRecord};
use crate::predict::{Segmenter, Tiling, labels_of, overlay, probabilities_of};
use crate::step::{Learner, check_finite};

/// What to validate on, and where overlays go.
pub(crate) struct Validation<'a> {
    pub dataset: &'a dyn Dataset,
    pub indices: &'a [usize],
    pub normalization: &'a Normalization,
    pub samples: usize,
    pub samples_dir: &'a Path,
    /// From 1.
    pub epoch: u64,
    pub pool: &'a ThreadPool,
    pub kernels: Kernels,
}

/// Scores the learner's result; `None` when asked to stop on the way.
pub(crate) fn validate(
    job: &Validation<'_>,
    learner: &mut Learner,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Event<'_>) -> Result<(), TrainError>,
) -> Result<Option<ValidationRecord>, TrainError> {
    let mut segmenter = Segmenter::new(job.kernels, learner.result(), Tiling::default())?;
    let mut counts = Confusion::new(job.dataset.classes().len());
    let mut loss = LossSum::default();
    for (done, &index) in job.indices.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let sample = job.dataset.load(index)?;
        let truth = sample.mask.ok_or_else(|| DataError::NoMask { path: job.dataset.path(index) })?;
        let x = job.normalization.apply(&sample.image)?;
        let size = (sample.image.height(), sample.image.width());
        let logits = job.pool.install(|| segmenter.logits(&x, size))?;
        loss.add(learner.loss_of(&logits, &truth.labels));
        check_finite("validation loss", loss.mean(), learner.steps(), std::slice::from_ref(&sample.id))?;
        let k = learner.model().config().out_channels;
        let labels = labels_of(&probabilities_of(&logits, k), truth.labels.len(), 0.5);
        counts.add(&labels, &truth.labels);
        if done < job.samples {
            let path = job.samples_dir.join(format!("{}_epoch{:03}.png", file_name(&sample.id), job.epoch));
            write_sample(&path, &sample.image, &labels, &truth.labels)?;
            tell(&Event::Sample { path: &path })?;
        }
        tell(&Event::Validating { done: done + 1, total: job.indices.len() })?;
    }
    Ok(Some(ValidationRecord { images: job.indices.len(), loss: loss.mean(), scores: Scores::of(&counts) }))
}

fn write_sample(path: &Path, image: &Image, labels: &[u8], truth: &[u8]) -> Result<(), TrainError> {
    Ok(codec::write_png(path, &overlay(image, labels, Some(truth))?)?)
}

/// An image's name without what file systems refuse.
fn file_name(id: &str) -> String {
    id.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
