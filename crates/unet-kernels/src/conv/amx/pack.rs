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
        let (taps, steps) = (self.kernel * self.kernel, self.steps_of_row());
        if floats.is_empty() || self.read == 0 {
            return;
        }
        let weight = |k: usize, ky: usize, col: usize| {
            let (tap, inner) = (ky * self.kernel + k / self.read, k % self.read);
            match to {
                Direction::Forward => oihw[(col * conv.cin + inner) * taps + tap],
                Direction::Backward => oihw[(inner * conv.cin + col) * taps + taps - 1 - tap],
            }
        };
        let panels = halves_mut(floats).par_chunks_mut(self.panel()).enumerate();
        panels.for_each(|(number, panel)| {
            for (s, step) in panel.chunks_mut(STEP).enumerate() {
                let (ky, first) = (s / steps, s % steps * DEPTH);
                for (i, value) in step.iter_mut().enumerate() {
                    let (k, col) = (first + i / (2 * COLS) * 2 + i % 2, number * COLS + i / 2 % COLS);
                    let inside = k < self.kernel * self.read && col < self.written;
                    *value = if inside { bf16::from_f32(weight(k, ky, col)) } else { bf16::ZERO };
                }
            }
        });
    }
}
