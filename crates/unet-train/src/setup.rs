//! What a run needs before its first step, found in the configuration and the data: the split, the normalisation, the loader,
//! the learner and the plan.

use std::sync::Arc;

use rayon::ThreadPool;
use unet_data::{Dataset, Loader, LoaderConfig, Normalization, Split};
use unet_kernels::Kernels;

use crate::TrainError;
use crate::config::RunConfig;
use crate::device::compute_pool;
use crate::observe::RunPlan;
use crate::step::Learner;

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
        let split = config.data.val.split_of(dataset.as_ref())?;
        let normalization = match normalization {
            Some(known) => known,
            None => config.data.normalization.fit(dataset.as_ref(), &split.train)?,
        };
        check_sizes(config, dataset.as_ref(), &split)?;
        let loader_config = LoaderConfig { normalization: normalization.clone(), ..config.loader() };
        let loader = Arc::new(Loader::new(Arc::clone(dataset), split.train.clone(), loader_config)?);
        Ok(Self { split, normalization, loader })
    }
}

/// What computes, and the plan of what.
pub(crate) struct Ready {
    pub kernels: Kernels,
    pub pool: ThreadPool,
    pub learner: Learner,
    pub plan: RunPlan,
}

impl Ready {
    pub(crate) fn new(config: &RunConfig, dataset: &dyn Dataset, setup: &Setup) -> Result<Self, TrainError> {
        let kernels = Kernels::from_env().map_err(unet_model::ModelError::from)?;
        let pool = compute_pool(config.train.threads)?;
        let steps_per_epoch = setup.loader.batches_per_epoch() as u64;
        let total = config.train.epochs.saturating_mul(steps_per_epoch);
        let learner = Learner::new(kernels, config, dataset.channels(), dataset.classes().len(), total)?;
        let plan = RunPlan {
            data: dataset.name(),
            train_images: setup.split.train.len(),
            val_images: setup.split.val.len(),
            class_values: dataset.classes().classes().iter().map(|c| c.value).collect(),
            model: learner.model().config().clone(),
            parameters: learner.model().params().trained_len(),
            epochs: config.train.epochs,
            steps_per_epoch,
            first_step: 0,
            tier: kernels.tier().to_string(),
            threads: pool.current_num_threads(),
            notes: dataset.notes().into_iter().chain(config.data.val.warning(dataset)).collect(),
        };
        Ok(Self { kernels, pool, learner, plan })
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
