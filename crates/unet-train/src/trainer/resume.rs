//! Going on with a run: what its state says, what has changed since it was written, and whether that matters.

use std::path::Path;
use std::sync::Arc;

use unet_data::Dataset;
use unet_kernels::Tier;

use super::Trainer;
use crate::TrainError;
use crate::checkpoint::RunDir;
use crate::config::{NonFinite, RunConfig};
use crate::device::Device;
use crate::hooks::Hooks;
use crate::observe::Observer;
use crate::run_log::RunLog;
use crate::setup::{Ready, Setup};
use crate::state::RunState;

/// What may be decided anew when a run goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResumeOptions {
    /// Threads that compute; they change no bit.
    pub threads: Option<usize>,
    /// Where to compute.
    pub device: Option<Device>,
    /// With which kernels.
    pub tier: Option<Tier>,
    /// Stop and save after so many seconds.
    pub max_seconds: Option<f64>,
    /// What to do with a batch whose loss or gradient is no finite number.
    pub non_finite: Option<NonFinite>,
    /// Refuse to go on where the result would not be bit for bit that of the uninterrupted run.
    pub exact: bool,
}

impl Trainer {
    /// The run in the directory `out`, to go on after its last saved step. One that is finished is given too: nothing is left to do in it.
    /// One that ended before its first state begins anew.
    ///
    /// # Errors
    /// There is no state, or it does not go with the data; another process trains in it.
    pub fn resume(
        out: &Path,
        dataset: Arc<dyn Dataset>,
        observers: Vec<Box<dyn Observer>>,
    ) -> Result<Self, TrainError> {
        Self::resume_with(out, dataset, ResumeOptions::default(), Hooks::observing(observers))
    }

    /// As [`Self::resume`], with what may be decided anew, and the metrics and loss of the caller's own that the run began with.
    ///
    /// # Errors
    /// As [`Self::resume`]; with `exact`, where something has changed that changes bits.
    pub fn resume_with(
        out: &Path,
        dataset: Arc<dyn Dataset>,
        options: ResumeOptions,
        mut hooks: Hooks,
    ) -> Result<Self, TrainError> {
        let run = RunDir::new(out);
        let refuse = |problem: String| TrainError::Resume { path: out.to_owned(), problem };
        if run.has_nothing_but_a_beginning() {
            let mut config = RunConfig::load(&run.config(), None)?;
            options.apply(&mut config);
            let mut trainer = Self::with_hooks(config, dataset, out, hooks)?;
            trainer.plan.notes.push("the run had ended before anything was saved: it begins anew".to_owned());
            return Ok(trainer);
        }
        if !run.state().exists() {
            let missing = run.state();
            return Err(refuse(format!("{} is missing; start a new run without --resume", missing.display())));
        }
        let lock = run.lock()?;
        let (state, tensors) = RunState::load(&run.state())?;
        let mut config = RunConfig::from_toml(&state.config, "the run's state", None)?;
        options.apply(&mut config);
        config.validate()?;
        if state.images != dataset.len() || !state.classes.same_masks(dataset.classes()) {
            let found = format!("{} images of {} classes", dataset.len(), dataset.classes().len());
            let expected = format!("{} images of {} classes", state.images, state.classes.len());
            return Err(refuse(format!(
                "the data has {found}, the run began with {expected}; pass the data that it began with"
            )));
        }
        let setup = Setup::new(&config, &dataset, Some(state.normalization.clone()))?;
        let mut ready = Ready::new(&config, dataset.as_ref(), &setup, &mut hooks)?;
        let changes = changes(&state, &ready);
        if options.exact && !changes.is_empty() {
            return Err(refuse(format!(
                "{}; without --exact it continues, not bit-identical to the uninterrupted run",
                changes.join(", and ")
            )));
        }
        ready.plan.notes.extend(changes.into_iter().map(|c| format!("{c}: continues, not bit-identical")));
        state.restore(&tensors, &mut ready.learner)?;
        ready.plan.first_step = state.steps;
        run.create()?;
        run.remove_leftovers()?;
        let log = RunLog::resume(&run, &ready.plan.class_values, &state)?;
        let mut trainer = Self::assemble(config, dataset, (run, lock), setup, ready, log, hooks);
        (trainer.progress, trainer.last) = (state.progress, state.last);
        (trainer.selected, trainer.baseline, trainer.plateau) = (state.selected, state.baseline, state.plateau);
        trainer.start = state.start;
        // The process may have been killed after it wrote the state and before it wrote what follows from it.
        if trainer.learner.steps() > 0 || trainer.baseline.is_some() {
            let silent = std::mem::take(&mut trainer.observers);
            trainer.derive()?;
            trainer.observers = silent;
        }
        Ok(trainer)
    }
}

impl ResumeOptions {
    /// Lays them over the configuration of a run that goes on.
    pub fn apply(&self, config: &mut RunConfig) {
        let train = &mut config.train;
        train.threads = self.threads.unwrap_or(train.threads);
        train.device = self.device.unwrap_or(train.device);
        train.tier = self.tier.or(train.tier);
        train.max_seconds = self.max_seconds.unwrap_or(0.0);
        train.non_finite = self.non_finite.unwrap_or(train.non_finite);
    }
}

/// What is not as it was when the state was written, and changes bits; a clause each.
fn changes(state: &RunState, ready: &Ready) -> Vec<String> {
    let program = env!("CARGO_PKG_VERSION");
    let mut changes = Vec::new();
    if state.tier != ready.plan.tier {
        changes.push(format!("the run began on {} kernels and goes on on {} ones", state.tier, ready.plan.tier));
    }
    if state.precision != ready.plan.precision {
        changes.push(format!("the run began in {} and goes on in {}", state.precision, ready.plan.precision));
    }
    if state.program != program {
        changes.push(format!("the run began with version {} of the program and goes on with {program}", state.program));
    }
    if state.data_hash != ready.data_hash {
        changes.push("images or masks have changed since the run began".to_owned());
    }
    changes
}
