//! The size of an image and what touches what in it; takes lengths of row-major slices, yields checked sizes or errors.

use thiserror::Error;

/// Width and height of an image in pixels; every slice beside it is row-major, `width * height` long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Which pixels are neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Connectivity {
    /// Pixels that share an edge.
    #[default]
    Four,
    /// Pixels that share an edge or a corner.
    Eight,
}

/// A slice that does not fit its image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GridError {
    /// The slice has another length than the image has pixels.
    #[error("{what} has {found} values, but an image of {width}x{height} pixels needs {expected}")]
    Length {
        /// What the slice holds.
        what: &'static str,
        /// Width of the image in pixels.
        width: usize,
        /// Height of the image in pixels.
        height: usize,
        /// Pixels of the image.
        expected: usize,
        /// Length of the slice.
        found: usize,
    },
    /// Pixels are counted in 32 bits here; cut the image into parts.
    #[error("an image of {width}x{height} pixels is too large to label in one piece; cut it into parts")]
    TooLarge {
        /// Width of the image in pixels.
        width: usize,
        /// Height of the image in pixels.
        height: usize,
    },
}

impl Grid {
    /// The size of an image of `width` by `height` pixels.
    pub const fn new(width: usize, height: usize) -> Self {
        Self { width, height }
    }

    /// Number of pixels; saturates where the product would not fit, which [`check`](Self::check) then refuses.
    pub const fn pixels(self) -> usize {
        self.width.saturating_mul(self.height)
    }

    /// Makes sure that a slice of `found` values, called `what` in the error, covers this image.
    ///
    /// # Errors
    /// [`GridError::Length`] where it does not, [`GridError::TooLarge`] where 32-bit labels could run out.
    pub fn check(self, what: &'static str, found: usize) -> Result<(), GridError> {
        let Self { width, height } = self;
        let expected = self.pixels();
        // Some codes above the largest label are kept free, and padded copies have to be countable too.
        if width.saturating_add(2).saturating_mul(height.saturating_add(2)) >= (u32::MAX - 8) as usize {
            return Err(GridError::TooLarge { width, height });
        }
        if found != expected {
            return Err(GridError::Length { what, width, height, expected, found });
        }
        Ok(())
    }

    /// The neighbours of a pixel that lie inside the image, in the order north, west, east, south, and for
    /// [`Connectivity::Eight`] then north-west, north-east, south-west, south-east.
    pub(crate) fn neighbors(self, pixel: usize, connectivity: Connectivity) -> impl Iterator<Item = usize> {
        let Self { width, height } = self;
        let (x, y) = (pixel % width, pixel / width);
        let (north, west, east, south) = (y > 0, x > 0, x + 1 < width, y + 1 < height);
        let eight = connectivity == Connectivity::Eight;
        [
            north.then(|| pixel - width),
            west.then(|| pixel - 1),
            east.then(|| pixel + 1),
            south.then(|| pixel + width),
            (eight && north && west).then(|| pixel - width - 1),
            (eight && north && east).then(|| pixel - width + 1),
            (eight && south && west).then(|| pixel + width - 1),
            (eight && south && east).then(|| pixel + width + 1),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether a pixel lies in the first or last row or column.
    pub(crate) fn on_border(self, pixel: usize) -> bool {
        let (x, y) = (pixel % self.width, pixel / self.width);
        x == 0 || y == 0 || x + 1 == self.width || y + 1 == self.height
    }
}

impl Connectivity {
    /// The connectivity that the background has to have for Euler's formula to hold: eight for four, four for eight.
    pub const fn dual(self) -> Self {
        match self {
            Self::Four => Self::Eight,
            Self::Eight => Self::Four,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_and_named() {
        let grid = Grid::new(3, 2);
        assert_eq!(grid.check("mask", 6), Ok(()));
        let error = grid.check("mask", 5).expect_err("one is missing");
        assert_eq!(error.to_string(), "mask has 5 values, but an image of 3x2 pixels needs 6");
        let huge = Grid::new(usize::MAX, 2);
        assert!(matches!(huge.check("mask", 6), Err(GridError::TooLarge { .. })));
        assert_eq!(Grid::new(0, 7).check("mask", 0), Ok(()), "an image without pixels is covered by nothing");
    }

    #[test]
    fn neighbours_stay_inside_and_keep_their_order() {
        let grid = Grid::new(3, 3);
        let all = |pixel, connectivity| grid.neighbors(pixel, connectivity).collect::<Vec<_>>();
        assert_eq!(all(4, Connectivity::Eight), [1, 3, 5, 7, 0, 2, 6, 8]);
        assert_eq!(all(4, Connectivity::Four), [1, 3, 5, 7]);
        assert_eq!(all(0, Connectivity::Eight), [1, 3, 4]);
        assert_eq!(all(8, Connectivity::Four), [5, 7]);
        assert!(Grid::new(1, 1).neighbors(0, Connectivity::Eight).next().is_none());
    }
}
