//! `unet inspect`: what a data set, a model, a run, a set of folds or this machine is, as lines or as JSON. Nothing is changed.

mod dataset;
mod machine;
mod model;
mod run;

pub use run::epochs as run_records;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use unet_train::RunDir;

use super::folds;
use crate::args::InspectArgs;
use crate::terminal::Terminal;

/// Finds out what the target is, and says so.
pub fn run(args: &InspectArgs, terminal: &Terminal) -> Result<ExitCode> {
    let Some(target) = &args.target else {
        machine::report(args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let path = Path::new(target);
    if path.is_file() {
        model::report(path, args.json)?;
    } else if RunDir::new(path).config().is_file() {
        run::report(path, args.json)?;
    } else if folds::is_set(path) {
        run::report_set(path, args.json)?;
    } else {
        dataset::report(path, args, terminal)?;
    }
    Ok(ExitCode::SUCCESS)
}
