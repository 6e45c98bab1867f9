//! [`Loader`]: batches of a dataset, epoch by epoch, prepared by its own threads while the model computes.
//!
//! Takes a dataset, the indices to use and a [`LoaderConfig`]; yields [`Batch`]es. The order and every draw derive from
//! (seed, epoch, position), so that the batches are the same at any number of threads, and an epoch can be entered in its middle.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::augment::{AugmentConfig, Augmenter, Place, Source};
use crate::batch::{Batch, Patch};
use crate::dataset::Dataset;
use crate::random::{Purpose, rng};
use crate::sampler::{LabelBook, LabelSnapshot, Sampler};
use crate::weight_map::WeightMapConfig;
use crate::{DataError, Normalization, Sample};

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Samples per batch; the last batch of an epoch may have fewer.
    pub batch_size: usize,
    /// The seed of order, patches and augmentation.
    pub seed: u64,
    /// Side in pixels of the square patches; `None` for whole images.
    pub patch: Option<usize>,
    /// Draws per epoch; `None` for each image once. More than there are images: they are gone through again, in a new order.
    pub samples_per_epoch: Option<usize>,
    /// Whether the order is drawn anew in each epoch.
    pub shuffle: bool,
    /// Where patches are cut.
    pub sampler: Sampler,
    /// The weights of pixels in the loss; `None` weighs all alike.
    pub weight_map: Option<WeightMapConfig>,
    /// The augmentation.
    pub augment: AugmentConfig,
    /// The normalisation.
    pub normalization: Normalization,
    /// Worker threads; 0 for as many as there are cores, at most 4.
    pub threads: usize,
    /// Batches prepared ahead; at least 1.
    pub prefetch: usize,
    /// Bytes that decoded images may take; those beyond are decoded at each use.
    pub cache_bytes: usize,
}

impl Default for LoaderConfig {
    /// Whole images, one at a time, in order, raw; 1 GiB of cache.
    fn default() -> Self {
        Self {
            batch_size: 1,
            seed: 0,
            patch: None,
            samples_per_epoch: None,
            shuffle: false,
            sampler: Sampler::Random,
            weight_map: None,
            augment: AugmentConfig::none(),
            normalization: Normalization::Raw,
            threads: 0,
            prefetch: 2,
            cache_bytes: 1 << 30,
        }
    }
}

impl LoaderConfig {
    fn validate(&self) -> Result<(), DataError> {
        let at_least_one = [
            ("batch_size", Some(self.batch_size)),
            ("patch", self.patch),
            ("samples_per_epoch", self.samples_per_epoch),
        ];
        for (setting, value) in at_least_one {
            if value == Some(0) {
                return Err(DataError::config(setting, 0, "at least 1"));
            }
        }
        if let Some(weight_map) = &self.weight_map {
            weight_map.validate()?;
        }
        self.sampler.validate(self.patch)
    }
}

/// Gives a dataset's batches.
pub struct Loader {
    shared: Arc<Shared>,
    pool: ThreadPool,
}

/// What the worker threads see.
struct Shared {
    dataset: Arc<dyn Dataset>,
    indices: Vec<usize>,
    config: LoaderConfig,
    augmenter: Augmenter,
    cache: Vec<OnceLock<Arc<Cached>>>,
    cached_bytes: AtomicUsize,
    /// Labels that take the place of masks.
    labels: LabelBook,
    /// w_c of each class.
    class_weights: Vec<f32>,
    /// All that an epoch can draw.
    places: Vec<Draw>,
}

/// A decoded sample, and the weight map made of its mask when it is first needed.
struct Cached {
    sample: Sample,
    weights: OnceLock<Vec<f32>>,
}

/// What one draw of an epoch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Draw {
    /// Position in `indices`.
    position: usize,
    /// The grid's place; any where there is no grid.
    place: Place,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("dataset", &self.shared.dataset.name())
            .field("config", &self.shared.config)
            .finish()
    }
}

