//! [`Trainer`]: the training loop. Takes a configuration, a dataset and a directory; yields checkpoints and logs in it, and events on the
//! way. The same configuration gives the same bits at any number of threads, interrupted or not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use unet_data::Dataset;
use unet_kernels::Kernels;

use crate::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointMeta, RunDir};
use crate::config::RunConfig;
use crate::observe::{Best, EpochRecord, Event, Observer, RunPlan, RunSummary, StepEvent, ValidationRecord};
use crate::run_log::RunLog;
use crate::selection::{is_better, measured};
use crate::setup::{Ready, Setup};
use crate::state::{Progress, RunState};
use crate::step::{Learner, StepReport};
use crate::validate::{Validation, validate};

/// A run: new or continued, ready to go.
pub struct Trainer {
    config: RunConfig,
    dataset: Arc<dyn Dataset>,
    run: RunDir,
    setup: Setup,
    kernels: Kernels,
    pool: ThreadPool,
    learner: Learner,
    plan: RunPlan,
    progress: Progress,
    best: Option<Best>,
    last: Option<EpochRecord>,
    log: RunLog,
    observers: Vec<Box<dyn Observer>>,
    saved: Option<Instant>,
}

/// Whether to go on.
#[derive(PartialEq)]
enum Flow {
    Continue,
    Stop,
}

impl Trainer {
    /// A new run in the directory `out`, which must not hold one yet (one that ended before its first checkpoint does not count).
    ///
    /// # Errors
    /// The configuration does not go with the data, the directory cannot be written to or holds a run.
    pub fn new(
        config: RunConfig,
        dataset: Arc<dyn Dataset>,
        out: &Path,
        observers: Vec<Box<dyn Observer>>,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        let run = RunDir::new(out);
        if run.state().exists() || run.best().exists() {
            return Err(TrainError::RunExists { path: out.to_owned() });
        }
        let setup = Setup::new(&config, &dataset, None)?;
        let mut ready = Ready::new(&config, dataset.as_ref(), &setup)?;
        if let Some(path) = &config.model.init {
            let start = Checkpoint::load(path)?;
            ready.learner.start_from(&start.model, path)?;
        }
        run.create()?;
        let text = config.to_toml()?;
        unet_model::atomic::write_atomically(&run.config(), |w| w.write_all(text.as_bytes()))
            .map_err(|e| TrainError::io(&run.config(), "write", e))?;
        let log = RunLog::create(&run, &ready.plan.class_values)?;
        Ok(Self::assemble(config, dataset, run, setup, ready, log, observers))
    }

    /// The run in the directory `out`, to go on after its last saved step.
    ///
    /// # Errors
    /// There is no state, or it does not go with the data; the run is finished.
    pub fn resume(
        out: &Path,
        dataset: Arc<dyn Dataset>,
        observers: Vec<Box<dyn Observer>>,
    ) -> Result<Self, TrainError> {
        let run = RunDir::new(out);
        let refuse = |problem: String| TrainError::Resume { path: out.to_owned(), problem };
        if !run.state().exists() {
            let missing = run.state();
            return Err(refuse(format!("{} is missing; start a new run without --resume", missing.display())));
        }
        let (state, tensors) = RunState::load(&run.state())?;
        let config = RunConfig::from_toml(&state.config, "the run's state", None)?;
        if state.images != dataset.len() || !state.classes.same_masks(dataset.classes()) {
            let found = format!("{} images of {} classes", dataset.len(), dataset.classes().len());
            let expected = format!("{} images of {} classes", state.images, state.classes.len());
            return Err(refuse(format!(
                "the data has {found}, the run began with {expected}; pass the data that it began with"
            )));
        }
        if state.progress.epoch >= config.train.epochs {
            return Err(refuse(format!("all of its {} epochs are done", config.train.epochs)));
        }
        let setup = Setup::new(&config, &dataset, Some(state.normalization.clone()))?;
        let mut ready = Ready::new(&config, dataset.as_ref(), &setup)?;
        state.restore(&tensors, &mut ready.learner)?;
        ready.plan.first_step = state.steps;
        if state.tier != ready.plan.tier {
            let note = format!(
                "the run began on {} kernels and goes on on {} ones: not bit-identical",
                state.tier, ready.plan.tier
            );
            ready.plan.notes.push(note);
        }
        run.create()?;
        let log = RunLog::resume(&run, &ready.plan.class_values, &state)?;
        let mut trainer = Self::assemble(config, dataset, run, setup, ready, log, observers);
        (trainer.progress, trainer.best, trainer.last) = (state.progress, state.best, state.last);
        trainer.saved = Some(Instant::now());
        Ok(trainer)
    }

