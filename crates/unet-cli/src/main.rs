//! The `unet` command: parses the arguments, runs one command, and turns its end into an exit status: 0 done, 1 failed, 2 wrong usage.
#![forbid(unsafe_code)]

mod args;
mod cmd;
mod data;
mod output;
mod progress;
mod report;
mod resolve;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::terminal::Terminal;

fn main() -> ExitCode {
    // Before there is another thread.
    unet_kernels::give_back_freed_blocks();
    let cli = Cli::parse();
    let terminal = Terminal::stderr();
    if let Some(kernels) = cli.tier {
        kernels.force();
    }
    let result = match cli.command {
        Command::Train(mut args) => {
            args.tier = cli.tier.map(|kernels| kernels.tier());
            cmd::train::run(&args, &terminal)
        }
        Command::Predict(args) => cmd::predict::run(&args, &terminal),
        Command::Evaluate(args) => cmd::evaluate::run(&args, &terminal),
        Command::Inspect(args) => cmd::inspect::run(&args, &terminal),
        Command::Tune(args) => cmd::tune::run(&args, &terminal),
        Command::Report(args) => cmd::report::run(&args, &terminal),
        Command::Import(args) => cmd::import::run(&args),
        Command::Completions(args) => cmd::manual::completions(&args),
        Command::Man(args) => cmd::manual::pages(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            terminal.line(format!("error: {}", output::message(&error)));
            ExitCode::FAILURE
        }
    }
}
