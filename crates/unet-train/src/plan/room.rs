//! [`Room`]: the memory that a run may take, and what is made smaller so that it does.

use std::sync::Arc;

use unet_data::Dataset;

use super::Draft;
use super::rules::Facts;
use crate::TrainError;
use crate::config::RunConfig;
use crate::memory::{self, ImageFacts};

/// A run may take so many times what is estimated.
const SURE: f64 = 1.1;

/// A step towards a smaller run; `false` where there is none left.
type Reduction = fn(&mut RunConfig) -> bool;

/// In the order in which they are taken.
const SMALLER: [Reduction; 6] = [
    |c| halve(&mut c.data.cache_mib, 64),
    |c| halve(&mut c.train.batch_size, 1),
    |c| halve_patch(c, 128),
    |c| halve(&mut c.model.width, 8),
    |c| halve_patch(c, 64),
    |c| halve(&mut c.model.width, 4),
];

fn halve(v: &mut usize, least: usize) -> bool {
    let fits = *v / 2 >= least;
    if fits {
        *v /= 2;
    }
    fits
}

fn halve_patch(c: &mut RunConfig, least: usize) -> bool {
    c.data.patch.is_multiple_of(2 << c.model.depth) && halve(&mut c.data.patch, least)
}

/// The memory that there is for a run on these images.
pub(super) struct Room {
    images: ImageFacts,
    /// Bytes; `None` where the system does not say.
    most: Option<u64>,
    /// Whether they are the user's word.
    asked: bool,
}

impl Room {
    pub(super) fn of(dataset: &Arc<dyn Dataset>, facts: &Facts<'_>, config: &RunConfig) -> Result<Self, TrainError> {
        let split = config.data.val.split_of(dataset.as_ref())?;
        let images = ImageFacts::of(dataset.as_ref(), &split)?;
        let asked = facts.means.memory;
        Ok(Self { images, most: asked.or_else(memory::available), asked: asked.is_some() })
    }

    fn needs(&self, c: &RunConfig) -> Result<u64, TrainError> {
        memory::estimate(c, &self.images).map(|e| e.total())
    }

    /// What it needs and, of that, as much more as the estimate may be off.
    fn at_most(&self, c: &RunConfig) -> Result<u64, TrainError> {
        Ok((SURE * self.needs(c)? as f64) as u64)
    }

    pub(super) fn holds(&self, c: &RunConfig) -> Result<bool, TrainError> {
        Ok(self.at_most(c)? <= self.most.unwrap_or(u64::MAX))
    }

    /// Makes the run smaller until it fits: fewer patches, smaller ones, a narrower network; whether anything had to be.
    pub(super) fn reduce<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
        &self,
        draft: &mut Draft<G>,
    ) -> Result<bool, E> {
        let mut smaller = false;
        for way in SMALLER {
            while !self.holds(&draft.config)? {
                let mut wanted = draft.config.clone();
                if !way(&mut wanted) {
                    break;
                }
                let settled = (draft.given)(wanted)?;
                if settled == draft.config {
                    break;
                }
                (draft.config, smaller) = (settled, true);
            }
        }
        if self.asked && !self.holds(&draft.config)? {
            let (needed, available) = (self.at_most(&draft.config)?, self.most.unwrap_or(u64::MAX));
            let advice =
                "give it more with --memory, or settle less: --batch-size, --patch and --width are free to choose from"
                    .to_owned();
            return Err(TrainError::Memory { needed, available, advice }.into());
        }
        Ok(smaller)
    }

    /// What the run takes, and what had to be done for that.
    pub(super) fn report<E: From<TrainError>, G: Fn(RunConfig) -> Result<RunConfig, E>>(
        &self,
        smaller: bool,
        draft: &mut Draft<G>,
    ) -> Result<(), E> {
        let (needed, c) = (self.needs(&draft.config)?, &draft.config);
        let why = match (smaller, self.most) {
            (true, _) => {
                let (patch, batch) = (c.data.patch, c.train.batch_size);
                format!("made to fit: {batch} × {patch}×{patch}, width {}", c.model.width)
            }
            (false, Some(most)) if self.asked => format!("within {} MiB", most >> 20),
            // Not how much is free: that differs from one moment to the next, and the plan is to be the same.
            _ => "within what the machine has free".to_owned(),
        };
        draft.propose("memory", draft.config.clone(), |_| format!("about {} MiB", needed >> 20), why)
    }
}