    fn assemble(
        config: RunConfig,
        dataset: Arc<dyn Dataset>,
        run: RunDir,
        setup: Setup,
        ready: Ready,
        log: RunLog,
        observers: Vec<Box<dyn Observer>>,
    ) -> Self {
        let Ready { kernels, pool, learner, plan } = ready;
        let (progress, best, last, saved) = (Progress::default(), None, None, None);
        Self { config, dataset, run, setup, kernels, pool, learner, plan, progress, best, last, log, observers, saved }
    }

    /// What will be done.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// The resolved configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// Trains to the end, or until `stop` is set: then the step is finished and the state written, so that [`Self::resume`] goes on.
    ///
    /// # Errors
    /// Reading or writing fails, or the loss is no finite number; the checkpoints written before stay.
    pub fn run(mut self, stop: &AtomicBool) -> Result<RunSummary, TrainError> {
        let began = Instant::now();
        let saved_at = self.saved.get_or_insert(began);
        *saved_at = began;
        for o in &mut self.observers {
            o.on_event(&Event::Start { config: &self.config, plan: &self.plan })?;
        }
        while self.progress.epoch < self.config.train.epochs {
            let flow = self.epoch(stop).map_err(|e| self.locate(e))?;
            if flow == Flow::Stop {
                self.save()?;
                let (run, step) = (self.run.clone(), self.learner.steps());
                self.emit(&Event::Stopped { run: run.root(), step })?;
                return Ok(self.summary(false, began.elapsed()));
            }
        }
        let summary = self.summary(true, began.elapsed());
        self.emit(&Event::End(&summary))?;
        Ok(summary)
    }

    /// The rest of the current epoch: its steps, its validation, its checkpoints.
    fn epoch(&mut self, stop: &AtomicBool) -> Result<Flow, TrainError> {
        let loader = Arc::clone(&self.setup.loader);
        let mut waiting = Instant::now();
        for batch in loader.epoch_from(self.progress.epoch, self.progress.batch as usize) {
            if stop.load(Ordering::Relaxed) {
                return Ok(Flow::Stop);
            }
            let batch = batch?;
            let report = self.pool.install(|| self.learner.step(&batch))?;
            let time = waiting.elapsed();
            waiting = Instant::now();
            self.note_step(&report, batch.n, time)?;
            self.save_if_due()?;
        }
        let Some(validation) = self.validation(stop)? else { return Ok(Flow::Stop) };
        self.finish_epoch(validation, waiting.elapsed())?;
        Ok(Flow::Continue)
    }

    /// Adds a step to the epoch's sums and tells of it.
    fn note_step(&mut self, report: &StepReport, images: usize, time: Duration) -> Result<(), TrainError> {
        let p = &mut self.progress;
        p.batch += 1;
        p.images += images as u64;
        p.loss.0 += report.loss.mean() * images as f64;
        p.grad_norm.0 += report.grad_norm;
        p.lr.0 = report.lr;
        p.seconds.0 += time.as_secs_f64();
        let event = Event::Step(StepEvent {
            epoch: p.epoch + 1,
            step_in_epoch: p.batch,
            step: self.learner.steps(),
            images,
            loss: report.loss.mean(),
            lr: report.lr,
            grad_norm: report.grad_norm,
            time,
        });
        self.emit(&event)
    }

    /// Scores the validation images; `None` inside where nothing is held out, `None` when asked to stop on the way.
    fn validation(&mut self, stop: &AtomicBool) -> Result<Option<Option<ValidationRecord>>, TrainError> {
        if self.setup.split.val.is_empty() {
            return Ok(Some(None));
        }
        let job = Validation {
            dataset: self.dataset.as_ref(),
            indices: &self.setup.split.val,
            normalization: &self.setup.normalization,
            samples: self.config.train.samples,
            samples_dir: &self.run.samples(),
            epoch: self.progress.epoch + 1,
            pool: &self.pool,
            kernels: self.kernels,
        };
        let (log, observers) = (&mut self.log, &mut self.observers);
        let record = validate(&job, &mut self.learner, stop, &mut |event| tell(log, observers, event))?;
        Ok(record.map(Some))
    }