impl Loader {
    /// A loader of the samples `indices` (the training or the validation split) of `dataset`.
    ///
    /// # Errors
    /// [`DataError::Config`] for settings that make no sense, [`DataError::MixedSizes`] for whole images of different sizes in batches
    /// of more than one.
    pub fn new(dataset: Arc<dyn Dataset>, indices: Vec<usize>, config: LoaderConfig) -> Result<Self, DataError> {
        config.validate()?;
        if indices.is_empty() {
            return Err(DataError::config("samples to load", 0, "at least one"));
        }
        for &i in &indices {
            dataset.size(i)?; // an index out of range is an error here, not later in a thread
        }
        if config.patch.is_none() && config.batch_size > 1 {
            check_equal_sizes(dataset.as_ref(), &indices)?;
        }
        let threads = if config.threads > 0 {
            config.threads
        } else {
            std::thread::available_parallelism().map_or(1, usize::from).min(4)
        };
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("unet-loader-{i}"))
            .panic_handler(|_| {}) // the batch's channel closes without an answer, which is DataError::Worker
            .build()
            .map_err(|e| {
                DataError::config(
                    "threads",
                    format!("{threads} ({e})"),
                    "a number of threads that the system can start",
                )
            })?;
        let augmenter = Augmenter::new(config.augment.clone())?;
        let cache = indices.iter().map(|_| OnceLock::new()).collect();
        let class_weights =
            config.weight_map.map(|map| map.class_weights(&shares(dataset.as_ref()))).unwrap_or_default();
        let shared = Shared {
            places: places(dataset.as_ref(), &indices, &config)?,
            dataset,
            indices,
            config,
            augmenter,
            cache,
            cached_bytes: AtomicUsize::new(0),
            labels: LabelBook::default(),
            class_weights,
        };
        Ok(Self { shared: Arc::new(shared), pool })
    }

    /// The configuration.
    pub fn config(&self) -> &LoaderConfig {
        &self.shared.config
    }

    /// The dataset.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.shared.dataset
    }

    /// The labels to draw from, where a caller changes them as training goes; at first the dataset's masks.
    pub fn labels(&self) -> &LabelBook {
        &self.shared.labels
    }

    /// Samples drawn in an epoch: patches, where there are several of an image.
    pub fn samples_per_epoch(&self) -> usize {
        self.shared.config.samples_per_epoch.unwrap_or(self.shared.places.len())
    }

    /// Batches of an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.samples_per_epoch().div_ceil(self.shared.config.batch_size)
    }

    /// The batches of epoch `epoch`.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = Result<Batch, DataError>> + '_ {
        self.epoch_from(epoch, 0)
    }

    /// The batches of epoch `epoch` from batch `first_batch` on: those that [`Loader::epoch`] gives after as many.
    pub fn epoch_from(&self, epoch: u64, first_batch: usize) -> impl Iterator<Item = Result<Batch, DataError>> + '_ {
        Epoch {
            loader: self,
            epoch,
            order: Arc::new(self.order(epoch)),
            next: first_batch.min(self.batches_per_epoch()),
            ahead: VecDeque::new(),
            cancelled: Arc::new(AtomicBool::new(false)),
        }
    }

    /// What each draw of the epoch takes.
    fn order(&self, epoch: u64) -> Vec<Draw> {
        let (n, draws) = (self.shared.places.len(), self.samples_per_epoch());
        let mut order = Vec::with_capacity(draws.next_multiple_of(n));
        for round in 0..draws.div_ceil(n) {
            let mut positions: Vec<usize> = (0..n).collect();
            if self.shared.config.shuffle {
                positions.shuffle(&mut rng(self.shared.config.seed, epoch, round as u64, Purpose::Order));
            }
            order.extend(positions.into_iter().map(|p| self.shared.places[p]));
        }
        order.truncate(draws);
        order
    }
}

/// Every patch of the grid, or every sample once.
fn places(dataset: &dyn Dataset, indices: &[usize], config: &LoaderConfig) -> Result<Vec<Draw>, DataError> {
    let (Sampler::Grid { overlap }, Some(patch)) = (&config.sampler, config.patch) else {
        return Ok((0..indices.len()).map(|position| Draw { position, place: Place::Anywhere }).collect());
    };
    let mut all = Vec::new();
    for (position, &index) in indices.iter().enumerate() {
        let grid = Sampler::grid(dataset.size(index)?, patch, *overlap);
        all.extend(grid.into_iter().map(|origin| Draw { position, place: Place::At(origin) }));
    }
    Ok(all)
}

/// Shares of the classes in all masks; alike where nobody has looked.
fn shares(dataset: &dyn Dataset) -> Vec<f64> {
    let classes = dataset.classes();
    let alike = 1.0 / classes.len().max(1) as f64;
    classes.classes().iter().map(|c| c.share.unwrap_or(alike)).collect()
}

/// The batches of one epoch, some of them under way.
struct Epoch<'a> {
    loader: &'a Loader,
    epoch: u64,
    order: Arc<Vec<Draw>>,
    /// The next batch to be started.
    next: usize,
    /// Batches started and not yet handed out, in order.
    ahead: VecDeque<(usize, Receiver<Result<Batch, DataError>>)>,
    cancelled: Arc<AtomicBool>,
}

impl Epoch<'_> {
    fn start_next(&mut self) {
        let (batch, size) = (self.next, self.loader.shared.config.batch_size);
        let draws = batch * size..((batch + 1) * size).min(self.order.len());
        let (shared, order, epoch) = (Arc::clone(&self.loader.shared), Arc::clone(&self.order), self.epoch);
        let labels = shared.labels.snapshot(); // as they stand at this call, whenever a thread comes to it
        let cancelled = Arc::clone(&self.cancelled);
        let (sender, receiver) = sync_channel(1);
        self.loader.pool.spawn_fifo(move || {
            if !cancelled.load(Ordering::Relaxed) {
                // A closed channel means that the epoch was given up: nobody waits for this batch.
                let _ = sender.send(shared.batch(epoch, draws, &order, &labels));
            }
        });
        self.ahead.push_back((batch, receiver));
        self.next += 1;
    }
}

