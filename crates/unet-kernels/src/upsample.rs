//! Bilinear upsampling by two with aligned corners (PyTorch's `align_corners=True`), written straight into its place.

use crate::{Element, Kernels, Map, MapMut, Source, reference};

/// Where a smaller map's first pixel lies in a larger one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Rows above it.
    pub top: usize,
    /// Columns left of it.
    pub left: usize,
}

impl Kernels {
    /// Writes the (2H, 2W) result into `y` at `place`; the pixels of `y` around it become zero.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn upsample<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>, place: Placement) {
        reference::upsample(x, y, place);
    }

    /// Gradient by the input, from the (2H, 2W) part of `dy` at `place`.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn upsample_backward<T: Element>(&self, dy: Map<'_, T>, dx: MapMut<'_, T>, place: Placement) {
        reference::upsample_backward(dy, dx, place);
    }
}
