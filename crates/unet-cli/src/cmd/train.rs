//! `unet train`: resolves the configuration, opens the data, and lets the trainer run under a progress bar until it ends or is
//! stopped by Ctrl-C. What one run needs of the command is a [`Session`].

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use unet_data::Dataset;
use unet_train::device::PrecisionChoice;
use unet_train::observe::{Ended, Observer, RunSummary};
use unet_train::{Hooks, ResumeOptions, RunConfig, RunDir, Trainer};

use super::{folds, plan};
use crate::args::{LogFormat, TrainArgs};
use crate::progress::json::{self, JsonLog};
use crate::progress::{TrainingProgress, text};
use crate::terminal::Terminal;
use crate::{data, output, report, resolve};

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Trains, or prints the configuration.
pub fn run(args: &TrainArgs, terminal: &Terminal) -> Result<ExitCode> {
    let json = args.log_format == Some(LogFormat::Json);
    let terminal = if json || args.quiet { Terminal::hushed() } else { terminal.clone() };
    let result = train(args, &terminal, json);
    match result {
        // What reads JSON gets the error as JSON.
        Err(error) if json => {
            json::write(&serde_json::json!({"event": "error", "message": output::message(&error)}));
            Ok(ExitCode::FAILURE)
        }
        result => result,
    }
}

