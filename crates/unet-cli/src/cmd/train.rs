//! `unet train`: resolves the configuration, opens the data, and lets the trainer run under a progress bar until it ends or is
//! stopped by Ctrl-C.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use unet_data::{Dataset, ValSpec};
use unet_kernels::Kernels;
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
    let observers = || -> Vec<Box<dyn Observer>> {
        if json { vec![Box::new(JsonLog)] } else { vec![Box::new(TrainingProgress::new(terminal.clone()))] }
    };
    if let Some(run) = &args.resume {
        let stop = stop_on_interrupt(terminal)?;
        let trainer = resumed(run, args, terminal, observers())?;
        let (trainer, dataset) = trainer;
        return finish(&trainer.run(&stop)?, &dataset, args, terminal);
    }
    let began = Instant::now();
    let (mut config, notes) = resolve::run_config(args)?;
    let given = resolve::Given::new(args)?;
    let planned = given.leaves_a_plan(&config)?;
    if args.budget.is_some() && !planned {
        anyhow::bail!(
            "--budget: recipe \"{}\" says how long it trains; leave --recipe and --config out, or use --max-time",
            config.recipe
        );
    }
    if args.memory.is_some() && !planned {
        anyhow::bail!(
            "--memory: nothing is planned for recipe \"{}\"; leave it out, or set --batch-size, --patch and --width",
            config.recipe
        );
    }
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
    if args.print_config {
        // As the run's own file has it: what the hardware decides is decided here.
        config.train.precision = PrecisionChoice::Fixed(config.train.precision.on(&Kernels::from_env()?));
        output::print(&config.to_toml()?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let dataset = dataset.map_or_else(|| open(&config, terminal), Ok)?;
    let stop = stop_on_interrupt(terminal)?;
    match args.folds {
        Some(folds) => all_folds(config, &dataset, usize::from(folds), args, terminal, &stop, &observers),
        None => {
            let trainer = new(config, &dataset, args.out.as_deref(), terminal, observers())?;
            finish(&trainer.run(&stop)?, &dataset, args, terminal)
        }
    }
}

/// One run per fold, or the one that was asked for; a fold that was stopped ends them all.
fn all_folds(
    config: RunConfig,
    dataset: &Arc<dyn Dataset>,
    folds: usize,
    args: &TrainArgs,
    terminal: &Terminal,
    stop: &Arc<AtomicBool>,
    observers: &dyn Fn() -> Vec<Box<dyn Observer>>,
) -> Result<ExitCode> {
    let chosen = args.fold.map_or(1..=folds, |f| usize::from(f)..=usize::from(f));
    if *chosen.end() > folds {
        anyhow::bail!("--fold {}: there are {folds} folds", chosen.end());
    }
    // A fold of its own may join others that lie there already.
    let folder = match (&args.out, args.fold) {
        (Some(out), Some(_)) => out.clone(),
        (out, _) => resolve::make_run_folder(out.as_deref(), &config)?,
    };
    let mut summaries = Vec::new();
    for fold in chosen {
        let mut config = config.clone();
        terminal.line(format!("\nFold {fold} of {folds}"));
        config.data.val = ValSpec::Fold { part: fold, parts: folds, seed: None };
        let out = folder.join(format!("fold{fold}"));
        let trainer = new(config, dataset, Some(&out), terminal, observers())?;
        let summary = trainer.run(stop)?;
        let code = finish(&summary, dataset, args, terminal)?;
        if !summary.finished {
            return Ok(code);
        }
        summaries.push(summary);
    }
    if args.fold.is_none() {
        folds::summarize(&folder, &summaries, terminal)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What follows the last step: the report, and how it ended, in words and as an exit status. A run whose time is up did what it was
/// asked to.
fn finish(summary: &RunSummary, dataset: &Arc<dyn Dataset>, args: &TrainArgs, terminal: &Terminal) -> Result<ExitCode> {
    let mut lines = closing_lines(summary);
    if summary.finished && !args.no_report {
        let options = resolve::predicting(&args.machine)?;
        let report = report::write(&summary.run, Some(dataset), options, terminal)?;
        lines.push(format!("  report   {}", report.display()));
    }
    lines.into_iter().for_each(|line| terminal.line(line));
    let done = summary.finished || summary.ended == Ended::Time;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The images that the configuration names.
fn open(config: &RunConfig, terminal: &Terminal) -> Result<Arc<dyn Dataset>> {
    let path = config.data.path.as_deref().unwrap_or(Path::new(data::SYNTHETIC));
    data::open(path, &config.data.open_options(), terminal)
}

/// A new run. Its folder is made once the data is known to be good.
fn new(
    config: RunConfig,
    dataset: &Arc<dyn Dataset>,
    out: Option<&Path>,
    terminal: &Terminal,
    observers: Vec<Box<dyn Observer>>,
) -> Result<Trainer> {
    let folder = resolve::make_run_folder(out, &config)?;
    terminal.line(format!("Run:  {}", folder.display()));
    match Trainer::new(config, Arc::clone(dataset), &folder, observers) {
        Ok(trainer) => Ok(trainer),
        Err(error) => {
            // Leaves no empty folder behind; one that has something in it is not removed by this.
            let _ = std::fs::remove_dir(&folder);
            Err(error.into())
        }
    }
}

/// A run that goes on, on the data that its configuration names, or on what was typed if the data has moved.
fn resumed(
    run: &Path,
    args: &TrainArgs,
    terminal: &Terminal,
    observers: Vec<Box<dyn Observer>>,
) -> Result<(Trainer, Arc<dyn Dataset>)> {
    let config_file = RunDir::new(run).config();
    let config =
        RunConfig::load(&config_file, None).with_context(|| format!("{}: no run to resume here", run.display()))?;
    let opening = config.data.open_options();
    let data = match (&args.data, config.data.path) {
        (Some(typed), _) => typed.into(),
        (None, Some(path)) => path,
        (None, None) => {
            anyhow::bail!("{}: names no data; say which: unet train DATA --resume RUN", config_file.display())
        }
    };
    let remedy =
        || format!("the run in {} needs its data; if it has moved: unet train DATA --resume RUN", run.display());
    let dataset = data::open(&data, &opening, terminal).with_context(remedy)?;
    terminal.line(format!("Data: {}", data.display()));
    terminal.line(format!("Run:  {}", run.display()));
    let options = ResumeOptions {
        threads: args.machine.threads.map(usize::from),
        device: args.machine.device.as_deref().map(str::parse).transpose()?,
        max_seconds: args.max_time,
        non_finite: args.non_finite.map(resolve::non_finite),
        exact: args.exact,
    };
    let trainer = Trainer::resume_with(run, Arc::clone(&dataset), options, Hooks::observing(observers))?;
    Ok((trainer, dataset))
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

/// How it ended, and what to do next.
fn closing_lines(summary: &RunSummary) -> Vec<String> {
    let run = summary.run.display();
    let steps = text::count(summary.step, "step");
    if !summary.finished {
        let why = if summary.ended == Ended::Time { "The time is up: stopped" } else { "Stopped" };
        return vec![
            String::new(),
            format!("{why} after {steps}; everything is saved. Go on with:"),
            format!("  unet train --resume {run}"),
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
