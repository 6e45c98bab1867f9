//! `cargo xtask fetch-data`: brings a data set into `data/`, whole and verified, or says what is missing and why.
//!
//! Takes a data set's name, and where to fetch from unless that is the manifest's own sources; yields the files below the destination. What
//! is there and right is left alone, what is there and wrong is replaced only once the right file has been verified beside it.

mod download;
pub mod manifest;
mod progress;
#[cfg(test)]
mod server;
pub mod sha256;
mod source;
mod transfer;

use crate::workspace;
use anyhow::{Context, Result, bail};
use download::{Downloader, FileFailure};
use manifest::{Dataset, FileEntry, Manifest};
use progress::Progress;
use source::Source;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Arguments of `cargo xtask fetch-data`.
#[derive(clap::Args)]
pub struct Args {
    /// The data set, as data/datasets.toml calls it
    #[arg(default_value = "isbi2012")]
    name: String,
    /// Fetch from this folder or URL instead of the published sources (given several times: tried in that order)
    #[arg(long, value_name = "DIR_OR_URL")]
    from: Vec<String>,
    /// Where the files go [default: data/NAME in the workspace]
    #[arg(long, value_name = "DIR")]
    dest: Option<PathBuf>,
}

/// How patient a download is.
pub struct Settings {
    /// Longest wait for a connection.
    pub connect: Duration,
    /// Longest wait for the next bytes.
    pub stall: Duration,
    /// Attempts at one source before the next is tried.
    pub attempts: u32,
    /// Pause ahead of the second attempt; doubles for each further one.
    pub backoff: Duration,
    /// Heed `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    pub environment_proxy: bool,
    /// Files fetched at a time.
    pub workers: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            attempts: 5,
            backoff: Duration::from_millis(500),
            environment_proxy: true,
            workers: 6,
        }
    }
}

/// What a run did.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// Files that were there and right.
    pub present: usize,
    /// Files that were fetched.
    pub fetched: usize,
}

/// Fetches what `args` ask for and prints what was done.
pub fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let manifest = Manifest::read(&root.join(manifest::PATH))?;
    let dataset = manifest.dataset(&args.name)?;
    let dest = args.dest.clone().unwrap_or_else(|| root.join("data").join(&args.name));
    let from = if args.from.is_empty() { &dataset.sources } else { &args.from };
    let sources = from.iter().map(|text| Source::parse(text)).collect::<Result<Vec<_>>>()?;
    eprintln!("{}: {}\nterms: {}", args.name, dataset.title, dataset.terms);
    let summary = fetch(dataset, &sources, &dest, &Settings::default())?;
    match summary {
        Summary { present, fetched: 0 } => println!("{}: nothing to do, all {present} files are right", dest.display()),
        Summary { present, fetched } => {
            println!("{}: {fetched} files fetched and verified, {present} were there", dest.display())
        }
    }
    Ok(())
}

/// Makes `dest` hold every file of `dataset`. The error lists what could not be fetched, with each source's reason.
pub fn fetch(dataset: &Dataset, sources: &[Source], dest: &Path, settings: &Settings) -> Result<Summary> {
    let checks = in_parallel(&dataset.files, settings.workers, |file| existing(file, dest));
    let mut wanted = Vec::new();
    for (file, state) in dataset.files.iter().zip(checks) {
        match state? {
            State::Right => {}
            State::Missing => wanted.push(file),
            State::Wrong => {
                eprintln!(
                    "{}: not the published bytes; it stays until the right file is here",
                    dest.join(&file.path).display()
                );
                wanted.push(file);
            }
        }
    }
    let progress = Progress::new(wanted.len(), wanted.iter().map(|file| file.bytes).sum());
    let downloader = Downloader::new(sources, dest, settings, &progress);
    let outcomes = in_parallel(&wanted, settings.workers, |file| downloader.fetch(file));
    progress.finish();
    let failures: Vec<FileFailure> = outcomes.into_iter().filter_map(Result::err).collect();
    if !failures.is_empty() {
        bail!("{}", report(&failures, wanted.len()));
    }
    Ok(Summary { present: dataset.files.len() - wanted.len(), fetched: wanted.len() })
}

/// How a file stands at the destination.
enum State {
    Missing,
    Wrong,
    Right,
}

fn existing(file: &FileEntry, dest: &Path) -> Result<State> {
    let path = dest.join(&file.path);
    let mut opened = match std::fs::File::open(&path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::Missing),
        Err(error) => return Err(error).with_context(|| format!("cannot open {}", path.display())),
    };
    let (hash, bytes) = sha256::of_reader(&mut opened).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(if bytes == file.bytes && hash == file.sha256 { State::Right } else { State::Wrong })
}

/// The failed files, the first few with each source's reason, and what to do.
fn report(failures: &[FileFailure], wanted: usize) -> String {
    const SHOWN: usize = 3;
    let mut text = format!("{} of {wanted} files could not be fetched", failures.len());
    for failure in failures.iter().take(SHOWN) {
        text += &format!("\n  {}", failure.path);
        for reason in &failure.reasons {
            text += &format!("\n    {reason}");
        }
    }
    if failures.len() > SHOWN {
        text += &format!("\n  … and {} more", failures.len() - SHOWN);
    }
    text + "\nWhat to do: run the command again (what is complete stays, half a file is resumed); behind a proxy set HTTPS_PROXY; \
            or name a copy of the data: cargo xtask fetch-data --from DIR_OR_URL"
}

/// `work` on each of `items`, on up to `workers` threads; the results in the order of the items.
fn in_parallel<T: Sync, R: Send>(items: &[T], workers: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        while let Some((index, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, items.get(at)?)))
        {
            done.push((index, work(item)));
        }
        done
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers.clamp(1, items.len().max(1))).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests;
