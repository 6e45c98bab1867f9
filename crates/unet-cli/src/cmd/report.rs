//! `unet report RUN`: writes `report.html`, the run on one page.

use std::process::ExitCode;

use anyhow::Result;
use unet_train::{RunConfig, RunDir};

use crate::args::ReportArgs;
use crate::terminal::Terminal;
use crate::{data, output, report, resolve};

/// Writes it, and prints where it is.
pub fn run(args: &ReportArgs, terminal: &Terminal) -> Result<ExitCode> {
    let config = RunConfig::load(&RunDir::new(&args.run).config(), None)?;
    let path = args.data.as_deref().map(Into::into).or(config.data.path.clone());
    let dataset = path.map(|path| data::open(&path, &config.data.open_options(), terminal)).transpose()?;
    let written = report::write(&args.run, dataset.as_ref(), resolve::predicting(&args.machine)?, terminal)?;
    output::print(&format!("{}\n", written.display()))?;
    Ok(ExitCode::SUCCESS)
}
