//! What one slice adds up to at each threshold: takes truth and proposal, yields sums from which all scores follow, so that
//! no image has to be kept until the last one is seen.

use std::ops::AddAssign;

use rayon::prelude::*;

use super::{IsbiSlice, Proposal};
use crate::metric::ScoreError;
use crate::metric::contingency::Partition;
use crate::metric::rand_info::PairSums;
use crate::metric::thinning::grow;
use crate::metric::warping::wrong_pixels;
use crate::objects::{Connectivity, label};

/// The thresholds 0.0, 0.1, … 1.0.
pub(super) const THRESHOLDS: usize = 11;

/// How far a probability may leave the unit interval by the rounding of averages.
const ROUNDING: f32 = 1e-5;

/// The sums of one slice at every threshold, or of its mask.
#[derive(Debug, Clone)]
pub struct IsbiCounts {
    /// One for each threshold; a single one for a mask, which is the same at all of them.
    steps: Vec<Counts>,
}

impl IsbiCounts {
    /// Counts one slice, its thresholds in parallel.
    ///
    /// # Errors
    /// [`ScoreError`] where the slice does not fit its size or a value is no probability (its image is then called 0).
    pub fn of(slice: &IsbiSlice<'_>) -> Result<Self, ScoreError> {
        slice.check(0)?;
        let truth = slice.truth_partition();
        let steps = match slice.proposal {
            Proposal::Mask(_) => vec![slice.count(&truth, 0.5)?],
            // In the values' own precision, so that 0.2 stored is not above 0.2 asked for.
            Proposal::Probability(_) => (0..THRESHOLDS)
                .into_par_iter()
                .map(|tenth| slice.count(&truth, (tenth as f64 / 10.0) as f32))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { steps })
    }

    /// Whether a mask was counted, and no probabilities.
    pub fn is_mask(&self) -> bool {
        self.steps.len() == 1
    }

    /// Whether the truth has a cell.
    pub fn has_cells(&self) -> bool {
        self.at(0).truth > 0
    }

    /// The sums at one threshold; those of a mask at any.
    pub(super) fn at(&self, step: usize) -> Counts {
        self.steps.get(step).or(self.steps.first()).copied().unwrap_or_default()
    }
}

/// What one slice at one threshold adds up to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) thinned: PairSums,
    pub(super) plain: PairSums,
    /// Cells in both, of the truth, of the proposal.
    both: u64,
    truth: u64,
    proposal: u64,
    wrong: u64,
    pixels: u64,
}

impl Counts {
    pub(super) fn pixel_f(&self) -> Option<f64> {
        (self.truth > 0).then(|| 2.0 * self.both as f64 / (self.truth + self.proposal) as f64)
    }

    pub(super) fn pixel_precision(&self) -> Option<f64> {
        (self.truth > 0).then(|| if self.proposal == 0 { 1.0 } else { self.both as f64 / self.proposal as f64 })
    }

    pub(super) fn pixel_recall(&self) -> Option<f64> {
        (self.truth > 0).then(|| self.both as f64 / self.truth as f64)
    }

    pub(super) fn warping_error(&self) -> f64 {
        self.wrong as f64 / self.pixels.max(1) as f64
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.thinned += other.thinned;
        self.plain += other.plain;
        self.both += other.both;
        self.truth += other.truth;
        self.proposal += other.proposal;
        self.wrong += other.wrong;
        self.pixels += other.pixels;
    }
}

impl IsbiSlice<'_> {
    pub(super) fn check(&self, image: usize) -> Result<(), ScoreError> {
        self.grid.check("the truth", self.truth.len())?;
        match self.proposal {
            Proposal::Mask(cells) => self.grid.check("the mask", cells.len())?,
            Proposal::Probability(values) => {
                self.grid.check("the probability image", values.len())?;
                let fine = |value: &f32| (-ROUNDING..=1.0 + ROUNDING).contains(value);
                if let Some(at) = values.iter().position(|value| !fine(value)) {
                    let (x, y) = (at % self.grid.width, at / self.grid.width);
                    return Err(ScoreError::Probability { image, x, y, value: values[at] });
                }
            }
        }
        Ok(())
    }

    fn truth_partition(&self) -> Partition {
        Partition::new(&label(self.grid, Connectivity::Four, |pixel| self.truth[pixel] != 0, |_, _| true).labels)
    }

    fn count(&self, truth: &Partition, limit: f32) -> Result<Counts, ScoreError> {
        let cells: Vec<u8> = match self.proposal {
            Proposal::Probability(values) => values.iter().map(|&value| u8::from(value > limit)).collect(),
            Proposal::Mask(cells) => cells.iter().map(|&cell| u8::from(cell != 0)).collect(),
        };
        let parts = label(self.grid, Connectivity::Four, |pixel| cells[pixel] != 0, |_, _| true);
        let basins = grow(&parts, self.grid);
        let is_cell = |pixel: usize| cells[pixel] != 0;
        let wrong = match self.proposal {
            Proposal::Probability(values) => wrong_pixels(self.truth, is_cell, |pixel| values[pixel], self.grid),
            Proposal::Mask(_) => wrong_pixels(self.truth, is_cell, |pixel| f32::from(cells[pixel]), self.grid),
        };
        let mut counts = Counts {
            thinned: PairSums::of_foreground(&truth.overlaps(&basins.labels)?),
            plain: PairSums::of_foreground(&truth.overlaps(&parts.labels)?),
            wrong,
            pixels: self.truth.len() as u64,
            ..Counts::default()
        };
        for (&label, &cell) in self.truth.iter().zip(&cells) {
            counts.both += u64::from(label != 0 && cell != 0);
            counts.truth += u64::from(label != 0);
            counts.proposal += u64::from(cell != 0);
        }
        Ok(counts)
    }
}
