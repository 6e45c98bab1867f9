//! The tiles that a map is cut into, and how their values lie in Winograd's domain.

use super::weights::POINTS;
use crate::Dims;

/// Side of a tile's output.
pub(super) const STEP: usize = 4;

/// Channels from which rows are set apart.
const APART: usize = 128;

/// The 4×4 tiles that cover a map, image by image, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    rows: usize,
    cols: usize,
    images: usize,
}

impl Grid {
    pub(super) fn over(d: Dims) -> Self {
        Self { rows: d.h.div_ceil(STEP), cols: d.w.div_ceil(STEP), images: d.n }
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols * self.images
    }

    /// Image, first row and first column of a tile's output.
    pub(super) fn place(&self, tile: usize) -> (usize, usize, usize) {
        let row = tile / self.cols;
        (row / self.rows, row % self.rows * STEP, tile % self.cols * STEP)
    }
}

/// Where the values of a block of tiles lie: point by point, tile by tile, channel by channel. Points, and rows of many channels, are set
/// apart by a cache line, or else those of powers of two would fall into the same few lines of the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub tiles: usize,
    /// Floats from tile to tile.
    pub row: usize,
    /// Floats from point to point.
    pub point: usize,
}

impl Layout {
    pub(super) fn new(tiles: usize, channels: usize, width: usize) -> Self {
        let row = channels.next_multiple_of(width);
        let row = if row < APART { row } else { row + 16 };
        Self { tiles, row, point: tiles * row + 16 }
    }

    /// Floats of the block.
    pub(super) fn len(&self) -> usize {
        POINTS * self.point
    }
}
