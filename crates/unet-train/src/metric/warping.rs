//! Warping error: takes a truth and a proposal, deforms the truth towards the proposal without changing its topology,
//! and counts the pixels that stay wrong: those are splits, mergers, and lost or invented objects and holes.
//!
//! Jain et al., *Boundary Learning by Optimization with Topological Constraints*, CVPR 2010: among the pixels that differ
//! and are simple, the one that the proposal contradicts most is flipped, until none is left. Cells are four-connected,
//! membrane eight-connected, and what lies outside the image counts as membrane.

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
    let (warper, mut state) = (Warper::new(truth, |pixel| proposal[pixel], grid), WarpState::default());
    warper.begin(&mut state);
    for pixel in (0..truth.len()).filter(|&pixel| (truth[pixel] != 0) != (proposal[pixel] > threshold)) {
        warper.wrong(&mut state, pixel / grid.width, pixel % grid.width);
    }
    warper.run(&mut state);
    let cell = |pixel: usize| state.pixels[warper.framed(pixel / grid.width, pixel % grid.width)] & CELL != 0;
    Ok((0..truth.len()).map(|pixel| u8::from(cell(pixel))).collect())
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

/// Bits of a pixel's state above the eight of its neighbourhood.
const CELL: u16 = 1 << 8;
const WRONG: u16 = 1 << 9;
const WAITING: u16 = 1 << 10;

/// A truth ready to be deformed towards the same probabilities at any threshold, with a frame of membrane one pixel wide.
///
/// How strongly a proposal contradicts a pixel, where it does, is one number for all thresholds: 1 − p for a cell, p for
/// membrane. So the pixels are sorted once, and a threshold's queue is a set of places in that order.
pub(super) struct Warper {
    /// For each pixel, framed, [`CELL`] and its neighbourhood as an index of [`SIMPLE`].
    truth: Vec<u16>,
    /// Place of each pixel, framed, in the order.
    place: Vec<u32>,
    /// Pixels, framed, from the one to be flipped last to the one to be flipped first: that which is contradicted most, of
    /// equal ones the first in row-major order.
    order: Vec<u32>,
    stride: usize,
    /// Offsets of the neighbours, in the order of the bits of [`SIMPLE`].
    around: [isize; 8],
}

/// A truth on its way; one serves for many.
#[derive(Default)]
pub(super) struct WarpState {
    /// As [`Warper`] has them, with [`WRONG`] and [`WAITING`]. Neighbourhoods are kept up to date; those of pixels that are
    /// right are of no use, for they never flip.
    pixels: Vec<u16>,
    queue: PlaceSet,
    wrong: u64,
}

impl Warper {
    /// Of a truth (nonzero is cell) and the probabilities of cell. All is 4-byte indices: the grid has been checked.
    pub fn new(truth: &[u8], probability: impl Fn(usize) -> f32, grid: Grid) -> Self {
        let stride = grid.width + 2;
        let s = stride as isize;
        let around = [1, 1 - s, -s, -s - 1, -1, s - 1, s, s + 1];
        let mut state = vec![0u16; stride * (grid.height + 2)];
        let mut keys = Vec::with_capacity(truth.len());
        for (pixel, &label) in truth.iter().enumerate() {
            let at = (pixel / grid.width + 1) * stride + pixel % grid.width + 1;
            let p = probability(pixel);
            let against = (if label != 0 { 1.0 - p } else { p }).max(0.0);
            // The bits of floats that are not negative sort as the floats do.
            keys.push((against.to_bits(), at as u32));
            if label != 0 {
                state[at] |= CELL;
                for (k, offset) in around.into_iter().enumerate() {
                    // Seen from there, this pixel lies on the opposite side.
                    state[at.wrapping_add_signed(offset)] |= 1 << ((k + 4) % 8);
                }
            }
        }
        keys.reverse();
        let order = sorted(keys);
        let mut place = vec![0; state.len()];
        for (rank, &at) in order.iter().enumerate() {
            place[at as usize] = rank as u32;
        }
        Self { truth: state, place, order, stride, around }
    }

    /// Starts from the truth, with nothing wrong.
    pub fn begin(&self, state: &mut WarpState) {
        state.pixels.clear();
        state.pixels.extend_from_slice(&self.truth);
        state.queue.clear(self.order.len());
        state.wrong = 0;
    }

    /// Says that the proposal differs from the truth at (y, x).
    pub fn wrong(&self, state: &mut WarpState, y: usize, x: usize) {
        let at = self.framed(y, x);
        state.pixels[at] |= WRONG;
        state.wrong += 1;
        self.queue(state, at);
    }

    /// Flips all that can be flipped; yields how many pixels stay wrong.
    pub fn run(&self, state: &mut WarpState) -> u64 {
        while let Some(place) = state.queue.pop() {
            let at = self.order[place] as usize;
            state.pixels[at] &= !WAITING;
            // A flip beside it may have made it one that matters; a later flip may free it again.
            if !is_candidate(state.pixels[at]) {
                continue;
            }
            state.pixels[at] = (state.pixels[at] ^ CELL) & !WRONG;
            state.wrong -= 1;
            for (k, offset) in self.around.into_iter().enumerate() {
                let next = at.wrapping_add_signed(offset);
                state.pixels[next] ^= 1 << ((k + 4) % 8);
                self.queue(state, next);
            }
        }
        state.wrong
    }