fn train(args: &TrainArgs, terminal: &Terminal, json: bool) -> Result<ExitCode> {
    if let Some(run) = &args.resume {
        let session = Session::begin(args, terminal, json)?;
        return match folds::is_set(run) {
            true => folds::go_on(run, &session),
            false => session.resume(run),
        };
    }
    let began = Instant::now();
    let (mut config, notes) = resolve::run_config(args)?;
    let given = resolve::Given::new(args)?;
    let planned = given.leaves_a_plan(&config)?;
    check_means(args, &config, planned)?;
    // The report that follows, too, is computed with what the file or the flag names.
    config.train.kernels()?.force();
    if !args.print_config {
        notes.into_iter().for_each(|line| terminal.line(line));
    }
    let mut dataset = None;
    if planned {
        let opened = open(&config, terminal)?;
        let path = config.data.path.clone();
        let plan = plan::of(&opened, config, args, began, |base| given.over(base))?;
        config = plan.config;
        config.data.path = path;
        if !args.print_config {
            plan::lines(&plan.choices).into_iter().for_each(|line| terminal.line(line));
        }
        dataset = Some(opened);
    }
    // As the run's own file has it: what the hardware decides is decided here.
    config.train.precision = PrecisionChoice::Fixed(config.train.precision.on(&config.train.kernels()?));
    if args.print_config {
        output::print(&config.to_toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dataset = dataset.map_or_else(|| open(&config, terminal), Ok)?;
    let session = Session::begin(args, terminal, json)?;
    match config.data.folds {
        Some(folds) => folds::train(config, folds, &dataset, &session),
        None => {
            let trainer = session.new_run(config, &dataset, args.out.as_deref())?;
            let summary = trainer.run(&session.stop)?;
            session.finish(&summary, &dataset, &summary.run)
        }
    }
}

/// Time and memory are for plans alone.
fn check_means(args: &TrainArgs, config: &RunConfig, planned: bool) -> Result<()> {
    let recipe = &config.recipe;
    if args.budget.is_some() && !planned {
        anyhow::bail!(
            "--budget: recipe \"{recipe}\" says how long it trains; leave --recipe and --config out, or use --max-time"
        );
    }
    if args.memory.is_some() && !planned {
        anyhow::bail!(
            "--memory: nothing is planned for recipe \"{recipe}\"; leave it out, or set --batch-size, --patch and --width"
        );
    }
    Ok(())
}

/// The images that the configuration names.
pub(super) fn open(config: &RunConfig, terminal: &Terminal) -> Result<Arc<dyn Dataset>> {
    let path = config.data.path.as_deref().unwrap_or(Path::new(data::SYNTHETIC));
    data::open(path, &config.data.open_options(), terminal)
}

/// What the runs of one command share.
pub(super) struct Session<'a> {
    pub args: &'a TrainArgs,
    pub terminal: &'a Terminal,
    json: bool,
    /// Set by Ctrl-C.
    pub stop: Arc<AtomicBool>,
}

impl<'a> Session<'a> {
    /// Listens for Ctrl-C from now on.
    fn begin(args: &'a TrainArgs, terminal: &'a Terminal, json: bool) -> Result<Self> {
        Ok(Self { args, terminal, json, stop: stop_on_interrupt(terminal)? })
    }

    fn observers(&self) -> Vec<Box<dyn Observer>> {
        match self.json {
            true => vec![Box::new(JsonLog)],
            false => vec![Box::new(TrainingProgress::new(self.terminal.clone()))],
        }
    }

    /// A new run. Its folder is made once the data is known to be good.
    pub fn new_run(&self, config: RunConfig, dataset: &Arc<dyn Dataset>, out: Option<&Path>) -> Result<Trainer> {
        let folder = resolve::make_run_folder(out, &config)?;
        self.terminal.line(format!("Run:  {}", folder.display()));
        match Trainer::new(config, Arc::clone(dataset), &folder, self.observers()) {
            Ok(trainer) => Ok(trainer),
            Err(error) => {
                // Leaves no empty folder behind; one that has something in it is not removed by this.
                let _ = std::fs::remove_dir(&folder);
                Err(error.into())
            }
        }
    }

    /// What may be decided anew when a run goes on, as typed.
    pub fn resuming(&self) -> Result<ResumeOptions> {
        let args = self.args;
        Ok(ResumeOptions {
            threads: args.machine.threads.map(usize::from),
            device: args.machine.device.as_deref().map(str::parse).transpose()?,
            tier: args.tier,
            max_seconds: args.max_time,
            non_finite: args.non_finite.map(resolve::non_finite),
            exact: args.exact,
        })
    }

    /// A run that goes on.
    pub fn resumed(&self, run: &Path, dataset: &Arc<dyn Dataset>) -> Result<Trainer> {
        self.terminal.line(format!("Run:  {}", run.display()));
        let hooks = Hooks::observing(self.observers());
        Ok(Trainer::resume_with(run, Arc::clone(dataset), self.resuming()?, hooks)?)
    }

    /// Goes on with a run, on the data that its configuration names, or on what was typed if the data has moved.
    fn resume(&self, run: &Path) -> Result<ExitCode> {
        let (_, dataset) = self.go_on_with(&RunDir::new(run).config(), run)?;
        let summary = self.resumed(run, &dataset)?.run(&self.stop)?;
        self.finish(&summary, &dataset, run)
    }

    /// What the configuration `file` of `folder` says, with what was typed laid over it, and its data.
    pub fn go_on_with(&self, file: &Path, folder: &Path) -> Result<(RunConfig, Arc<dyn Dataset>)> {
        let mut config =
            RunConfig::load(file, None).with_context(|| format!("{}: no run to resume here", folder.display()))?;
        self.resuming()?.apply(&mut config);
        // For the report, too; what the run itself cannot compute with is its own error.
        if let Ok(kernels) = config.train.kernels() {
            kernels.force();
        }
        if let Some(typed) = &self.args.data {
            config.data.path = Some(typed.into());
        }
        let Some(data) = &config.data.path else {
            anyhow::bail!("{}: names no data; say which: unet train DATA --resume RUN", file.display())
        };
        let remedy =
            || format!("the run in {} needs its data; if it has moved: unet train DATA --resume RUN", folder.display());
        let dataset = open(&config, self.terminal).with_context(remedy)?;
        self.terminal.line(format!("Data: {}", data.display()));
        Ok((config, dataset))
    }

    /// What follows the last step: the report, and how it ended, in words and as an exit status; `folder` is what goes on where it was
    /// stopped. A run whose time is up did what it was asked to.
    pub fn finish(&self, summary: &RunSummary, dataset: &Arc<dyn Dataset>, folder: &Path) -> Result<ExitCode> {
        let mut lines = closing_lines(summary, folder);
        if summary.finished && !self.args.no_report {
            let options = resolve::predicting(&self.args.machine)?;
            let report = report::write(&summary.run, Some(dataset), options, self.terminal)?;
            lines.push(format!("  report   {}", report.display()));
        }
        lines.into_iter().for_each(|line| self.terminal.line(line));
        let done = summary.finished || summary.ended == Ended::Time;
        Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The first Ctrl-C asks the trainer to stop after its step, the second ends the program.
fn stop_on_interrupt(terminal: &Terminal) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let (flag, terminal) = (Arc::clone(&stop), terminal.clone());
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        terminal.line("Finishing this step, then stopping. Ctrl-C again stops at once, without saving.");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}

/// How it ended, and what to do next; `folder` is what goes on where it was stopped.
fn closing_lines(summary: &RunSummary, folder: &Path) -> Vec<String> {
    let run = summary.run.display();
    let steps = text::count(summary.step, "step");
    if !summary.finished {
        let why = if summary.ended == Ended::Time { "The time is up: stopped" } else { "Stopped" };
        return vec![
            String::new(),
            format!("{why} after {steps}; everything is saved. Go on with:"),
            format!("  unet train --resume {}", folder.display()),
        ];
    }
    let best = summary.best.as_ref().map_or_else(String::new, |b| {
        format!("; best epoch {} ({} {})", b.epoch, b.metric.replace('_', " "), text::number(b.value))
    });
    let early = if summary.ended == Ended::Patience { " (no epoch got better any more)" } else { "" };
    let mut lines = vec![
        String::new(),
        format!("Done: {steps} in {}{early}{best}", text::duration(summary.time)),
        format!("  model    {}", RunDir::new(&summary.run).best().display()),
        format!("  predict  unet predict {run} IMAGES -o masks"),
        format!("  curves   tensorboard --logdir {run}"),
    ];
    if summary.skipped > 0 {
        let batches = if summary.skipped == 1 { "batch was" } else { "batches were" };
        lines.push(format!("  note     {} {batches} left out: not a finite loss or gradient", summary.skipped));
    }
    if summary.best.as_ref().is_some_and(|b| b.epoch == 0) {
        lines.push("  note     no epoch beat the model that it started from; that one is kept as best".to_owned());
    }
    lines
}
