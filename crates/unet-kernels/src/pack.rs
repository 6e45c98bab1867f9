//! Weight panels: the right factors of the products, columns in vectors, made from PyTorch's layouts once per optimizer step.

use rayon::prelude::*;

use crate::simd::Simd;

/// Columns of a matrix in panels of two vectors, the last of one if that suffices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PanelShape {
    /// Columns that mean something.
    pub cols: usize,
    /// Rows: the inner dimension.
    pub depth: usize,
    /// Floats in a vector.
    pub width: usize,
    /// Matrices, one behind the other inside a panel.
    pub matrices: usize,
}

impl PanelShape {
    /// Columns rounded up to whole vectors.
    pub(crate) fn padded(&self) -> usize {
        self.cols.next_multiple_of(self.width)
    }

    /// Floats of all panels.
    pub(crate) fn len(&self) -> usize {
        self.matrices * self.depth * self.padded()
    }

    /// Floats from one panel to the next.
    pub(crate) fn panel(&self) -> usize {
        self.matrices * self.depth * 2 * self.width
    }

    /// Floats from one matrix to the next, in the panel whose first column is `col`.
    pub(crate) fn panel_width(&self, col: usize) -> usize {
        (self.padded() - col).min(2 * self.width)
    }

    /// Floats before the panel whose first column is `col`.
    pub(crate) fn offset(&self, col: usize) -> usize {
        col / (2 * self.width) * self.panel()
    }

    /// The panels of at most `cols` columns from `col` on, which begin [`Self::offset`] floats after these.
    pub(crate) fn part(&self, col: usize, cols: usize) -> Self {
        assert!(col.is_multiple_of(2 * self.width) && cols.is_multiple_of(2 * self.width), "panels are not split");
        Self { cols: cols.min(self.cols - col), ..*self }
    }

    /// Runs `fill(first column, panel)` for every panel, in parallel.
    pub(crate) fn for_each(&self, panels: &mut [f32], fill: impl Fn(usize, &mut [f32]) + Sync) {
        assert_eq!(panels.len(), self.len(), "panels of {self:?}");
        if self.len() == 0 {
            return;
        }
        panels.par_chunks_mut(self.panel()).enumerate().for_each(|(p, panel)| fill(p * 2 * self.width, panel));
    }
}

/// Floats in a vector of the instruction set that `self` would run with.
pub(crate) struct Width;

impl crate::simd::Vectorized for Width {
    type Output = usize;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        S::WIDTH
    }
}
