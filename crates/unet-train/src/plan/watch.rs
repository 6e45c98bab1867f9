//! [`Watch`]: what this machine needs for a step and for an image's loading, each timed by itself.
//!
//! A run loads an image once, as long as the cache has room; a few timed steps would load one for almost every patch. So the images of the
//! timed steps are loaded beforehand, as many as the time for timing allows, and what loading costs a run is reckoned from what they took.

use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use unet_data::{DataError, Dataset, Loader, LoaderConfig};
use unet_model::geometry;

use crate::TrainError;
use crate::config::RunConfig;
use crate::device::compute_pool;
use crate::setup;
use crate::step::Learner;

/// Steps that are timed, after one that is not: the least, the most, and in between as many as this share of the budget has room for.
const TIMED: (usize, usize) = (3, 40);
const TIMING: f64 = 0.012;

/// Seconds that this machine takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// For a step, its batch's augmentation included, of images that are loaded already.
    pub(super) step: f64,
    /// For an image to be loaded, where many are, on all cores.
    pub(super) load: f64,
    /// Bytes of an image and its mask in memory.
    pub(super) bytes: f64,
}

/// Times steps of networks of different widths, on the same images.
pub(super) struct Watch<'a> {
    dataset: &'a Arc<dyn Dataset>,
    /// Seconds of steps that suffice.
    enough: f64,
    loaded: Option<Loaded>,
}

/// Images at hand, and what it took to get them.
struct Loaded {
    loader: Loader,
    load: f64,
    bytes: f64,
}

impl<'a> Watch<'a> {
    /// For a run within `budget` seconds.
    pub(super) fn new(dataset: &'a Arc<dyn Dataset>, budget: f64) -> Self {
        Self { dataset, enough: TIMING * budget, loaded: None }
    }

    /// Times steps of this configuration: the median of several, after one that warms up. What concerns the data must be as it was the
    /// first time.
    pub(super) fn pace(&mut self, config: &RunConfig) -> Result<Pace, TrainError> {
        let loaded = match self.loaded.take() {
            Some(loaded) => loaded,
            None => self.load(config)?,
        };
        let kernels = config.train.kernels()?;
        let (channels, classes) = (self.dataset.channels(), self.dataset.classes().len());
        let mut learner = Learner::new(kernels, config, channels, classes, 1 + TIMED.1 as u64)?;
        let pool = compute_pool(config.train.threads)?;
        let (mut times, mut last) = (Vec::new(), Instant::now());
        for (i, batch) in loaded.loader.epoch(0).enumerate() {
            let batch = batch?;
            pool.install(|| learner.step(&batch))?;
            if i > 0 {
                times.push(last.elapsed().as_secs_f64());
            }
            last = Instant::now();
            if times.len() >= TIMED.0 && times.iter().sum::<f64>() >= self.enough {
                break;
            }
        }
        let pace = Pace { step: median(times), load: loaded.load, bytes: loaded.bytes };
        self.loaded = Some(loaded);
        Ok(pace)
    }

    /// A loader whose images are in its cache: as many as there is time for, at least a batch.
    fn load(&self, config: &RunConfig) -> Result<Loaded, TrainError> {
        let split = setup::split(config, self.dataset.as_ref())?;
        let pool = compute_pool(config.train.threads)?;
        let timed = |indices: &[usize]| -> Result<(f64, usize), DataError> {
            let began = Instant::now();
            let bytes = pool.install(|| {
                indices.par_iter().map(|&i| Ok(self.dataset.load(i)?.bytes())).sum::<Result<usize, DataError>>()
            })?;
            Ok((began.elapsed().as_secs_f64() / indices.len() as f64, bytes / indices.len()))
        };
        let first = &split.train[..split.train.len().min(2 * pool.current_num_threads())];
        let (load, bytes) = timed(first)?;
        let (batch, cache) = (config.train.batch_size, config.data.cache_mib.saturating_mul(1 << 20));
        // Once for the normalisation, once for the cache.
        let in_time = (0.5 * self.enough / load.max(1e-6)) as usize;
        let most = in_time.min(cache / bytes.max(1)).min((1 + TIMED.1) * batch);
        let images = &split.train[..most.max(batch).min(split.train.len())];
        let normalization = config.data.normalization.fit(self.dataset.as_ref(), images)?;
        let margin = geometry::margin(&config.network(1, 1));
        let loader = Loader::new(
            Arc::clone(self.dataset),
            images.to_vec(),
            LoaderConfig {
                normalization,
                margin,
                samples_per_epoch: Some((1 + TIMED.1) * batch),
                cache_bytes: usize::MAX,
                ..config.loader()
            },
        )?;
        loader.preload()?;
        Ok(Loaded { loader, load, bytes: bytes as f64 })
    }
}

/// The value in the middle; 0 never, for it divides.
fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).map_or(1e-6, |t| t.max(1e-6))
}
