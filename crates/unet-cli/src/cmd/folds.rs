//! `unet train --folds K`: K runs, each with another K-th of the images held out (contiguous blocks, as neighbouring slices are alike),
//! and a summary of their scores. A set that was stopped or killed goes on: `folds.toml` in its folder says what it is.

mod summary;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use unet_data::Dataset;
use unet_model::atomic::write_atomically;
use unet_train::observe::{Best, RunSummary};
use unet_train::{RunConfig, RunDir};

use super::train::Session;
use crate::{report, resolve};

/// The set's resolved configuration, in its folder: `--config` of it repeats the set, `--resume` of the folder goes on with it.
const FILE: &str = "folds.toml";

/// A fold that ran to its end.
struct Fold {
    run: PathBuf,
    best: Option<Best>,
}

/// How a fold's run ended: at its end, or stopped, with the exit status that follows.
enum Ended {
    Done(Fold),
    Stopped(ExitCode),
}

/// Whether a folder is that of a set.
pub fn is_set(folder: &Path) -> bool {
    folder.join(FILE).is_file()
}

/// How many folds the set in a folder has, and the runs of those that have begun.
pub fn runs(folder: &Path) -> Result<(usize, Vec<PathBuf>)> {
    let file = folder.join(FILE);
    let folds = folds_of(&RunConfig::load(&file, None)?, &file)?;
    let begun = (1..=folds).map(|fold| run_of(folder, fold)).filter(|run| RunDir::new(run).config().is_file());
    Ok((folds, begun.collect()))
}

fn folds_of(config: &RunConfig, file: &Path) -> Result<usize> {
    config.data.folds.with_context(|| format!("{}: says of no folds; restore it", file.display()))
}

fn run_of(folder: &Path, fold: usize) -> PathBuf {
    folder.join(format!("fold{fold}"))
}

/// One run per fold, or the one that was asked for.
pub fn train(config: RunConfig, folds: usize, dataset: &Arc<dyn Dataset>, session: &Session<'_>) -> Result<ExitCode> {
    let out = session.args.out.as_deref();
    let Some(fold) = config.data.fold else {
        let folder = resolve::make_run_folder(out, &config)?;
        let file = folder.join(FILE);
        let text = config.to_toml()?;
        write_atomically(&file, |to| to.write_all(text.as_bytes()))
            .with_context(|| format!("{}: cannot write", file.display()))?;
        let set = Set { folder, config, folds, dataset, session };
        return set.run().inspect_err(|_| set.leave_nothing());
    };
    // A fold of its own may join others that lie there already.
    let folder = match out {
        Some(out) => out.to_owned(),
        None => resolve::make_run_folder(None, &config)?,
    };
    let set = Set { folder, config, folds, dataset, session };
    let run = run_of(&set.folder, fold);
    set.announce(fold);
    match set.begun(fold, &run, &run)? {
        Ended::Done(_) => Ok(ExitCode::SUCCESS),
        Ended::Stopped(code) => Ok(code),
    }
}

/// Goes on with the set in a folder: what is finished is kept, what was stopped goes on, the rest begins.
pub fn go_on(folder: &Path, session: &Session<'_>) -> Result<ExitCode> {
    let file = folder.join(FILE);
    let (config, dataset) = session.go_on_with(&file, folder)?;
    let folds = folds_of(&config, &file)?;
    Set { folder: folder.to_owned(), config, folds, dataset: &dataset, session }.run()
}

/// Runs that belong together.
struct Set<'a> {
    folder: PathBuf,
    config: RunConfig,
    folds: usize,
    dataset: &'a Arc<dyn Dataset>,
    session: &'a Session<'a>,
}

impl Set<'_> {
    /// Every fold, as far as it is not done yet, and the summary; a fold that was stopped ends them all.
    fn run(&self) -> Result<ExitCode> {
        let mut done = Vec::new();
        for fold in 1..=self.folds {
            let run = run_of(&self.folder, fold);
            let files = RunDir::new(&run);
            self.announce(fold);
            let ended = match files.config().is_file() {
                true if files.state().is_file() && files.is_finished()? => self.kept(&run)?,
                true => {
                    let trainer = self.session.resumed(&run, self.dataset)?;
                    self.ended(&trainer.run(&self.session.stop)?, &self.folder)?
                }
                false => self.begun(fold, &run, &self.folder)?,
            };
            match ended {
                Ended::Done(fold) => done.push(fold),
                Ended::Stopped(code) => return Ok(code),
            }
        }
        summary::write(&self.folder, &done, self.session.terminal)?;
        Ok(ExitCode::SUCCESS)
    }

    fn announce(&self, fold: usize) {
        self.session.terminal.line(format!("\nFold {fold} of {}", self.folds));
    }

    /// A fold that ran to its end before; its report is written where that was not come to.
    fn kept(&self, run: &Path) -> Result<Ended> {
        let (session, best) = (self.session, RunDir::new(run).best_so_far()?);
        if !session.args.no_report && !run.join("report.html").exists() {
            let options = resolve::predicting(&session.args.machine)?;
            report::write(run, Some(self.dataset), options, session.terminal)?;
        }
        session.terminal.line(format!("Kept: {}, which is done", run.display()));
        Ok(Ended::Done(Fold { run: run.to_owned(), best }))
    }

    /// A fold from its beginning; `folder` is what goes on where it is stopped.
    fn begun(&self, fold: usize, run: &Path, folder: &Path) -> Result<Ended> {
        let trainer = self.session.new_run(self.config.of_fold(fold), self.dataset, Some(run))?;
        self.ended(&trainer.run(&self.session.stop)?, folder)
    }

    fn ended(&self, summary: &RunSummary, folder: &Path) -> Result<Ended> {
        let code = self.session.finish(summary, self.dataset, folder)?;
        Ok(match summary.finished {
            true => Ended::Done(Fold { run: summary.run.clone(), best: summary.best.clone() }),
            false => Ended::Stopped(code),
        })
    }

    /// Takes the folder back where not even the first run could begin, so that it may be given again.
    fn leave_nothing(&self) {
        if !run_of(&self.folder, 1).exists() {
            let _ = std::fs::remove_file(self.folder.join(FILE));
            let _ = std::fs::remove_dir(&self.folder);
        }
    }
}
