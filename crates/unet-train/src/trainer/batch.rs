//! A batch and a step of the loop: what they add to the epoch's sums, and what happens where a value is no finite number.

use std::time::Duration;

use unet_data::Batch;

use super::Trainer;
use crate::TrainError;
use crate::config::NonFinite;
use crate::observe::{Event, StepEvent};
use crate::offending::write_batch;
use crate::step::StepReport;

/// Batches left out in a row that end a run all the same.
const MOST_IN_A_ROW: u64 = 10;
/// Batches left out that are written to the run's directory; of later ones only the event tells, until one ends the run.
const WRITTEN: u64 = 10;

impl Trainer {
    /// Takes in the gradient of a batch, or leaves it out where its loss or gradient is no finite number and the configuration says so.
    pub(super) fn take_in(&mut self, batch: &Batch) -> Result<(), TrainError> {
        let result = self.pool.install(|| self.learner.accumulate(batch));
        match result {
            Ok(loss) => {
                let p = &mut self.progress;
                p.images += batch.n as u64;
                p.step_images += batch.n as u64;
                p.loss.0 += loss.mean() * batch.n as f64;
                p.skipped_in_a_row = 0;
            }
            Err(error @ TrainError::NonFinite { .. }) => self.leave_out(batch, error)?,
            Err(error) => return Err(error),
        }
        self.progress.batch += 1;
        Ok(())
    }

    fn leave_out(&mut self, batch: &Batch, mut error: TrainError) -> Result<(), TrainError> {
        let step = self.learner.steps() + 1;
        let p = &mut self.progress;
        let ends = self.config.train.non_finite == NonFinite::Stop || p.skipped_in_a_row + 1 >= MOST_IN_A_ROW;
        if let TrainError::NonFinite { batch: file, .. } = &mut error
            && (ends || p.skipped < WRITTEN)
        {
            *file = Some(write_batch(self.run.root(), step, batch)?.into());
        }
        if ends {
            return Err(error);
        }
        p.skipped += 1;
        p.skipped_in_a_row += 1;
        self.emit(&Event::Skipped { step, problem: &what_was_wrong(&error) })
    }

    /// A validation that came upon a value that is no finite number ends the run, or leaves its epoch without a value where the
    /// configuration says so.
    pub(super) fn leave_unscored(&mut self, epoch: u64, error: TrainError) -> Result<(), TrainError> {
        let skips = self.config.train.non_finite == NonFinite::Skip;
        if !(skips && matches!(error, TrainError::NonFinite { .. })) {
            return Err(error);
        }
        self.emit(&Event::Unscored { epoch, problem: &what_was_wrong(&error) })
    }

    /// Adds a step to the epoch's sums and tells of it.
    pub(super) fn note_step(&mut self, report: &StepReport, time: Duration) -> Result<(), TrainError> {
        let p = &mut self.progress;
        p.steps += 1;
        p.grad_norm.0 += report.grad_norm;
        p.lr.0 = report.lr;
        p.seconds.0 += time.as_secs_f64();
        let event = Event::Step(StepEvent {
            epoch: p.epoch + 1,
            step_in_epoch: p.steps,
            step: self.learner.steps(),
            images: std::mem::take(&mut p.step_images) as usize,
            loss: report.loss.mean(),
            lr: report.lr,
            grad_norm: report.grad_norm,
            time,
        });
        self.emit(&event)
    }

    /// Says where in the run a value stopped being finite, and which checkpoint is left.
    pub(super) fn locate(&self, mut error: TrainError) -> TrainError {
        if let TrainError::NonFinite { epoch, kept, .. } = &mut error {
            *epoch = Some(self.progress.epoch + 1);
            *kept = [self.run.best(), self.run.last()].into_iter().find(|p| p.exists()).map(Into::into);
        }
        error
    }
}

/// Of the error's clauses, what was wrong; what to do has been done.
fn what_was_wrong(error: &TrainError) -> String {
    let text = error.to_string();
    text.split(": the weights").next().unwrap_or_default().to_owned()
}
