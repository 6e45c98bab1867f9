//! Cells as bits and as horizontal runs: takes a test of each pixel, yields the four-connected components of those that pass, and the
//! pixels beside them. A slice has a hundred times fewer runs than pixels, so labelling and overlaps cost next to nothing.

use crate::objects::Grid;

/// A bit for each pixel, rows padded to whole words.
#[derive(Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    per_row: usize,
    /// The bits of a row's last word that are pixels.
    last: u64,
}

/// Neighbouring pixels of one row that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Row.
    pub y: u32,
    /// First column.
    pub start: u32,
    /// Column behind the last.
    pub end: u32,
    /// Component, from 1 on, in the order of their first pixels.
    pub label: u32,
}

/// The runs of a slice in row-major order, labelled.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub runs: Vec<Run>,
    /// Number of components.
    pub count: u32,
    parents: Vec<u32>,
}

impl Bits {
    /// Sets the bits of the pixels that are `inside`, and those alone.
    pub fn fill(&mut self, grid: Grid, inside: impl Fn(usize) -> bool) {
        self.per_row = grid.width.div_ceil(64);
        self.last = u64::MAX >> (self.per_row * 64 - grid.width).min(63);
        self.words.clear();
        for row in 0..grid.height {
            let from = row * grid.width;
            let chunk = |start: usize| {
                let end = (start + 64).min(grid.width);
                (start..end).rev().fold(0, |word, x| word << 1 | u64::from(inside(from + x)))
            };
            self.words.extend((0..self.per_row).map(|i| chunk(i * 64)));
        }
    }

    /// Calls `found` with row and column of each bit that differs between the two, in row-major order.
    pub fn differing(&self, other: &Self, mut found: impl FnMut(usize, usize)) {
        for (at, (a, b)) in self.words.iter().zip(&other.words).enumerate() {
            each_bit(a ^ b, |bit| found(at / self.per_row, at % self.per_row * 64 + bit));
        }
    }

    /// Calls `found` with row and column of each pixel that is not set and has an edge in common with one that is, in row-major order.
    pub fn beside(&self, mut found: impl FnMut(usize, usize)) {
        let n = self.per_row;
        let at = |index: usize, ok: bool| if ok { self.words[index] } else { 0 };
        for (index, &word) in self.words.iter().enumerate() {
            let column = index % n;
            let (north, south) = (at(index.wrapping_sub(n), index >= n), at(index + n, index + n < self.words.len()));
            let west = word << 1 | at(index.wrapping_sub(1), column > 0) >> 63;
            let east = word >> 1 | at(index + 1, column + 1 < n) << 63;
            let pixels = if column + 1 == n { self.last } else { u64::MAX };
            each_bit((north | south | west | east) & !word & pixels, |bit| found(index / n, column * 64 + bit));
        }
    }
}

impl Runs {
    /// Finds the runs of the set bits, and their components.
    pub fn fill(&mut self, bits: &Bits, grid: Grid) {
        self.runs.clear();
        self.parents.clear();
        let mut above = 0..0;
        for y in 0..grid.height {
            let first = self.runs.len();
            let row = &bits.words[y * bits.per_row..(y + 1) * bits.per_row];
            let mut start = next(row, 0, 0, grid.width);
            while start < grid.width {
                let end = next(row, start, u64::MAX, grid.width);
                let label = self.runs.len() as u32;
                self.runs.push(Run { y: y as u32, start: start as u32, end: end as u32, label });
                self.parents.push(label);
                start = next(row, end, 0, grid.width);
            }
            self.join_rows(above, first);
            above = first..self.runs.len();
        }
        self.number();
    }

    /// Joins the runs from `first` on with those above that they touch.
    fn join_rows(&mut self, above: std::ops::Range<usize>, first: usize) {
        let mut upper = above.start;
        for lower in first..self.runs.len() {
            let run = self.runs[lower];
            while upper < above.end && self.runs[upper].end <= run.start {
                upper += 1;
            }
            let mut touching = upper;
            while touching < above.end && self.runs[touching].start < run.end {
                self.join(touching as u32, lower as u32);
                touching += 1;
            }
        }
    }

    /// Gives components the numbers 1, 2, … A run's root never comes behind it, so one pass is enough.
    fn number(&mut self) {
        self.count = 0;
        for at in 0..self.runs.len() {
            let root = self.find(at as u32) as usize;
            self.runs[at].label = if root == at {
                self.count += 1;
                self.count
            } else {
                self.runs[root].label
            };
        }
    }

    fn find(&mut self, mut run: u32) -> u32 {
        while self.parents[run as usize] != run {
            let grandparent = self.parents[self.parents[run as usize] as usize];
            self.parents[run as usize] = grandparent;
            run = grandparent;
        }
        run
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.find(a), self.find(b));
        self.parents[a.max(b) as usize] = a.min(b);
    }
}

/// The first column from `from` on whose bit differs from `flip`'s, or `width`.
fn next(row: &[u64], from: usize, flip: u64, width: usize) -> usize {
    let mut at = from / 64;
    let mut hidden = u64::MAX << (from % 64);
    while let Some(word) = row.get(at) {
        let found = (word ^ flip) & hidden;
        if found != 0 {
            return (at * 64 + found.trailing_zeros() as usize).min(width);
        }
        hidden = u64::MAX;
        at += 1;
    }
    width
}

fn each_bit(mut word: u64, mut found: impl FnMut(usize)) {
    while word != 0 {
        found(word.trailing_zeros() as usize);
        word &= word - 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::objects::{Connectivity, components};

    fn masks() -> impl Strategy<Value = (usize, Vec<u8>)> {
        // Widths on both sides of a word and of two.
        let widths = prop_oneof![1usize..8, 62usize..67, 126usize..131];
        (widths, 1usize..9).prop_flat_map(|(w, h)| (Just(w), prop::collection::vec(0u8..2, w * h)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn runs_are_labelled_as_pixels_are((width, mask) in masks()) {
            let grid = Grid::new(width, mask.len() / width);
            let (mut bits, mut runs) = (Bits::default(), Runs::default());
            bits.fill(grid, |pixel| mask[pixel] != 0);
            runs.fill(&bits, grid);
            let expected = components(&mask, grid, Connectivity::Four).expect("sizes fit");
            let mut labels = vec![0; mask.len()];
            for run in &runs.runs {
                labels[run.y as usize * width..][run.start as usize..run.end as usize].fill(run.label);
            }
            prop_assert_eq!((labels, runs.count), (expected.labels, expected.count));
        }

        #[test]
        fn bits_know_their_neighbours_and_their_differences((width, mask) in masks()) {
            let grid = Grid::new(width, mask.len() / width);
            let (mut bits, mut none) = (Bits::default(), Bits::default());
            bits.fill(grid, |pixel| mask[pixel] != 0);
            none.fill(grid, |_| false);
            let beside = |pixel: &usize| {
                mask[*pixel] == 0 && grid.neighbors(*pixel, Connectivity::Four).any(|next| mask[next] != 0)
            };
            let mut found = Vec::new();
            bits.beside(|y, x| found.push(y * width + x));
            prop_assert_eq!(&found, &(0..mask.len()).filter(beside).collect::<Vec<_>>());
            found.clear();
            none.differing(&bits, |y, x| found.push(y * width + x));
            prop_assert_eq!(found, (0..mask.len()).filter(|&pixel| mask[pixel] != 0).collect::<Vec<_>>());
        }
    }
}