impl Iterator for Epoch<'_> {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let window = self.loader.shared.config.prefetch.max(1);
        while self.ahead.len() < window && self.next < self.loader.batches_per_epoch() {
            self.start_next();
        }
        let (batch, receiver) = self.ahead.pop_front()?;
        let result = receiver.recv().unwrap_or(Err(DataError::Worker { batch }));
        if self.next < self.loader.batches_per_epoch() {
            self.start_next(); // prepared while the caller works on this one
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.ahead.len() + self.loader.batches_per_epoch() - self.next;
        (left, Some(left))
    }
}

impl Drop for Epoch<'_> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn batch(
        &self,
        epoch: u64,
        draws: std::ops::Range<usize>,
        order: &[Draw],
        labels: &LabelSnapshot,
    ) -> Result<Batch, DataError> {
        let positions: Vec<usize> = order[draws.clone()].iter().map(|d| d.position).collect();
        let patches: Vec<Patch> = draws
            .into_par_iter()
            .map(|draw| self.patch(epoch, draw, order[draw], labels))
            .collect::<Vec<_>>()
            .into_iter()
            .collect::<Result<_, _>>()?;
        let batch = Batch::stack(patches).ok_or_else(|| self.mixed_sizes(&positions))?;
        Ok(Batch { label_version: labels.version(), ..batch })
    }

    /// Draw number `number` of the epoch: a sample, cut, augmented, normalised.
    fn patch(&self, epoch: u64, number: usize, draw: Draw, labels: &LabelSnapshot) -> Result<Patch, DataError> {
        let cached = self.sample(draw.position)?;
        let (sample, index) = (&cached.sample, self.indices[draw.position]);
        let replaced = labels.get(index);
        let mask = replaced.map(|r| &r.labels).or(sample.mask.as_ref());
        let mask = mask.ok_or_else(|| DataError::NoMask { path: self.dataset.path(index) })?;
        let weights = self.config.weight_map.map(|map| {
            let made = replaced.map_or(&cached.weights, |r| &r.weights);
            made.get_or_init(|| map.map(mask, &self.class_weights)).as_slice()
        });
        let mut rng = rng(self.config.seed, epoch, number as u64, Purpose::Augment);
        let place = match self.config.sampler.centre(Some(mask), index, &mut rng) {
            Some(pixel) => Place::Holding(pixel),
            None => draw.place,
        };
        let source = Source { image: &sample.image, labels: Some(mask), weights };
        let mut drawn = self.augmenter.draw_at(source, self.config.patch, place, &mut rng)?;
        let c = sample.image.channels();
        self.config.normalization.apply_to(&mut drawn.image, c, sample.image.max_value())?;
        let (h, w, labels, weights) = (drawn.height, drawn.width, drawn.labels.unwrap_or_default(), drawn.weights);
        Ok(Patch { h, w, c, image: drawn.image, labels, weights, id: sample.id.clone() })
    }

    /// The decoded sample, from the cache where it fits.
    fn sample(&self, position: usize) -> Result<Arc<Cached>, DataError> {
        if let Some(sample) = self.cache[position].get() {
            return Ok(Arc::clone(sample));
        }
        let sample = self.dataset.load(self.indices[position])?;
        let map = self.config.weight_map.map_or(0, |_| sample.image.width() * sample.image.height() * size_of::<f32>());
        let bytes = sample.bytes() + map;
        let sample = Arc::new(Cached { sample, weights: OnceLock::new() });
        let fits = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.config.cache_bytes);
        let reserved = self.cached_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if reserved && self.cache[position].set(Arc::clone(&sample)).is_err() {
            self.cached_bytes.fetch_sub(bytes, Ordering::Relaxed); // another thread was faster with the same sample
        }
        Ok(sample)
    }

    fn mixed_sizes(&self, positions: &[usize]) -> DataError {
        let indices: Vec<usize> = positions.iter().map(|&p| self.indices[p]).collect();
        match check_equal_sizes(self.dataset.as_ref(), &indices) {
            Err(e) => e,
            Ok(()) => {
                DataError::config("images of one batch", "different channels", "the same number of channels in each")
            }
        }
    }
}

fn check_equal_sizes(dataset: &dyn Dataset, indices: &[usize]) -> Result<(), DataError> {
    let Some((&first, rest)) = indices.split_first() else {
        return Ok(());
    };
    let expected = dataset.size(first)?;
    for &i in rest {
        let found = dataset.size(i)?;
        if found != expected {
            return Err(DataError::MixedSizes { path: dataset.path(i), found, first: dataset.path(first), expected });
        }
    }
    Ok(())
}
