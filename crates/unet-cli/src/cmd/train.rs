//! `unet train`: resolves the configuration, opens the data, and lets the trainer run under a progress bar until it ends or is
//! stopped by Ctrl-C.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use unet_train::observe::{Observer, RunSummary};
use unet_train::{RunConfig, RunDir, Trainer};

use crate::args::TrainArgs;
use crate::progress::{TrainingProgress, text};
use crate::terminal::Terminal;
use crate::{data, output, resolve};

/// What shells report for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Trains, or prints the configuration.
pub fn run(args: &TrainArgs, terminal: &Terminal) -> Result<ExitCode> {
    let trainer = match &args.resume {
        Some(run) => resumed(run, args.data.as_deref(), terminal)?,
        None => {
            let (config, line) = resolve::run_config(args)?;
            if args.print_config {
                output::print(&config.to_toml()?)?;
                return Ok(ExitCode::SUCCESS);
            }
            terminal.line(line);
            new(config, args.out.as_deref(), terminal)?
        }
    };
    let stop = stop_on_interrupt(terminal)?;
    let summary = trainer.run(&stop)?;
    closing_lines(&summary).iter().for_each(|line| terminal.line(line));
    Ok(if summary.finished { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A new run. Its folder is made once the data is known to be good.
fn new(config: RunConfig, out: Option<&Path>, terminal: &Terminal) -> Result<Trainer> {
    let path = config.data.path.as_deref().unwrap_or(Path::new(data::SYNTHETIC));
    let dataset = data::open(path, &config.data.open_options(), terminal)?;
    let folder = resolve::make_run_folder(out, &config)?;
    terminal.line(format!("Run:  {}", folder.display()));
    match Trainer::new(config, dataset, &folder, observers(terminal)) {
        Ok(trainer) => Ok(trainer),
        Err(error) => {
            // Leaves no empty folder behind; one that has something in it is not removed by this.
            let _ = std::fs::remove_dir(&folder);
            Err(error.into())
        }
    }
}

/// A run that goes on, on the data that its configuration names, or on what was typed if the data has moved.
fn resumed(run: &Path, typed: Option<&str>, terminal: &Terminal) -> Result<Trainer> {
    let config_file = RunDir::new(run).config();
    let config =
        RunConfig::load(&config_file, None).with_context(|| format!("{}: no run to resume here", run.display()))?;
    let options = config.data.open_options();
    let data = match (typed, config.data.path) {
        (Some(typed), _) => typed.into(),
        (None, Some(path)) => path,
        (None, None) => {
            anyhow::bail!("{}: names no data; say which: unet train DATA --resume RUN", config_file.display())
        }
    };
    let remedy =
        || format!("the run in {} needs its data; if it has moved: unet train DATA --resume RUN", run.display());
    let dataset = data::open(&data, &options, terminal).with_context(remedy)?;
    terminal.line(format!("Data: {}", data.display()));
    terminal.line(format!("Run:  {}", run.display()));
    Ok(Trainer::resume(run, dataset, observers(terminal))?)
}

fn observers(terminal: &Terminal) -> Vec<Box<dyn Observer>> {
    vec![Box::new(TrainingProgress::new(terminal.clone()))]
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
        return vec![
            String::new(),
            format!("Stopped after {steps}; everything is saved. Go on with:"),
            format!("  unet train --resume {run}"),
        ];
    }
    let best = summary.best.as_ref().map_or_else(String::new, |b| {
        format!("; best epoch {} ({} {})", b.epoch, b.metric.replace('_', " "), text::number(b.value))
    });
    vec![
        String::new(),
        format!("Done: {steps} in {}{best}", text::duration(summary.time)),
        format!("  model    {}", RunDir::new(&summary.run).best().display()),
        format!("  predict  unet predict {run} IMAGES -o masks"),
        format!("  curves   tensorboard --logdir {run}"),
    ]
}
