//! Warping error: takes a truth and a proposal, deforms the truth towards the proposal without changing its topology,
//! and counts the pixels that stay wrong: those are splits, mergers, and lost or invented objects and holes.
//!
//! Jain et al., *Boundary Learning by Optimization with Topological Constraints*, CVPR 2010: among the pixels that differ
//! and are simple, the one that the proposal contradicts most is flipped, until none is left. Cells are four-connected,
//! membrane eight-connected, and what lies outside the image counts as membrane.

use std::collections::BinaryHeap;

use crate::objects::{Grid, GridError};

/// For each of the 256 neighbourhoods whether flipping its middle leaves the topology as it is. Bit k is the neighbour
/// east, north-east, north, north-west, west, south-west, south, south-east for k = 0 … 7.
const SIMPLE: [bool; 256] = {
    let mut table = [false; 256];
    let mut around = 0;
    while around < 256 {
        table[around] = crossing_number(around) == 1;
        around += 1;
    }
    table
};

/// Yokoi's crossing number for four-connected foreground: the number of foreground components at the pixel's edges that
/// the pixel joins; it is simple where that is one.
const fn crossing_number(around: usize) -> usize {
    let mut number = 0;
    let mut k = 0;
    while k < 8 {
        let (edge, corner, next) = (around >> k & 1, around >> (k + 1) & 1, around >> ((k + 2) % 8) & 1);
        number += edge - edge * corner * next;
        k += 2;
    }
    number
}

/// Deforms the truth (nonzero is cell) towards the cells of `proposal`, the probability of cell, above `threshold`, and
/// returns the deformed truth, 1 for cell. Where it still differs from the proposal, the topology of the two does.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn warp(truth: &[u8], proposal: &[f32], threshold: f32, grid: Grid) -> Result<Vec<u8>, GridError> {
    grid.check("the truth", truth.len())?;
    grid.check("the proposal", proposal.len())?;
    Ok(Warp::new(truth, |pixel| proposal[pixel] > threshold, |pixel| proposal[pixel], grid).run().image(grid))
}

/// Fraction of pixels that stay wrong after [`warp`]; 0 for an image without pixels.
///
/// # Errors
/// [`GridError`] where a slice does not cover the image.
pub fn warping_error(truth: &[u8], proposal: &[f32], threshold: f32, grid: Grid) -> Result<f64, GridError> {
    let warped = warp(truth, proposal, threshold, grid)?;
    let wrong = warped.iter().zip(proposal).filter(|&(&cell, &p)| (cell != 0) != (p > threshold)).count();
    Ok(wrong as f64 / warped.len().max(1) as f64)
}

/// Number of pixels that stay wrong, for cells and urgencies that the caller computes.
pub(super) fn wrong_pixels(
    truth: &[u8],
    is_cell: impl Fn(usize) -> bool,
    probability: impl Fn(usize) -> f32,
    grid: Grid,
) -> u64 {
    Warp::new(truth, is_cell, probability, grid).run().wrong
}

/// Bits of a pixel's state above the eight of its neighbourhood.
const CELL: u16 = 1 << 8;
const WRONG: u16 = 1 << 9;
const WAITING: u16 = 1 << 10;

/// A truth on its way, with a frame of membrane one pixel wide.
struct Warp<P> {
    /// For each pixel, framed, [`CELL`], [`WRONG`] and [`WAITING`], and where it is wrong its neighbourhood as an index of
    /// [`SIMPLE`]; that of other pixels is of no use, for they never flip.
    state: Vec<u16>,
    stride: usize,
    /// Offsets of the neighbours, in the order of the bits of [`SIMPLE`].
    around: [isize; 8],
    /// How strongly the proposal contradicts a pixel, largest first, then row-major, as one number each.
    heap: BinaryHeap<u64>,
    probability: P,
    wrong: u64,
}

