//! [`Trainer`]: the training loop. Takes a configuration, a dataset and a directory; yields checkpoints and logs in it, and events on the
//! way. The same configuration gives the same bits at any number of threads, interrupted or not.

mod batch;
mod resume;
mod save;
mod start;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use unet_data::Dataset;
use unet_kernels::Kernels;

pub use self::resume::ResumeOptions;
pub(crate) use self::start::Start;
use crate::TrainError;
use crate::checkpoint::{Checkpoint, RunDir};
use crate::config::RunConfig;
use crate::device::PrecisionChoice;
use crate::hooks::{Hooks, Metric};
use crate::observe::{Ended, EpochRecord, Event, Observer, RunPlan, RunSummary, ValidationRecord};
use crate::run_log::RunLog;
use crate::schedule::Plateau;
use crate::selection::{Measure, Selected};
use crate::setup::{Ready, Setup};
use crate::state::{Bits, Progress};
use crate::step::Learner;
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
    data_hash: String,
    measure: Measure,
    selected: Selected,
    /// The model that the run starts from, and its value once that is known.
    start: Option<Start>,
    baseline: Option<Bits>,
    plateau: Plateau,
    progress: Progress,
    last: Option<EpochRecord>,
    log: RunLog,
    observers: Vec<Box<dyn Observer>>,
    metrics: Vec<Metric>,
    /// When this session began, and when it last saved.
    began: Instant,
    saved: Instant,
    /// How long this session's last validation took.
    validation_took: Option<Duration>,
    /// Kept open: nobody else may train in this directory meanwhile.
    _lock: Option<File>,
}

/// Whether to go on.
enum Flow {
    Continue,
    Stop(Ended),
}

impl Trainer {
    /// A new run in the directory `out`, which must not hold one yet (one that ended before its first state does not count).
    ///
    /// # Errors
    /// The configuration does not go with the data, the directory cannot be written to or holds a run, or there is not enough memory.
    pub fn new(
        config: RunConfig,
        dataset: Arc<dyn Dataset>,
        out: &Path,
        observers: Vec<Box<dyn Observer>>,
    ) -> Result<Self, TrainError> {
        Self::with_hooks(config, dataset, out, Hooks::observing(observers))
    }

