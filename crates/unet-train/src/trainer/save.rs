//! Saving a run. The state file is the one point of truth: it is written whole or not at all, and the checkpoints are derived from it
//! afterwards, again by a resumed run, so that a process may be killed between any two bytes.

use std::time::{Duration, Instant};

use super::Trainer;
use crate::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointMeta};
use crate::observe::Event;
use crate::optim::Ema;
use crate::state::RunState;
use crate::step::Average;

impl Trainer {
    /// Writes the state, and the checkpoints that follow from it.
    pub(super) fn save(&mut self) -> Result<(), TrainError> {
        self.write_state()?;
        self.derive()
    }

    pub(super) fn save_if_due(&mut self) -> Result<(), TrainError> {
        let every = self.config.train.save_seconds;
        if every > 0.0 && self.saved.elapsed() >= Duration::from_secs_f64(every) {
            self.save()?;
        }
        Ok(())
    }

    /// Writes the state where, without that, it might become older than it should in the validation that comes next: nothing is written on
    /// its way. The one before tells how long it takes; the first may take any time.
    pub(super) fn save_ahead_of_validation(&mut self) -> Result<(), TrainError> {
        let every = self.config.train.save_seconds;
        let age = self.saved.elapsed().saturating_add(self.validation_took.unwrap_or(Duration::MAX));
        if every > 0.0 && !self.setup.split.val.is_empty() && age >= Duration::from_secs_f64(every) {
            self.write_state()?;
        }
        Ok(())
    }

    /// Writes the state alone, once the logs that it speaks of are on the disk. One with weights that are no numbers would take the place of
    /// the last good one: it is an error, and nothing is written.
    pub(super) fn write_state(&mut self) -> Result<(), TrainError> {
        self.learner.settle()?;
        let learner = &mut self.learner;
        self.pool.install(move || learner.check_weights())?;
        self.log.sync()?;
        let ema_updates = match &self.learner.average {
            Average::Ema(ema) => Ema::updates(ema),
            Average::None | Average::Own(_) => 0,
        };
        let state = RunState {
            format: RunState::FORMAT,
            config: self.config.to_toml()?,
            normalization: self.setup.normalization.clone(),
            classes: self.dataset.classes().clone(),
            images: self.dataset.len(),
            data_hash: self.data_hash.clone(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            tier: self.plan.tier.clone(),
            precision: self.learner.precision(),
            memory: Some(self.plan.memory),
            progress: self.progress.clone(),
            steps: self.learner.steps(),
            average_weights: self.learner.optimizer.average_weights(),
            ema_updates,
            pending: self.learner.pending,
            selected: self.selected.clone(),
            start: self.start.clone(),
            baseline: self.baseline,
            plateau: self.plateau.clone(),
            last: self.last.clone(),
            metrics_len: self.log.metrics_len(),
            events_name: self.log.events_name().to_owned(),
            events_len: self.log.events_len(),
        };
        state.save(&self.run.state(), &self.learner)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Writes the newest checkpoint, and where an epoch has just ended those of the best and of the latest epochs.
    pub(super) fn derive(&mut self) -> Result<(), TrainError> {
        let (meta, result) = (self.meta(), self.learner.result());
        let epoch = self.progress.epoch;
        let ended = self.progress.batch == 0;
        let is_best = ended && self.selected.best(&self.measure).is_some_and(|b| b.epoch == epoch);
        let best = is_best.then(|| self.run.best());
        if let Some(path) = &best {
            Checkpoint::save(path, result, &meta)?;
        }
        if ended && epoch > 0 && self.config.train.keep_last > 0 {
            Checkpoint::save(&self.run.of_epoch(epoch), result, &meta)?;
            self.remove_older(epoch)?;
        }
        let last = self.run.last();
        Checkpoint::save(&last, result, &meta)?;
        if let Some(path) = &best {
            self.emit(&Event::Checkpoint { path, best: true })?;
        }
        self.emit(&Event::Checkpoint { path: &last, best: false })
    }

    /// Removes the checkpoints of epochs that are no longer among the latest.
    fn remove_older(&self, epoch: u64) -> Result<(), TrainError> {
        for old in (1..=epoch.saturating_sub(self.config.train.keep_last as u64)).rev() {
            let path = self.run.of_epoch(old);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                // Those before it were removed when it was.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
                Err(e) => return Err(TrainError::io(&path, "remove", e)),
            }
        }
        Ok(())
    }

    fn meta(&self) -> CheckpointMeta {
        let untouched = self.untouched();
        // That of the newest validation; one half before the first, and without any.
        let newest = self.last.as_ref().and_then(|r| r.val.as_ref()?.threshold);
        let of_start = self.start.as_ref().filter(|s| s.scored).map(|s| s.threshold);
        let threshold = newest.or(of_start).unwrap_or(0.5);
        CheckpointMeta {
            normalization: untouched.map_or(&self.setup.normalization, |s| &s.normalization).clone(),
            classes: self.dataset.classes().clone(),
            threshold,
            tta: self.config.predict.tta,
            objects: untouched.map_or(self.config.predict.objects.config(threshold), |s| s.objects),
            epoch: self.progress.epoch + u64::from(self.progress.batch > 0),
            step: self.learner.steps(),
            best: self.selected.best(&self.measure),
        }
    }
}
