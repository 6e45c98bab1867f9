//! What a run needs before its first step, found in the configuration and the data: the split, the normalisation, the loader,
//! the learner and the plan.

use std::sync::Arc;

use rayon::ThreadPool;
use unet_data::{Dataset, Loader, LoaderConfig, Normalization, Split};
use unet_kernels::Kernels;
use unet_model::geometry;

use crate::TrainError;
use crate::config::RunConfig;
use crate::device::compute_pool;
use crate::fingerprint::fingerprint;
use crate::hooks::Hooks;
use crate::memory::{self, ImageFacts};
use crate::observe::RunPlan;
use crate::selection::Measure;
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
        let split = split(config, dataset.as_ref())?;
        let normalization = match normalization {
            Some(known) => known,
            None => config.data.normalization.fit(dataset.as_ref(), &split.train)?,
        };
        let margin = geometry::margin(&config.network(1, 1));
        let loader_config = LoaderConfig { normalization: normalization.clone(), margin, ..config.loader() };
        let loader = Arc::new(Loader::new(Arc::clone(dataset), split.train.clone(), loader_config)?);
        Ok(Self { split, normalization, loader })
    }
}

/// Which images train and which validate, if the configuration goes with the data.
pub(crate) fn split(config: &RunConfig, dataset: &dyn Dataset) -> Result<Split, TrainError> {
    if config.data.multi_label != dataset.classes().is_layered() {
        let expected = format!("{}, as the masks of {} are", dataset.classes().is_layered(), dataset.name());
        return Err(TrainError::config("data.multi_label", config.data.multi_label, expected));
    }
    config.predict.check_classes(dataset.classes().len())?;
    let split = config.data.val.split_of(dataset)?;
    check_sizes(config, dataset, &split)?;
    Ok(split)
}

/// What computes, and the plan of what.
pub(crate) struct Ready {
    pub kernels: Kernels,
    pub pool: ThreadPool,
    pub learner: Learner,
    pub measure: Measure,
    pub data_hash: String,
    pub plan: RunPlan,
}

impl Ready {
    pub(crate) fn new(
        config: &RunConfig,
        dataset: &dyn Dataset,
        setup: &Setup,
        hooks: &mut Hooks,
    ) -> Result<Self, TrainError> {
        let memory = memory::check(config, &ImageFacts::of(dataset, &setup.split)?)?;
        let class_values: Vec<u32> = dataset.classes().classes().iter().map(|c| c.value).collect();
        let own = hooks.metrics.iter().map(|m| (m.name().to_owned(), m.higher_is_better())).collect();
        let measure = Measure::resolve(&config.train.select, !setup.split.val.is_empty(), &class_values, &own)?;
        let kernels = config.train.kernels()?;
        let pool = compute_pool(config.train.threads)?;
        let data_hash = pool.install(|| fingerprint(dataset))?;
        let batches = setup.loader.batches_per_epoch() as u64;
        let steps_per_epoch = batches.div_ceil(config.train.accumulate.max(1) as u64);
        let total = config.train.epochs.saturating_mul(steps_per_epoch);
        let classes = dataset.classes().len();
        let learner = match hooks.loss.take() {
            Some(loss) => Learner::with_loss(kernels, config, dataset.channels(), classes, loss, total)?,
            None => Learner::new(kernels, config, dataset.channels(), classes, total)?,
        };
        let plan = RunPlan {
            data: dataset.name(),
            train_images: setup.split.train.len(),
            val_images: setup.split.val.len(),
            class_values,
            model: learner.model().config().clone(),
            parameters: learner.model().params().trained_len(),
            epochs: config.train.epochs,
            steps_per_epoch,
            memory,
            first_step: 0,
            tier: kernels.tier().to_string(),
            precision: learner.precision(),
            threads: pool.current_num_threads(),
            notes: dataset.notes().into_iter().chain(config.data.val.warning(dataset)).collect(),
        };
        Ok(Self { kernels, pool, learner, measure, data_hash, plan })
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
