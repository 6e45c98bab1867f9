//! What comes before a new run's first step: its state, and the score of the model that it starts from.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use unet_data::{Dataset, Normalization};

use super::Trainer;
use crate::TrainError;
use crate::checkpoint::Checkpoint;
use crate::config::NormalizationKind;
use crate::objects::InstanceConfig;
use crate::observe::Event;
use crate::selection::Selected;
use crate::state::{Bits, Progress};

/// The model that a run starts from, as it is used itself: it is scored so, and kept so where no epoch beats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    /// How the images were scaled that it was trained on.
    pub normalization: Normalization,
    /// Its own threshold until it is scored, then the best on the validation images.
    pub threshold: f64,
    /// What was tuned for it.
    pub objects: Option<InstanceConfig>,
    /// Whether it has been scored.
    pub scored: bool,
}

impl Start {
    /// What goes with the network of a checkpoint on these data; `own` is the normalisation of a run on them, for images of which the
    /// checkpoint's has no statistics.
    pub(super) fn of(checkpoint: &Checkpoint, dataset: &dyn Dataset, own: &Normalization) -> Self {
        let (model, meta) = (&checkpoint.model, &checkpoint.meta);
        let same_channels = model.config().in_channels == dataset.channels();
        let (was, is) = (&meta.classes, dataset.classes());
        let same_classes = was.len() == is.len() && was.is_layered() == is.is_layered();
        Self {
            normalization: if same_channels { meta.normalization.clone() } else { own.clone() },
            threshold: if same_classes { meta.threshold } else { 0.5 },
            objects: meta.objects.filter(|_| same_classes),
            scored: false,
        }
    }

    /// Says so where a run scales values in another way than the model that it starts from.
    pub(super) fn note(&self, own: &Normalization, path: &Path) -> Option<String> {
        let kinds = [&self.normalization, own].map(NormalizationKind::like);
        let [was, is] = kinds.map(NormalizationKind::name);
        let same = std::mem::discriminant(&self.normalization) == std::mem::discriminant(own);
        (!same)
            .then(|| format!("{} was trained on values scaled by '{was}', this run scales by '{is}'", path.display()))
    }

    /// Says so where there is nothing to score it on.
    pub(super) fn note_unscored(path: &Path) -> String {
        let path = path.display();
        format!(
            "nothing is held out: {path} is not scored, and no epoch is compared with it; hold images out with --val"
        )
    }
}

impl Trainer {
    /// Writes the state, so that the run can be continued from its very beginning, and scores the model that it starts from.
    pub(super) fn begin(&mut self, stop: &AtomicBool) -> Result<(), TrainError> {
        let scored = self.baseline.is_some() || self.start.as_ref().is_some_and(|s| s.scored);
        if self.learner.steps() > 0 || self.progress != Progress::default() || scored {
            return Ok(());
        }
        self.write_state()?;
        if self.config.model.init.is_none() {
            return Ok(());
        }
        let Some(Some(record)) = self.validation(0, stop)? else { return Ok(()) };
        if let Some(start) = &mut self.start {
            (start.threshold, start.scored) = (record.threshold.unwrap_or(start.threshold), true);
        }
        let (_, value) = self.selected.observe(&self.measure, &self.config.train, 0, f64::NAN, Some(&record));
        if let Some(best) = self.selected.best(&self.measure).filter(|_| !value.is_nan()) {
            self.baseline = Some(Bits(value));
            self.emit(&Event::Baseline { record: &record, best: &best })?;
            return self.save();
        }
        self.selected = Selected::default();
        self.write_state()
    }

    /// The model that the run starts from, as long as nothing has been made of it.
    pub(super) fn untouched(&self) -> Option<&Start> {
        let begun = self.learner.steps() > 0 || (self.progress.epoch, self.progress.batch) != (0, 0);
        self.start.as_ref().filter(|_| !begun)
    }
}
