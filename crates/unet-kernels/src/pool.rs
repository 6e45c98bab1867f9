//! Max-pooling 2×2 with stride 2; an odd last row or column is dropped, as PyTorch's default does.

use crate::{Element, Kernels, Map, MapMut, Source, reference};

impl Kernels {
    /// 2×2 maxima, (⌊H/2⌋, ⌊W/2⌋).
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn max_pool<T: Element>(&self, x: Source<'_, T>, y: MapMut<'_, T>) {
        reference::max_pool(x, y);
    }

    /// *Adds* the gradient by the input to `dx`: it goes to the first maximum of each 2×2 block, in row-major order
    /// (PyTorch's rule for ties). `x` is the input that was pooled.
    ///
    /// # Panics
    /// Sizes do not fit.
    pub fn max_pool_backward<T: Element>(&self, x: Source<'_, T>, dy: Map<'_, T>, dx: MapMut<'_, T>) {
        reference::max_pool_backward(x, dy, dx);
    }
}
