//! Progress of a download: a bar on a terminal, a line now and then where the output goes elsewhere. Takes bytes and finished files from
//! several threads.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;

/// Shared by the threads that fetch.
pub struct Progress {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
    files: usize,
    bytes: u64,
}

#[derive(Default)]
struct State {
    files_done: usize,
    bytes_done: u64,
    tenths_told: u64,
}

impl Progress {
    /// For `files` files of `bytes` bytes in all.
    pub fn new(files: usize, bytes: u64) -> Self {
        let bar = (files > 0 && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(bytes);
            let template = "{bar:30} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        Self { bar, state: Mutex::default(), files, bytes }
    }

    /// `count` more bytes of some file are here.
    pub fn advance(&self, count: u64) {
        self.update(|state| state.bytes_done += count);
    }

    /// `count` bytes turned out to be useless and are thrown away.
    pub fn retract(&self, count: u64) {
        self.update(|state| state.bytes_done = state.bytes_done.saturating_sub(count));
    }

    /// One more file is complete and verified.
    pub fn file_done(&self) {
        self.update(|state| state.files_done += 1);
    }

    /// Something the user may want to know although it may pass.
    pub fn note(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Nothing more will come.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        // A thread that panicked while it held the lock left plain counters behind: they are still good for a display.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        let line = format!("{}/{} files", state.files_done, self.files);
        match &self.bar {
            Some(bar) => {
                bar.set_position(state.bytes_done);
                bar.set_message(line);
            }
            None => {
                let tenths = state.bytes_done * 10 / self.bytes.max(1);
                if tenths > state.tenths_told {
                    state.tenths_told = tenths;
                    eprintln!(
                        "fetched {:.1} of {:.1} MB, {line}",
                        state.bytes_done as f64 / 1e6,
                        self.bytes as f64 / 1e6
                    );
                }
            }
        }
    }
}
