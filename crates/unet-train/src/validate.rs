//! Validation during a run: every held-out image whole, its loss and its counts; overlays of the first few.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::ThreadPool;
use unet_data::{DataError, Dataset, Normalization, codec};
use unet_kernels::Kernels;

use crate::TrainError;
use crate::hooks::{Metric, Scored};
use crate::loss::LossSum;
use crate::metric::{Confusion, IsbiCounts, IsbiSlice, Proposal, ScoreError, Scores, isbi_report};
use crate::objects::Grid;
use crate::observe::{Event, ValidationRecord};
use crate::predict::{Segmenter, Tiling, labels_of, overlay, probabilities_of};
use crate::selection::Measure;
use crate::step::{Learner, non_finite};
use crate::threshold::ThresholdCounts;

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
    /// By what epochs are compared.
    pub measure: &'a Measure,
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
    let mut segmenter = Segmenter::new(job.kernels, learner.precision(), learner.result(), Tiling::default())?;
    let layered = job.dataset.classes().is_layered();
    let two = job.dataset.classes().len() == 2 && !layered;
    let mut counts = Confusion::of(job.dataset.classes());
    let (mut thresholds, mut challenge) = (ThresholdCounts::new(), Vec::new());
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
        drop(x);
        loss.add(job.pool.install(|| learner.loss_of(&logits, &truth.labels, (1, size.0, size.1)))?);
        if !loss.mean().is_finite() {
            let x = job.normalization.apply(&sample.image)?;
            let (step, learner, segmenter) = (learner.steps(), &mut *learner, &mut segmenter);
            let layer = job.pool.install(move || first_non_finite(learner, segmenter, &x, size))?;
            return Err(non_finite("validation loss", loss.mean(), step, &[sample.id], layer));
        }
        let k = learner.model().config().out_channels;
        let probabilities = probabilities_of(&logits, k, layered);
        let labels = labels_of(&probabilities, truth.labels.len(), 0.5, layered);
        counts.add(&labels, &truth.labels);
        if two {
            let of_one = &probabilities[probabilities.len() - labels.len()..];
            thresholds.add(of_one, &truth.labels);
            if job.measure.is_of_challenge() {
                let grid = Grid::new(size.1, size.0);
                let counted = job.pool.install(|| challenge_counts(grid, of_one, &truth.labels));
                challenge.push(counted.map_err(|e| TrainError::score(&job.dataset.path(index), e))?);
            }
        }
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
    let mut metrics: BTreeMap<String, f64> =
        means.map(|(m, (sum, n))| (m.name().to_owned(), sum / f64::from(n))).filter(|(_, v)| v.is_finite()).collect();
    let mut threshold = thresholds.best(|scores| job.measure.score_by_threshold(scores)).filter(|_| two);
    // Without a cell in any truth there is nothing to score, and the epoch has no value.
    if let Ok(report) = isbi_report(&challenge) {
        let scores = report.scores;
        metrics.extend([("v_rand".to_owned(), scores.v_rand), ("v_info".to_owned(), scores.v_info)]);
        threshold = job.measure.challenge_threshold(&scores).or(threshold);
    }
    let (images, loss, scores) = (job.indices.len(), loss.mean(), Scores::of(&counts));
    Ok(Some(ValidationRecord { images, loss, scores, threshold, metrics }))
}

/// Where a value that is no finite number comes from: a weight, or else the first layer that makes one of the image.
fn first_non_finite(
    learner: &Learner,
    segmenter: &mut Segmenter,
    x: &[f32],
    size: (usize, usize),
) -> Result<Option<String>, TrainError> {
    match learner.first_bad_weight()? {
        Some((weight, _)) => Ok(Some(weight)),
        None => Ok(segmenter.first_non_finite(x, size)?),
    }
}

/// What an image adds to the challenge's scores; where the truth says nothing, both are background.
fn challenge_counts(grid: Grid, of_one: &[f32], truth: &[u8]) -> Result<IsbiCounts, ScoreError> {
    let cell: Vec<u8> = truth.iter().map(|&class| u8::from(class == 1)).collect();
    let probability: Vec<f32> = of_one.iter().zip(truth).map(|(&p, &class)| if class < 2 { p } else { 0.0 }).collect();
    IsbiCounts::of(&IsbiSlice { grid, truth: &cell, proposal: Proposal::Probability(&probability) })
}

/// An image's name without what file systems refuse.
fn file_name(id: &str) -> String {
    id.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}