    /// As [`Self::new`], with metrics and a loss of the caller's own.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_hooks(
        mut config: RunConfig,
        dataset: Arc<dyn Dataset>,
        out: &Path,
        mut hooks: Hooks,
    ) -> Result<Self, TrainError> {
        config.validate()?;
        if let Some(folds) = config.data.folds {
            let expected = "a configuration of one run here: RunConfig::of_fold gives that of each fold";
            return Err(TrainError::config("data.folds", folds, expected));
        }
        // The run's own file says what it was, so that it is repeated to the bit on another machine too.
        let kernels = config.train.kernels()?;
        config.train.precision = PrecisionChoice::Fixed(config.train.precision.on(&kernels));
        let run = RunDir::new(out);
        if run.state().exists() || run.best().exists() {
            return Err(TrainError::RunExists { path: out.to_owned() });
        }
        let setup = Setup::new(&config, &dataset, None)?;
        let mut ready = Ready::new(&config, dataset.as_ref(), &setup, &mut hooks)?;
        let mut start = None;
        if let Some(path) = &config.model.init {
            let checkpoint = Checkpoint::load(path)?;
            let notes = ready.learner.start_from(&checkpoint.model, path)?;
            let from = Start::of(&checkpoint, dataset.as_ref(), &setup.normalization);
            let unscored = setup.split.val.is_empty().then(|| Start::note_unscored(path));
            ready.plan.notes.extend(notes.into_iter().chain(from.note(&setup.normalization, path)).chain(unscored));
            start = Some(from);
        }
        let lock = run.lock()?;
        run.begin(&config.to_toml()?)?;
        let log = RunLog::create(&run, &ready.plan.class_values)?;
        Ok(Self { start, ..Self::assemble(config, dataset, (run, lock), setup, ready, log, hooks) })
    }

    fn assemble(
        config: RunConfig,
        dataset: Arc<dyn Dataset>,
        (run, lock): (RunDir, Option<File>),
        setup: Setup,
        ready: Ready,
        log: RunLog,
        hooks: Hooks,
    ) -> Self {
        let Ready { kernels, pool, learner, measure, data_hash, plan } = ready;
        let now = Instant::now();
        Self {
            config,
            dataset,
            run,
            setup,
            kernels,
            pool,
            learner,
            plan,
            data_hash,
            measure,
            selected: Selected::default(),
            start: None,
            baseline: None,
            plateau: Plateau::default(),
            progress: Progress::default(),
            last: None,
            log,
            observers: hooks.observers,
            metrics: hooks.metrics,
            began: now,
            saved: now,
            validation_took: None,
            _lock: lock,
        }
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
    /// Reading or writing fails, or a loss or gradient is no finite number; the checkpoints written before stay.
    pub fn run(mut self, stop: &AtomicBool) -> Result<RunSummary, TrainError> {
        (self.began, self.saved) = (Instant::now(), Instant::now());
        for o in &mut self.observers {
            o.on_event(&Event::Start { config: &self.config, plan: &self.plan })?;
        }
        self.log.on_event(&Event::Start { config: &self.config, plan: &self.plan })?;
        // Of a run that goes on: what its next epochs are compared with.
        self.tell_best()?;
        self.begin(stop).map_err(|e| self.locate(e))?;
        let ended = loop {
            if let Some(ended) = self.progress.is_over(&self.config.train, &self.selected) {
                break ended;
            }
            if let Flow::Stop(ended) = self.epoch(stop).map_err(|e| self.locate(e))? {
                self.save().map_err(|e| self.locate(e))?;
                let (run, step) = (self.run.clone(), self.learner.steps());
                self.emit(&Event::Stopped { run: run.root(), step })?;
                return Ok(self.summary(false, ended));
            }
        };
        let summary = self.summary(true, ended);
        self.emit(&Event::End(&summary))?;
        Ok(summary)
    }

    /// The rest of the current epoch: its steps, its validation, its checkpoints.
    fn epoch(&mut self, stop: &AtomicBool) -> Result<Flow, TrainError> {
        let loader = Arc::clone(&self.setup.loader);
        let (batches, accumulate) = (loader.batches_per_epoch() as u64, self.config.train.accumulate as u64);
        let mut waiting = Instant::now();
        for batch in loader.epoch_from(self.progress.epoch, self.progress.batch as usize) {
            if let Some(ended) = self.interrupted(stop) {
                return Ok(Flow::Stop(ended));
            }
            self.take_in(&batch?)?;
            let pending = self.learner.pending();
            if pending >= accumulate || pending > 0 && self.progress.batch == batches {
                let report = self.pool.install(|| self.learner.apply())?;
                let time = waiting.elapsed();
                waiting = Instant::now();
                self.note_step(&report, time)?;
            }
            self.save_if_due()?;
        }
        self.save_ahead_of_validation()?;
        if self.config.train.ema_norm_batches > 0 {
            let batches = loader.epoch(self.progress.epoch).take(self.config.train.ema_norm_batches);
            self.pool.install(|| self.learner.recalibrate(batches))?;
        }
        let Some(validation) = self.validation(self.progress.epoch + 1, stop)? else {
            return Ok(Flow::Stop(Ended::Asked));
        };
        self.finish_epoch(validation, waiting.elapsed())?;
        Ok(Flow::Continue)
    }

    /// Whether to stop between two steps, and why.
    fn interrupted(&self, stop: &AtomicBool) -> Option<Ended> {
        let limit = self.config.train.max_seconds;
        if stop.load(Ordering::Relaxed) {
            return Some(Ended::Asked);
        }
        (limit > 0.0 && self.began.elapsed().as_secs_f64() >= limit).then_some(Ended::Time)
    }

    /// Scores the validation images; `None` inside where nothing is held out, `None` when asked to stop on the way.
    fn validation(&mut self, epoch: u64, stop: &AtomicBool) -> Result<Option<Option<ValidationRecord>>, TrainError> {
        if self.setup.split.val.is_empty() {
            return Ok(Some(None));
        }
        let normalization = match &self.start {
            Some(start) if epoch == 0 => &start.normalization,
            _ => &self.setup.normalization,
        };
        let (before, began) = (self.log.events_len(), Instant::now());
        let mut job = Validation {
            dataset: self.dataset.as_ref(),
            indices: &self.setup.split.val,
            normalization,
            samples: self.config.train.samples,
            samples_dir: &self.run.samples(),
            epoch,
            pool: &self.pool,
            kernels: self.kernels,
            measure: &self.measure,
            metrics: &mut self.metrics,
        };
        let (log, observers) = (&mut self.log, &mut self.observers);
        let record = match validate(&mut job, &mut self.learner, stop, &mut |event| tell(log, observers, event)) {
            Ok(record) => record,
            Err(error) => return self.leave_unscored(epoch, error).map(|()| Some(None)),
        };
        match record {
            Some(_) => self.validation_took = Some(began.elapsed()),
            // It will be done again, from its first image on.
            None => self.log.cut_events(before)?,
        }
        Ok(record.map(Some))
    }

    /// Closes the epoch: its record, what it means for the schedule, and the checkpoints.
    fn finish_epoch(&mut self, val: Option<ValidationRecord>, validation_time: Duration) -> Result<(), TrainError> {
        let p = self.progress.clone();
        // No number where every batch was left out.
        let train_loss = p.loss.0 / p.images as f64;
        let (train, epoch) = (&self.config.train, p.epoch + 1);
        // Where the validation came upon no number, the training loss says nothing of the network either.
        let unscored = val.is_none() && !self.setup.split.val.is_empty();
        let compared = if unscored { f64::NAN } else { train_loss };
        let (best, value) = self.selected.observe(&self.measure, train, epoch, compared, val.as_ref());
        self.plateau.observe(&self.config.schedule, value, self.measure.higher_is_better);
        self.learner.set_lr_factor(self.plateau.factor());
        let record = EpochRecord {
            epoch,
            step: self.learner.steps(),
            train_loss,
            lr: p.lr.0,
            grad_norm: p.grad_norm.0 / p.steps.max(1) as f64,
            val,
            best,
            seconds: p.seconds.0 + validation_time.as_secs_f64(),
            images_per_second: p.images as f64 / p.seconds.0.max(1e-9),
        };
        let (skipped, skipped_in_a_row) = (p.skipped, p.skipped_in_a_row);
        self.progress = Progress { epoch, skipped, skipped_in_a_row, ..Progress::default() };
        if train.histograms > 0 && epoch.is_multiple_of(train.histograms) {
            let (step, model, gradients) = (record.step, self.learner.model(), self.learner.gradients());
            let event = Event::Parameters { step, model, gradients };
            tell(&mut self.log, &mut self.observers, &event)?;
        }
        self.emit(&Event::Epoch(&record))?;
        self.last = Some(record);
        if best {
            self.tell_best()?;
        }
        self.save()
    }

    fn emit(&mut self, event: &Event<'_>) -> Result<(), TrainError> {
        tell(&mut self.log, &mut self.observers, event)
    }

    fn tell_best(&mut self) -> Result<(), TrainError> {
        match self.selected.best(&self.measure) {
            Some(best) => self.emit(&Event::Best(&best)),
            None => Ok(()),
        }
    }

    fn summary(&self, finished: bool, ended: Ended) -> RunSummary {
        RunSummary {
            run: self.run.root().to_owned(),
            finished,
            ended,
            baseline: self.baseline.map(|b| b.0),
            skipped: self.progress.skipped,
            step: self.learner.steps(),
            best: self.selected.best(&self.measure),
            last: self.last.clone(),
            time: self.began.elapsed(),
        }
    }
}

fn tell(log: &mut RunLog, observers: &mut [Box<dyn Observer>], event: &Event<'_>) -> Result<(), TrainError> {
    log.on_event(event)?;
    observers.iter_mut().try_for_each(|o| o.on_event(event))
}