    /// Closes the epoch: its record, and the checkpoints.
    fn finish_epoch(&mut self, val: Option<ValidationRecord>, validation_time: Duration) -> Result<(), TrainError> {
        let p = &self.progress;
        let train_loss = p.loss.0 / p.images.max(1) as f64;
        let (metric, value) = measured(self.config.train.select, train_loss, val.as_ref());
        let best = self.best.as_ref().is_none_or(|b| is_better(metric, value, b.value));
        let record = EpochRecord {
            epoch: p.epoch + 1,
            step: self.learner.steps(),
            train_loss,
            lr: p.lr.0,
            grad_norm: p.grad_norm.0 / p.batch.max(1) as f64,
            val,
            best,
            seconds: p.seconds.0 + validation_time.as_secs_f64(),
            images_per_second: p.images as f64 / p.seconds.0.max(1e-9),
        };
        self.progress = Progress { epoch: p.epoch + 1, ..Progress::default() };
        if best {
            self.best = Some(Best { epoch: record.epoch, metric: metric.to_owned(), value });
            let path = self.run.best();
            Checkpoint::save(&path, self.learner.result(), &self.meta())?;
            self.emit(&Event::Checkpoint { path: &path, best: true })?;
        }
        self.emit(&Event::Epoch(&record))?;
        self.last = Some(record);
        self.save()
    }

    /// Writes the state and the newest checkpoint.
    fn save(&mut self) -> Result<(), TrainError> {
        let state = RunState {
            format: RunState::FORMAT,
            config: self.config.to_toml()?,
            normalization: self.setup.normalization.clone(),
            classes: self.dataset.classes().clone(),
            images: self.dataset.len(),
            tier: self.plan.tier.clone(),
            progress: self.progress.clone(),
            steps: self.learner.steps(),
            ema_updates: self.learner.ema.as_ref().map_or(0, crate::optim::Ema::updates),
            best: self.best.clone(),
            last: self.last.clone(),
            metrics_len: self.log.metrics_len(),
            events_name: self.log.events_name().to_owned(),
            events_len: self.log.events_len(),
        };
        state.save(&self.run.state(), &self.learner)?;
        let path = self.run.last();
        Checkpoint::save(&path, self.learner.result(), &self.meta())?;
        self.saved = Some(Instant::now());
        self.emit(&Event::Checkpoint { path: &path, best: false })
    }

    fn save_if_due(&mut self) -> Result<(), TrainError> {
        let every = self.config.train.save_seconds;
        match self.saved {
            Some(at) if every > 0 && at.elapsed() >= Duration::from_secs(every) => self.save(),
            _ => Ok(()),
        }
    }

    fn meta(&self) -> CheckpointMeta {
        CheckpointMeta {
            normalization: self.setup.normalization.clone(),
            classes: self.dataset.classes().clone(),
            threshold: 0.5,
            objects: None,
            epoch: self.progress.epoch + u64::from(self.progress.batch > 0),
            step: self.learner.steps(),
            best: self.best.clone(),
        }
    }

    fn emit(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        tell(&mut self.log, &mut self.observers, event)
    }

    fn summary(&self, finished: bool, time: Duration) -> RunSummary {
        RunSummary {
            run: self.run.root().to_owned(),
            finished,
            step: self.learner.steps(),
            best: self.best.clone(),
            last: self.last.clone(),
            time,
        }
    }

    /// Says where in the run a value stopped being finite, and which checkpoint is left.
    fn locate(&self, error: TrainError) -> TrainError {
        match error {
            TrainError::NonFinite { what, value, step, images, .. } => {
                let kept = [self.run.best(), self.run.last()].into_iter().find(|p| p.exists());
                TrainError::NonFinite { what, value, epoch: Some(self.progress.epoch + 1), step, images, kept }
            }
            other => other,
        }
    }
}

fn tell(log: &mut RunLog, observers: &mut [Box<dyn Observer>], event: &Event<'_>) -> Result<(), TrainError> {
    log.on_event(event)?;
    observers.iter_mut().try_for_each(|o| o.on_event(event))
}
