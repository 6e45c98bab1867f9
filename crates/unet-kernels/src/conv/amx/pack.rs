//! A convolution's weights as B: the taps of a kernel's row and their channels are one run of K, which is one run of the map
//! too; runs are rounded up to whole steps with zeros, columns to whole panels.

use half::bf16;
use rayon::prelude::*;

use super::{COLS, DEPTH, STEP, floats_for, halves_mut};
use crate::conv::{ConvShape, Direction};

/// The panels of a convolution's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conv) struct Panels {
    kernel: usize,
    /// Channels read.
    read: usize,
    /// Channels written.
    pub(super) written: usize,
}

impl Panels {
    pub(in crate::conv) fn new(conv: ConvShape, to: Direction) -> Self {
        let (read, written) = to.sides(conv);
        Self { kernel: conv.kernel, read, written }
    }

    /// Steps of one row of the kernel.
    fn steps_of_row(&self) -> usize {
        (self.kernel * self.read).div_ceil(DEPTH)
    }

    /// Values of A that one row of the kernel reads from the first tap's first channel on.
    pub(super) fn run(&self) -> usize {
        self.steps_of_row() * DEPTH
    }

    /// bf16 values of a panel.
    pub(super) fn panel(&self) -> usize {
        self.kernel * self.steps_of_row() * STEP
    }

    /// Floats of working memory that hold all panels.
    pub(in crate::conv) fn floats(&self) -> usize {
        floats_for(self.written.div_ceil(COLS) * self.panel())
    }

    /// Where the steps begin in a map whose rows are `row` values apart.
    pub(super) fn offsets(&self, row: usize) -> Vec<usize> {
        let steps = self.steps_of_row();
        (0..self.kernel * steps).map(|s| s / steps * row + s % steps * DEPTH).collect()
    }

    /// Rounds OIHW weights to bf16 and packs them; backward, turned by half a turn with in and out exchanged.
    pub(in crate::conv) fn pack(&self, conv: ConvShape, to: Direction, oihw: &[f32], floats: &mut [f32]) {
        let (kernel, steps) = (self.kernel, self.steps_of_row());
        if floats.is_empty() || self.read == 0 {
            return;
        }
        let taps = kernel * kernel;
        // Values from one channel read to the next, and from one written.
        let (read_step, written_step) = match to {
            Direction::Forward => (taps, conv.cin * taps),
            Direction::Backward => (conv.cin * taps, taps),
        };
        let panels = halves_mut(floats).par_chunks_mut(self.panel()).enumerate();
        panels.for_each(|(number, panel)| {
            panel.fill(bf16::ZERO);
            let columns = COLS.min(self.written - number * COLS);
            for inner in 0..self.read {
                let first = number * COLS * written_step + inner * read_step;
                for tap in 0..taps {
                    let (ky, kx) = (tap / kernel, tap % kernel);
                    let k = kx * self.read + inner;
                    let at = (ky * steps + k / DEPTH) * STEP + k % DEPTH / 2 * (2 * COLS) + k % 2;
                    let from = first + if to == Direction::Forward { tap } else { taps - 1 - tap };
                    for (n, to) in panel[at..].iter_mut().step_by(2).take(columns).enumerate() {
                        *to = bf16::from_f32(oihw[from + n * written_step]);
                    }
                }
            }
        });
    }
}
