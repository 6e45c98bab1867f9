//! [`Loader`]: batches of a dataset, epoch by epoch, prepared by its own threads while the model computes.
//!
//! Takes a dataset, the indices to use and a [`LoaderConfig`]; yields [`Batch`]es. The order and every draw derive from
//! (seed, epoch, position), so that the batches are the same at any number of threads, and an epoch can be entered in its middle.

mod budget;
mod shared;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

pub(crate) use self::budget::{Budget, Room};
use self::shared::{Draw, Shared, check_equal_sizes, places, shares};
use crate::augment::{AugmentConfig, Augmenter};
use crate::batch::Batch;
use crate::dataset::Dataset;
use crate::random::{Purpose, rng};
use crate::sampler::{LabelBook, Sampler};
use crate::weight_map::WeightMapConfig;
use crate::{DataError, Normalization};

/// How batches are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoaderConfig {
    /// Samples per batch; the last batch of an epoch may have fewer.
    pub batch_size: usize,
    /// The seed of order, patches and augmentation.
    pub seed: u64,
    /// Side in pixels of the square patches; `None` for whole images.
    pub patch: Option<usize>,
    /// Pixels on each side beyond a patch that are cut with it: context for a network without padding, which says nothing of them. Beyond
    /// the image its mirror image stands there.
    pub margin: usize,
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
    /// Bytes that decoded images, masks and weight maps may take; those beyond are made at each use.
    pub cache_bytes: usize,
}

impl Default for LoaderConfig {
    /// Whole images, one at a time, in order, raw; 1 GiB of cache.
    fn default() -> Self {
        Self {
            batch_size: 1,
            seed: 0,
            patch: None,
            margin: 0,
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
    /// Batches of an epoch of these samples, without a loader of them.
    ///
    /// # Errors
    /// [`DataError::Config`] where an index is out of range.
    pub fn batches_per_epoch(&self, dataset: &dyn Dataset, indices: &[usize]) -> Result<usize, DataError> {
        let draws = match self.samples_per_epoch {
            Some(draws) => draws,
            None => places(dataset, indices, self)?.len(),
        };
        Ok(draws.div_ceil(self.batch_size.max(1)))
    }

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
        let budget = Budget::new(config.cache_bytes);
        let shared = Shared {
            places: places(dataset.as_ref(), &indices, &config)?,
            dataset,
            indices,
            config,
            augmenter,
            cache,
            budget,
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

    /// Bytes that decoded images, masks and weight maps take now, the maps of labels in place of masks among them; never more than
    /// [`LoaderConfig::cache_bytes`].
    pub fn cached_bytes(&self) -> usize {
        self.shared.budget.taken()
    }

    /// Samples drawn in an epoch: patches, where there are several of an image.
    pub fn samples_per_epoch(&self) -> usize {
        self.shared.config.samples_per_epoch.unwrap_or(self.shared.places.len())
    }

    /// Batches of an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.samples_per_epoch().div_ceil(self.shared.config.batch_size)
    }

    /// Decodes samples into the cache before a batch asks for them, on the loader's threads, until all are there or one has no room.
    ///
    /// # Errors
    /// The first that a sample's decoding gives.
    pub fn preload(&self) -> Result<(), DataError> {
        let (shared, full) = (&self.shared, AtomicBool::new(false));
        self.pool.install(|| {
            (0..shared.indices.len()).into_par_iter().try_for_each(|position| {
                if !full.load(Ordering::Relaxed) {
                    shared.sample(position)?;
                    full.fetch_or(shared.cache[position].get().is_none(), Ordering::Relaxed);
                }
                Ok(())
            })
        })
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
