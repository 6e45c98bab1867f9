//! What one slice adds up to at each threshold: takes truth and proposal, yields sums from which all scores follow, so that
//! no image has to be kept until the last one is seen.

use std::ops::AddAssign;

use rayon::prelude::*;

use super::sweep::{Scratch, Sweep};
use super::{IsbiSlice, Proposal};
use crate::metric::ScoreError;
use crate::metric::rand_info::PairSums;

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
        let sweep = Sweep::new(slice);
        let steps = match slice.proposal {
            Proposal::Mask(_) => vec![sweep.count(0.5, &mut Scratch::default())],
            // In the values' own precision, so that 0.2 stored is not above 0.2 asked for.
            Proposal::Probability(_) => (0..THRESHOLDS)
                .into_par_iter()
                .map_init(Scratch::default, |scratch, tenth| sweep.count((tenth as f64 / 10.0) as f32, scratch))
                .collect(),
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
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Counts {
    pub(super) thinned: PairSums,
    pub(super) plain: PairSums,
    /// Cells in both, of the truth, of the proposal.
    pub(super) both: u64,
    pub(super) truth: u64,
    pub(super) proposal: u64,
    pub(super) wrong: u64,
    pub(super) pixels: u64,
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
}
