//! Validation during a run: every held-out image whole, its loss and its counts; overlays of the first few.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPool;
use unet_data::{DataError, Dataset, Normalization, codec};
use unet_kernels::Kernels;

use crate::TrainError;
use crate::hooks::{Metric, Scored};
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
    /// A caller's own metrics.
    pub metrics: &'a mut [Metric],
}

/// Scores the learner's result; `None` when asked to stop on the way.
pub(crate) fn validate(
    job: &mut Validation<'_>,
    learner: &mut Learner,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Event<'_>) -> Result<(), TrainError>,
) -> Result<Option<ValidationRecord>, TrainError> {
    learner.settle()?;
    let mut segmenter = Segmenter::new(job.kernels, learner.result(), Tiling::default())?;
    let mut counts = Confusion::new(job.dataset.classes().len());
    let mut loss = LossSum::default();
    let mut own: Vec<(f64, u32)> = vec![(0.0, 0); job.metrics.len()];
    for (done, &index) in job.indices.iter().enumerate() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let sample = job.dataset.load(index)?;
        let truth = sample.mask.ok_or_else(|| DataError::NoMask { path: job.dataset.path(index) })?;
        let x = job.normalization.apply(&sample.image)?;
        let size = (sample.image.height(), sample.image.width());
        let logits = job.pool.install(|| segmenter.logits(&x, size))?;
        loss.add(learner.loss_of(&logits, &truth.labels, (1, size.0, size.1))?);
        check_finite("validation loss", loss.mean(), learner.steps(), std::slice::from_ref(&sample.id))?;
        let k = learner.model().config().out_channels;
        let probabilities = probabilities_of(&logits, k);
        let labels = labels_of(&probabilities, truth.labels.len(), 0.5);
        counts.add(&labels, &truth.labels);
        let scored = Scored {
            id: &sample.id,
            width: size.1,
            height: size.0,
            probabilities: &probabilities,
            labels: &labels,
            truth: &truth.labels,
        };
        for (metric, sum) in job.metrics.iter_mut().zip(&mut own) {
            if let Some(value) = metric.of(&scored) {
                *sum = (sum.0 + value, sum.1 + 1);
            }
        }
        if done < job.samples {
            let path = job.samples_dir.join(format!("{}_epoch{:03}.png", file_name(&sample.id), job.epoch));
            let image = overlay(&sample.image, &labels, Some(&truth.labels))?;
            codec::write_png(&path, &image)?;
            tell(&Event::Sample { path: &path, id: &sample.id, step: learner.steps(), image: &image })?;
        }
        tell(&Event::Validating { done: done + 1, total: job.indices.len() })?;
    }
    let means = job.metrics.iter().zip(own).filter(|(_, (_, n))| *n > 0);
    let metrics = means.map(|(m, (sum, n))| (m.name().to_owned(), sum / f64::from(n))).collect();
    Ok(Some(ValidationRecord { images: job.indices.len(), loss: loss.mean(), scores: Scores::of(&counts), metrics }))
}

/// An image's name without what file systems refuse.
fn file_name(id: &str) -> String {
    id.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
