//! [`Sweep`]: one slice at any threshold. Takes truth and proposal, yields the [`Counts`] at a threshold. What does not depend on it
//! (the truth's components, the order in which pixels are warped) is made once; the rest works on runs of pixels, and in memory that
//! is used again.

use super::counts::Counts;
use super::pairs::PairTable;
use super::runs::{Bits, Run, Runs};
use super::{IsbiSlice, Proposal};
use crate::metric::rand_info::PairSums;
use crate::metric::thinning::{DRY, OUTSIDE, QUEUED, flood};
use crate::metric::warping::{WarpState, Warper};

/// A slice, ready to be counted.
pub(super) struct Sweep<'a> {
    slice: &'a IsbiSlice<'a>,
    truth: Bits,
    truth_runs: Runs,
    warper: Warper,
    /// Labels before the flood: dry, with a frame of one pixel.
    dry: Vec<u32>,
}

/// Memory for one threshold, for one thread.
#[derive(Default)]
pub(super) struct Scratch {
    cells: Bits,
    runs: Runs,
    basins: Vec<u32>,
    queue: Vec<u32>,
    pairs: PairTable,
    truth_sizes: Vec<u64>,
    proposal_sizes: Vec<u64>,
    warp: WarpState,
}

impl<'a> Sweep<'a> {
    /// Of a slice that has been checked.
    pub fn new(slice: &'a IsbiSlice<'a>) -> Self {
        let IsbiSlice { grid, truth: labels, proposal } = *slice;
        let (mut truth, mut truth_runs) = (Bits::default(), Runs::default());
        truth.fill(grid, |pixel| labels[pixel] != 0);
        truth_runs.fill(&truth, grid);
        let warper = match proposal {
            Proposal::Probability(values) => Warper::new(labels, |pixel| values[pixel], grid),
            Proposal::Mask(cells) => Warper::new(labels, |pixel| f32::from(u8::from(cells[pixel] != 0)), grid),
        };
        let stride = grid.width + 2;
        let mut dry = vec![OUTSIDE; stride * (grid.height + 2)];
        for row in dry.chunks_exact_mut(stride).skip(1).take(grid.height) {
            row[1..=grid.width].fill(DRY);
        }
        Self { slice, truth, truth_runs, warper, dry }
    }

    /// Counts the slice where cells are what is above `limit`, or the mask.
    pub fn count(&self, limit: f32, scratch: &mut Scratch) -> Counts {
        let grid = self.slice.grid;
        match self.slice.proposal {
            Proposal::Probability(values) => scratch.cells.fill(grid, |pixel| values[pixel] > limit),
            Proposal::Mask(cells) => scratch.cells.fill(grid, |pixel| cells[pixel] != 0),
        }
        scratch.runs.fill(&scratch.cells, grid);
        let size = |run: &Run| u64::from(run.end - run.start);
        let mut counts = Counts {
            truth: self.truth_runs.runs.iter().map(size).sum(),
            proposal: scratch.runs.runs.iter().map(size).sum(),
            pixels: grid.pixels() as u64,
            ..Counts::default()
        };
        (counts.plain, counts.both) = self.overlaps(scratch);
        counts.thinned = self.thinned_overlaps(scratch);
        self.warper.begin(&mut scratch.warp);
        self.truth.differing(&scratch.cells, |y, x| self.warper.wrong(&mut scratch.warp, y, x));
        counts.wrong = self.warper.run(&mut scratch.warp);
        counts
    }

    /// Overlaps of the components of truth and proposal, and the number of pixels that are in both.
    fn overlaps(&self, scratch: &mut Scratch) -> (PairSums, u64) {
        let Scratch { runs, pairs, .. } = scratch;
        pairs.clear();
        let (mut both, mut first) = (0, 0);
        let key = |y: u32, x: u32| u64::from(y) << 32 | u64::from(x);
        for truth in &self.truth_runs.runs {
            while runs.runs.get(first).is_some_and(|run| key(run.y, run.end) <= key(truth.y, truth.start)) {
                first += 1;
            }
            let mut shared = 0;
            let touching = |run: &&Run| key(run.y, run.start) < key(truth.y, truth.end);
            for run in runs.runs[first..].iter().take_while(touching) {
                let pixels = u64::from(run.end.min(truth.end) - run.start.max(truth.start));
                pairs.add(truth.label, run.label, pixels);
                shared += pixels;
            }
            let dams = u64::from(truth.end - truth.start) - shared;
            if dams > 0 {
                pairs.add(truth.label, 0, dams);
            }
            both += shared;
        }
        (self.sums(scratch), both)
    }

    /// Overlaps of the components of the truth with the basins that the proposal's grow into.
    fn thinned_overlaps(&self, scratch: &mut Scratch) -> PairSums {
        scratch.pairs.clear();
        if scratch.runs.count == 0 {
            // Without a cell, all is one plateau, hence one basin.
            for run in &self.truth_runs.runs {
                scratch.pairs.add(run.label, 1, u64::from(run.end - run.start));
            }
            return self.sums(scratch);
        }
        self.grow(scratch);
        let stride = self.slice.grid.width + 2;
        for run in &self.truth_runs.runs {
            let row = (run.y as usize + 1) * stride + 1;
            let labels = &scratch.basins[row + run.start as usize..row + run.end as usize];
            for part in labels.chunk_by(|a, b| a == b) {
                scratch.pairs.add(run.label, part[0], part.len() as u64);
            }
        }
        self.sums(scratch)
    }

