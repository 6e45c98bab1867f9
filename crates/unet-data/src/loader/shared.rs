//! What the loader's threads share, and how they make a batch: sample from the cache or the disk, labels as they stood, one draw of geometry
//! for image, labels and weights.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use super::{Budget, LoaderConfig, Room};
use crate::augment::{Augmenter, Place, Source};
use crate::batch::{Batch, Patch};
use crate::dataset::Dataset;
use crate::random::{Purpose, rng};
use crate::sampler::{KeptWeights, LabelBook, LabelSnapshot, Replaced, Sampler};
use crate::weight_map::WeightMapConfig;
use crate::{DataError, Sample};

/// What the worker threads see.
pub(super) struct Shared {
    pub(super) dataset: Arc<dyn Dataset>,
    pub(super) indices: Vec<usize>,
    pub(super) config: LoaderConfig,
    pub(super) augmenter: Augmenter,
    pub(super) cache: Vec<OnceLock<Arc<Cached>>>,
    pub(super) budget: Budget,
    /// Labels that take the place of masks.
    pub(super) labels: LabelBook,
    /// w_c of each class.
    pub(super) class_weights: Vec<f32>,
    /// All that an epoch can draw.
    pub(super) places: Vec<Draw>,
}

/// A decoded sample, and the weight map made of its mask when it is first needed.
pub(super) struct Cached {
    pub(super) sample: Sample,
    pub(super) weights: OnceLock<Vec<f32>>,
    /// That of both, where they are kept.
    _room: Option<Room>,
}

/// What one draw of an epoch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    /// Position in `indices`.
    pub(super) position: usize,
    /// The grid's place; any where there is no grid.
    pub(super) place: Place,
}

/// Every patch of the grid, or every sample once.
pub(super) fn places(dataset: &dyn Dataset, indices: &[usize], config: &LoaderConfig) -> Result<Vec<Draw>, DataError> {
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
pub(super) fn shares(dataset: &dyn Dataset) -> Vec<f64> {
    let classes = dataset.classes();
    let alike = 1.0 / classes.len().max(1) as f64;
    classes.classes().iter().map(|c| c.share.unwrap_or(alike)).collect()
}

impl Shared {
    pub(super) fn batch(
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
        let weights = self.config.weight_map.map(|map| match replaced {
            Some(replaced) => self.replaced_weights(map, replaced),
            None => Cow::Borrowed(cached.weights.get_or_init(|| map.map(mask, &self.class_weights)).as_slice()),
        });
        let mut rng = rng(self.config.seed, epoch, number as u64, Purpose::Augment);
        let place = match self.config.sampler.centre(Some(mask), index, &mut rng) {
            Some(pixel) => Place::Holding(pixel),
            None => draw.place,
        };
        let source = Source { image: &sample.image, labels: Some(mask), weights: weights.as_deref() };
        let mut drawn = self.augmenter.draw_at(source, self.config.patch, (place, self.config.margin), &mut rng)?;
        let c = sample.image.channels();
        self.config.normalization.apply_to(&mut drawn.image, c, sample.image.max_value())?;
        let (h, w, labels, weights) = (drawn.height, drawn.width, drawn.labels.unwrap_or_default(), drawn.weights);
        Ok(Patch { h, w, c, image: drawn.image, labels, weights, id: sample.id.clone() })
    }

    /// The decoded sample, from the cache where it fits.
    pub(super) fn sample(&self, position: usize) -> Result<Arc<Cached>, DataError> {
        if let Some(sample) = self.cache[position].get() {
            return Ok(Arc::clone(sample));
        }
        let sample = self.dataset.load(self.indices[position])?;
        let map = self.config.weight_map.map_or(0, |_| sample.image.width() * sample.image.height() * size_of::<f32>());
        let bytes = sample.bytes() + map;
        let room = self.budget.room_for(bytes);
        let fits = room.is_some();
        let sample = Arc::new(Cached { sample, weights: OnceLock::new(), _room: room });
        if fits {
            // Where another thread was faster with the same sample, this one is dropped after its use, and its room with it.
            let _ = self.cache[position].set(Arc::clone(&sample));
        }
        Ok(sample)
    }

    /// The weight map of labels in place of a mask: made once where there is room for it, else at each use.
    fn replaced_weights<'a>(&self, map: WeightMapConfig, replaced: &'a Replaced) -> Cow<'a, [f32]> {
        let Replaced { labels, weights } = replaced;
        let make = || map.map(labels, &self.class_weights);
        if let Some(kept) = weights.get() {
            return Cow::Borrowed(kept.map.as_slice());
        }
        match self.budget.room_for(labels.labels.len() * size_of::<f32>()) {
            Some(room) => {
                Cow::Borrowed(weights.get_or_init(|| KeptWeights { map: make(), _room: room }).map.as_slice())
            }
            None => Cow::Owned(make()),
        }
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

pub(super) fn check_equal_sizes(dataset: &dyn Dataset, indices: &[usize]) -> Result<(), DataError> {
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
