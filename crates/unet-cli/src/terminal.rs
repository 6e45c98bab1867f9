//! Where lines for people go: stderr, above the progress bars where a terminal shows them. Results go to stdout, elsewhere.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressDrawTarget};

/// Redraws of the bars per second, at most.
const REDRAWS: u8 = 12;

/// Stderr: a terminal with bars, or a pipe that gets plain lines. Clones write to the same place.
#[derive(Clone, Debug)]
pub struct Terminal {
    bars: Option<MultiProgress>,
    hushed: bool,
}

impl Terminal {
    /// Bars where stderr is a terminal that can move its cursor.
    pub fn stderr() -> Self {
        let able = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let bars = able.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(REDRAWS)));
        Self { bars, hushed: false }
    }

    /// Says nothing: for `--quiet`, and where programs read stderr.
    pub fn hushed() -> Self {
        Self { bars: None, hushed: true }
    }

    /// The bars, if this is a terminal.
    pub fn bars(&self) -> Option<&MultiProgress> {
        self.bars.as_ref()
    }

    /// Writes one line, above the bars. A reader that has gone away is not an error of the work that goes on.
    pub fn line(&self, text: impl Display) {
        if self.hushed {
            return;
        }
        let write = || {
            let _ = writeln!(std::io::stderr(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}