    /// Grows the labelled runs into the membrane, as [`crate::metric::thin`] does.
    fn grow(&self, scratch: &mut Scratch) {
        let Scratch { cells, runs, basins, queue, .. } = scratch;
        let stride = self.slice.grid.width + 2;
        basins.clear();
        basins.extend_from_slice(&self.dry);
        for run in &runs.runs {
            let row = (run.y as usize + 1) * stride + 1;
            basins[row + run.start as usize..row + run.end as usize].fill(run.label);
        }
        queue.clear();
        cells.beside(|y, x| {
            let pixel = (y + 1) * stride + x + 1;
            basins[pixel] = QUEUED;
            queue.push(pixel as u32);
        });
        flood(basins, queue, stride);
    }

    fn sums(&self, scratch: &mut Scratch) -> PairSums {
        let room = |sizes: &mut Vec<u64>, count: u32| sizes.resize(sizes.len().max(count as usize + 2), 0);
        room(&mut scratch.truth_sizes, self.truth_runs.count);
        room(&mut scratch.proposal_sizes, scratch.runs.count);
        let truth = &mut scratch.truth_sizes[..self.truth_runs.count as usize + 1];
        let proposal = &mut scratch.proposal_sizes[..scratch.runs.count as usize + 2];
        PairSums::of_pairs(scratch.pairs.pairs(), truth, proposal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metric::{Contingency, thin, warp};
    use crate::objects::{Connectivity, Grid, components};

    /// The counts from whole label images, a pixel at a time.
    fn plainly(slice: &IsbiSlice<'_>, limit: f32) -> Counts {
        let cells: Vec<u8> = match slice.proposal {
            Proposal::Probability(values) => values.iter().map(|&value| u8::from(value > limit)).collect(),
            Proposal::Mask(cells) => cells.iter().map(|&cell| u8::from(cell != 0)).collect(),
        };
        let label = |mask: &[u8]| components(mask, slice.grid, Connectivity::Four).expect("sizes fit").labels;
        let truth = label(slice.truth);
        let sums = |proposal: &[u32]| PairSums::of_foreground(&Contingency::new(&truth, proposal).expect("lengths"));
        let values: Vec<f32> = match slice.proposal {
            Proposal::Probability(values) => values.to_vec(),
            Proposal::Mask(_) => cells.iter().map(|&cell| f32::from(cell)).collect(),
        };
        let limit = if matches!(slice.proposal, Proposal::Mask(_)) { 0.5 } else { limit };
        let warped = warp(slice.truth, &values, limit, slice.grid).expect("sizes fit");
        let count = |of: &dyn Fn(usize) -> bool| (0..cells.len()).filter(|&pixel| of(pixel)).count() as u64;
        Counts {
            thinned: sums(&thin(&cells, slice.grid).expect("sizes fit").labels),
            plain: sums(&label(&cells)),
            both: count(&|pixel| slice.truth[pixel] != 0 && cells[pixel] != 0),
            truth: count(&|pixel| slice.truth[pixel] != 0),
            proposal: count(&|pixel| cells[pixel] != 0),
            wrong: count(&|pixel| warped[pixel] != cells[pixel]),
            pixels: cells.len() as u64,
        }
    }

    #[track_caller]
    fn agree(slice: &IsbiSlice<'_>, scratch: &mut Scratch) {
        let sweep = Sweep::new(slice);
        for tenth in 0..=10u8 {
            let limit = f32::from(tenth) / 10.0;
            let (ours, plain) = (sweep.count(limit, scratch), plainly(slice, limit));
            // Sums of logarithms may be rounded in another order; all else is whole numbers.
            assert!(ours.thinned.is_close_to(&plain.thinned) && ours.plain.is_close_to(&plain.plain), "{limit}");
            let whole = |counts: Counts| Counts { thinned: PairSums::default(), plain: PairSums::default(), ..counts };
            assert_eq!(whole(ours), whole(plain), "at {limit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn every_threshold_counts_as_whole_label_images_do(
            (width, pixels) in (prop_oneof![1usize..12, 62usize..67], 1usize..12)
                .prop_flat_map(|(w, h)| (Just(w), prop::collection::vec((0u8..2, 0u8..12), w * h))),
        ) {
            let grid = Grid::new(width, pixels.len() / width);
            let (truth, tenths): (Vec<u8>, Vec<u8>) = pixels.into_iter().unzip();
            let values: Vec<f32> = tenths.iter().map(|&tenth| f32::from(tenth.min(10)) / 10.0).collect();
            let mask: Vec<u8> = tenths.iter().map(|&tenth| tenth / 6).collect();
            let mut scratch = Scratch::default();
            for proposal in [Proposal::Probability(&values), Proposal::Mask(&mask)] {
                agree(&IsbiSlice { grid, truth: &truth, proposal }, &mut scratch);
            }
        }
    }

    #[test]
    fn large_cells_with_smooth_walls_count_the_same() {
        // Cells some twenty pixels wide, walls that open as the threshold falls; slices of two sizes with the same memory.
        let mut scratch = Scratch::default();
        for (width, height) in [(150, 97), (64, 40)] {
            let grid = Grid::new(width, height);
            let wave = |pixel: usize, phase: f32| {
                let (x, y) = ((pixel % width) as f32 / 6.5 + phase, (pixel / width) as f32 / 7.5 - phase);
                ((x + 0.3 * y.sin()).sin() * (y + 0.2 * x.cos()).cos()).abs().sqrt()
            };
            let truth: Vec<u8> = (0..grid.pixels()).map(|pixel| u8::from(wave(pixel, 0.0) > 0.4)).collect();
            let values: Vec<f32> = (0..grid.pixels()).map(|pixel| wave(pixel, 0.1)).collect();
            let slice = IsbiSlice { grid, truth: &truth, proposal: Proposal::Probability(&values) };
            assert!(Sweep::new(&slice).truth_runs.count > 10);
            agree(&slice, &mut scratch);
        }
    }
}