impl<P: Fn(usize) -> f32> Warp<P> {
    fn new(truth: &[u8], is_cell: impl Fn(usize) -> bool, probability: P, grid: Grid) -> Self {
        let stride = grid.width + 2;
        let mut state = vec![0u16; stride * (grid.height + 2)];
        let mut wrong: Vec<usize> = Vec::new();
        for y in 0..grid.height {
            let (from, to) = (y * grid.width, (y + 1) * stride + 1);
            for (x, &label) in truth[from..from + grid.width].iter().enumerate() {
                let cell = label != 0;
                state[to + x] = if cell { CELL } else { 0 };
                if cell != is_cell(from + x) {
                    state[to + x] |= WRONG;
                    wrong.push(to + x);
                }
            }
        }
        let s = stride as isize;
        let around = [1, 1 - s, -s, -s - 1, -1, s - 1, s, s + 1];
        for &at in &wrong {
            let bit = |(k, offset): (usize, &isize)| u16::from(state[at.wrapping_add_signed(*offset)] & CELL != 0) << k;
            let ring: u16 = around.iter().enumerate().map(bit).sum();
            state[at] |= ring;
        }
        let count = wrong.len() as u64;
        let mut warp = Self { state, stride, around, heap: BinaryHeap::new(), probability, wrong: count };
        for at in wrong {
            if is_candidate(warp.state[at]) {
                warp.enqueue(at);
            }
        }
        warp
    }

    fn run(mut self) -> Self {
        while let Some(key) = self.heap.pop() {
            let at = (u32::MAX - key as u32) as usize;
            self.state[at] &= !WAITING;
            // A flip beside it may have made it one that matters; a later flip may free it again.
            if !is_candidate(self.state[at]) {
                continue;
            }
            self.state[at] = (self.state[at] ^ CELL) & !WRONG;
            self.wrong -= 1;
            for (k, offset) in self.around.into_iter().enumerate() {
                let next = at.wrapping_add_signed(offset);
                // Seen from there, this pixel lies on the opposite side.
                let state = self.state[next] ^ (1 << ((k + 4) % 8));
                self.state[next] = state;
                if is_candidate(state) {
                    self.enqueue(next);
                }
            }
        }
        self
    }

    fn enqueue(&mut self, at: usize) {
        let p = (self.probability)((at / self.stride - 1) * (self.stride - 2) + at % self.stride - 1);
        let against = (if self.state[at] & CELL != 0 { 1.0 - p } else { p }).max(0.0);
        self.state[at] |= WAITING;
        // The bits of floats that are not negative sort as the floats do.
        self.heap.push((u64::from(against.to_bits()) << 32) | u64::from(u32::MAX - at as u32));
    }

    fn image(&self, grid: Grid) -> Vec<u8> {
        (0..grid.pixels()).map(|pixel| u8::from(self.state[framed(pixel, grid.width)] & CELL != 0)).collect()
    }
}

/// Whether a pixel is wrong, simple, and not queued yet. The frame is never wrong.
fn is_candidate(state: u16) -> bool {
    state & (WRONG | WAITING) == WRONG && SIMPLE[usize::from(state & 0xFF)]
}