    fn queue(&self, state: &mut WarpState, at: usize) {
        if is_candidate(state.pixels[at]) {
            state.pixels[at] |= WAITING;
            state.queue.insert(self.place[at] as usize);
        }
    }

    fn framed(&self, y: usize, x: usize) -> usize {
        (y + 1) * self.stride + x + 1
    }
}

/// Whether a pixel is wrong, simple, and not queued yet. The frame is never wrong.
fn is_candidate(state: u16) -> bool {
    state & (WRONG | WAITING) == WRONG && SIMPLE[usize::from(state & 0xFF)]
}

/// The second of each pair in ascending order of the first, equal ones as they come (radix sort, 11 bits a pass).
fn sorted(mut keys: Vec<(u32, u32)>) -> Vec<u32> {
    const BITS: u32 = 11;
    let mut other = vec![(0, 0); keys.len()];
    for shift in [0, BITS, 2 * BITS] {
        let digit = |key: u32| (key >> shift) as usize & ((1 << BITS) - 1);
        let mut starts = vec![0usize; (1 << BITS) + 1];
        for &(key, _) in &keys {
            starts[digit(key) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        for &pair in &keys {
            let start = &mut starts[digit(pair.0)];
            other[*start] = pair;
            *start += 1;
        }
        std::mem::swap(&mut keys, &mut other);
    }
    keys.into_iter().map(|(_, at)| at).collect()
}

/// A set of numbers that gives its largest one: a tree of words in which a bit says that something is below it.
#[derive(Default)]
struct PlaceSet {
    /// From the numbers themselves up to a single word.
    levels: Vec<Vec<u64>>,
}

impl PlaceSet {
    /// Makes it the empty set, with room for the numbers below `size`.
    fn clear(&mut self, size: usize) {
        self.levels.clear();
        let mut words = size.div_ceil(64).max(1);
        self.levels.push(vec![0; words]);
        while words > 1 {
            words = words.div_ceil(64);
            self.levels.push(vec![0; words]);
        }
    }

    fn insert(&mut self, number: usize) {
        let mut at = number;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let was_empty = *word == 0;
            *word |= 1 << (at % 64);
            if !was_empty {
                return;
            }
            at /= 64;
        }
    }

    fn pop(&mut self) -> Option<usize> {
        if self.levels.last()?[0] == 0 {
            return None;
        }
        let mut at = 0;
        for level in self.levels.iter().rev() {
            at = at * 64 + level[at].ilog2() as usize;
        }
        let mut bit = at;
        for level in &mut self.levels {
            let word = &mut level[bit / 64];
            *word &= !(1 << (bit % 64));
            if *word != 0 {
                break;
            }
            bit /= 64;
        }
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// The definition, step by step: of all pixels that are wrong and simple, the one that is contradicted most is flipped.
    fn plainly(truth: &[u8], proposal: &[f32], threshold: f32, grid: Grid) -> Vec<u8> {
        let mut cells: Vec<u8> = truth.iter().map(|&label| u8::from(label != 0)).collect();
        let against = |pixel: usize| if truth[pixel] != 0 { 1.0 - proposal[pixel] } else { proposal[pixel] };
        let is_simple = |cells: &[u8], pixel: usize| {
            let (x, y) = ((pixel % grid.width) as isize, (pixel / grid.width) as isize);
            let cell = |dx: isize, dy: isize| {
                let inside =
                    (0..grid.width as isize).contains(&(x + dx)) && (0..grid.height as isize).contains(&(y + dy));
                inside && cells[(y + dy) as usize * grid.width + (x + dx) as usize] != 0
            };
            let ring = [(1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1)];
            SIMPLE[ring.iter().enumerate().map(|(k, &(dx, dy))| usize::from(cell(dx, dy)) << k).sum::<usize>()]
        };
        loop {
            let wrong = |pixel: &usize| (cells[*pixel] != 0) != (proposal[*pixel] > threshold);
            let candidates = (0..cells.len()).filter(wrong).filter(|&pixel| is_simple(&cells, pixel));
            let Some(worst) = candidates.reduce(|a, b| if against(b) > against(a) { b } else { a }) else {
                return cells;
            };
            cells[worst] ^= 1;
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_most_contradicted_pixel_is_always_flipped_first(
            (width, pixels) in (1usize..14, 1usize..14)
                .prop_flat_map(|(w, h)| (Just(w), prop::collection::vec((0u8..2, 0u8..9), w * h))),
            threshold in 0u8..9,
        ) {
            let grid = Grid::new(width, pixels.len() / width);
            let (truth, eighths): (Vec<u8>, Vec<u8>) = pixels.into_iter().unzip();
            let proposal: Vec<f32> = eighths.iter().map(|&e| f32::from(e) / 8.0).collect();
            let threshold = f32::from(threshold) / 8.0;
            let warped = warp(&truth, &proposal, threshold, grid).expect("sizes fit");
            prop_assert_eq!(warped, plainly(&truth, &proposal, threshold, grid));
        }

        #[test]
        fn a_set_gives_its_largest_number_first(numbers in prop::collection::vec(0usize..9000, 1..200)) {
            let mut set = PlaceSet::default();
            set.clear(9000);
            numbers.iter().for_each(|&number| set.insert(number));
            let mut expected = numbers;
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.dedup();
            prop_assert_eq!(std::iter::from_fn(|| set.pop()).collect::<Vec<_>>(), expected);
        }
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
            assert_eq!(warped, plainly(&truth, &proposal, 0.5, grid));
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
