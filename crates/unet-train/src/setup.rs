//! What a run needs before its first step, found in the configuration and the data: the split, the normalisation, the loader.

use std::sync::Arc;

use unet_data::{Dataset, Loader, LoaderConfig, Normalization, Split};

use crate::TrainError;
use crate::config::{NormalizationKind, RunConfig};

/// Which images train, which validate, and how they reach the network.
pub(crate) struct Setup {
    pub split: Split,
    pub normalization: Normalization,
    pub loader: Arc<Loader>,
}

impl Setup {
    /// `normalization` is the one of a run that is continued; a new run finds it in its training images.
    pub(crate) fn new(
        config: &RunConfig,
        dataset: &Arc<dyn Dataset>,
        normalization: Option<Normalization>,
    ) -> Result<Self, TrainError> {
        let split = config.data.val.split(dataset.len())?;
        let normalization = match (normalization, config.data.normalization) {
            (Some(known), _) => known,
            (None, NormalizationKind::Raw) => Normalization::Raw,
            (None, NormalizationKind::Unit) => Normalization::Unit,
            (None, NormalizationKind::MeanStd) => Normalization::mean_std_of(dataset.as_ref(), &split.train)?,
        };
        check_sizes(config, dataset.as_ref(), &split)?;
        let loader_config = LoaderConfig {
            batch_size: config.train.batch_size,
            seed: config.train.seed,
            patch: (config.data.patch > 0).then_some(config.data.patch),
            samples_per_epoch: (config.data.samples_per_epoch > 0).then_some(config.data.samples_per_epoch),
            shuffle: config.data.shuffle,
            augment: config.augment.clone(),
            normalization: normalization.clone(),
            threads: config.data.threads,
            prefetch: config.data.prefetch,
            cache_bytes: config.data.cache_mib.saturating_mul(1 << 20),
        };
        let loader = Arc::new(Loader::new(Arc::clone(dataset), split.train.clone(), loader_config)?);
        Ok(Self { split, normalization, loader })
    }
}

/// Images below the least size of the network are an error now, not in the middle of an epoch. Patches are padded, whole images are not.
fn check_sizes(config: &RunConfig, dataset: &dyn Dataset, split: &Split) -> Result<(), TrainError> {
    let least = 1usize << config.model.depth;
    let whole = if config.data.patch == 0 { split.train.as_slice() } else { &[] };
    for &i in whole.iter().chain(&split.val) {
        let found = dataset.size(i)?;
        if found.0 < least || found.1 < least {
            return Err(TrainError::TooSmall { path: dataset.path(i), found, least });
        }
    }
    Ok(())
}