fn framed(pixel: usize, width: usize) -> usize {
    (pixel / width + 1) * (width + 2) + pixel % width + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Connectivity, label};

    /// Components of cells (four-connected) and of membrane with a frame around the image (eight-connected).
    fn topology(cells: &[u8], grid: Grid) -> (u32, u32) {
        let cell_count = label(grid, Connectivity::Four, |pixel| cells[pixel] != 0, |_, _| true).count;
        let (w, h) = (grid.width, grid.height);
        let membrane = |at: usize| {
            let (x, y) = (at % (w + 2), at / (w + 2));
            x == 0 || y == 0 || x > w || y > h || cells[(y - 1) * w + x - 1] == 0
        };
        (cell_count, label(Grid::new(w + 2, h + 2), Connectivity::Eight, membrane, |_, _| true).count)
    }

    #[test]
    fn simple_points_are_those_whose_flip_changes_no_count() {
        // In a 3x3 image the neighbourhood is the whole: the counts before and after the flip decide, except that a
        // flip can trade components one for one, which the places of the components tell.
        let order = [5, 2, 1, 0, 3, 6, 7, 8];
        for (around, &simple) in SIMPLE.iter().enumerate() {
            let mut cells = [0u8; 9];
            for (bit, &pixel) in order.iter().enumerate() {
                cells[pixel] = (around >> bit & 1) as u8;
            }
            let grid = Grid::new(3, 3);
            let parts = label(grid, Connectivity::Four, |pixel| cells[pixel] != 0, |_, _| true);
            let mut beside: Vec<u32> =
                [1, 3, 5, 7].map(|pixel| parts.labels[pixel]).into_iter().filter(|&l| l != 0).collect();
            beside.sort_unstable();
            beside.dedup();
            let gaps = label(grid, Connectivity::Eight, |pixel| pixel != 4 && cells[pixel] == 0, |_, _| true);
            assert_eq!(simple, beside.len() == 1 && gaps.count == 1, "{around:08b}");
        }
    }

    #[test]
    fn a_shifted_membrane_is_right_and_a_broken_one_is_wrong() {
        // A wall in column 2 of the truth stands in column 3 of the proposal.
        let wall = |column: usize| -> Vec<u8> { (0..30).map(|pixel| u8::from(pixel % 6 != column)).collect() };
        let grid = Grid::new(6, 5);
        let as_f32 = |cells: &[u8]| cells.iter().map(|&cell| f32::from(cell)).collect::<Vec<_>>();
        assert_eq!(warping_error(&wall(2), &as_f32(&wall(3)), 0.5, grid), Ok(0.0));
        // Two pixels of the wall are missing: closing one of them would do, the other cannot be explained by a shift.
        let mut broken = wall(2);
        (broken[2 * 6 + 2], broken[3 * 6 + 2]) = (1, 1);
        assert_eq!(warping_error(&wall(2), &as_f32(&broken), 0.5, grid), Ok(2.0 / 30.0));
        assert_eq!(warping_error(&broken, &as_f32(&wall(2)), 0.5, grid), Ok(1.0 / 30.0));
    }

    #[test]
    fn warping_keeps_the_topology_of_the_truth() {
        let grid = Grid::new(23, 17);
        // Two unlike patterns from a small generator, thick enough to have objects and holes.
        let pattern = |seed: u32| -> Vec<f32> {
            let value = |pixel: usize| {
                let (x, y) = ((pixel % 23) as f32, (pixel / 23) as f32);
                0.5 + 0.5 * ((x * 0.9 + seed as f32).sin() * (y * 0.7 - seed as f32 * 0.3).cos())
            };
            (0..grid.pixels()).map(value).collect()
        };
        let truth: Vec<u8> = pattern(1).iter().map(|&p| u8::from(p > 0.4)).collect();
        for seed in 2..6 {
            let proposal = pattern(seed);
            let warped = warp(&truth, &proposal, 0.5, grid).expect("sizes fit");
            assert_eq!(topology(&warped, grid), topology(&truth, grid));
            let wrong = |cells: &[u8]| cells.iter().zip(&proposal).filter(|&(&c, &p)| (c != 0) != (p > 0.5)).count();
            assert!(wrong(&warped) < wrong(&truth), "it moves towards the proposal");
            let counted = wrong_pixels(&truth, |pixel| proposal[pixel] > 0.5, |pixel| proposal[pixel], grid);
            assert_eq!(counted, wrong(&warped) as u64);
        }
    }

    #[test]
    fn truth_against_itself_and_empty_images() {
        let grid = Grid::new(3, 1);
        assert_eq!(warping_error(&[1, 0, 7], &[1.0, 0.0, 1.0], 0.5, grid), Ok(0.0));
        assert_eq!(warping_error(&[0, 0, 0], &[0.0, 1.0, 0.0], 0.5, grid), Ok(1.0 / 3.0), "an invented object");
        assert_eq!(warping_error(&[], &[], 0.5, Grid::new(0, 0)), Ok(0.0));
    }
}
