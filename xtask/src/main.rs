//! `cargo xtask`: what a developer of this project runs besides cargo itself.
//!
//! Takes a subcommand (`fetch-data`, `tidy`, `ci`, …), runs it from the workspace root whatever the current folder is, and prints
//! an error once, with its causes. Nothing in the workspace depends on this crate.
#![forbid(unsafe_code)]

mod bench;
mod ci;
mod consumers;
mod fetch;
mod imagej;
mod memcheck;
mod oracle;
mod process;
mod python;
mod reference;
mod smoke;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Developer automation: data, checks, benchmarks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch a data set into data/, verified file by file
    FetchData(fetch::Args),
    /// Run every check that a change has to pass
    Ci(ci::Args),
    /// Check the invariants of the workspace: layers, unsafe, file heads and lengths, pinned dependencies
    Tidy,
    /// Run the scripts whose numbers ours are compared with: PyTorch, scikit-image
    Reference(reference::Args),
    /// Let other people's programs read our files: tensorboard
    Oracle(oracle::Args),
    /// Run the kernels' tests under valgrind
    Memcheck(memcheck::Args),
    /// Measure speed and memory beside a peer's
    Bench(bench::Args),
    /// Make the tables and the plot of docs/performance/*.json: README.md, docs/performance.md, step.svg
    BenchReport,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::FetchData(args) => fetch::run(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Tidy => tidy::run(),
        Command::Reference(args) => reference::run(&args),
        Command::Oracle(args) => oracle::run(&args),
        Command::Memcheck(args) => memcheck::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchReport => bench::published::write(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
