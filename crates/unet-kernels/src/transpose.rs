//! Transposed convolution 2×2 with stride 2: each input pixel becomes a 2×2 block of output pixels, no two overlap.

use crate::{Element, Kernels, Map, MapMut, Placement, Source, reference};

/// Weights of a transposed convolution, packed from PyTorch's (in, out, 2, 2).
#[derive(Clone, Debug)]
pub struct TransposeWeights {
    cin: usize,
    cout: usize,
    iohw: Vec<f32>,
}

impl Kernels {
    /// Packs (in, out, 2, 2) weights.
    ///
    /// # Panics
    /// `iohw` has not `4·cin·cout` values.
    pub fn transpose_weights(&self, cin: usize, cout: usize, iohw: &[f32]) -> TransposeWeights {
        let mut weights = TransposeWeights { cin, cout, iohw: Vec::new() };
        self.transpose_repack(&mut weights, iohw);
        weights
    }

    /// Packs new values into weights that exist, without allocating.
    ///
    /// # Panics
    /// `iohw` has not `4·cin·cout` values.
    pub fn transpose_repack(&self, weights: &mut TransposeWeights, iohw: &[f32]) {
        assert_eq!(iohw.len(), 4 * weights.cin * weights.cout, "transposed weights");
        weights.iohw.clear();
        weights.iohw.extend_from_slice(iohw);
    }

    /// Writes the (2H, 2W) result into `y` at `place`; the pixels of `y` around it become zero.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn transpose_forward<T: Element>(
        &self,
        x: Source<'_, T>,
        weights: &TransposeWeights,
        bias: Option<&[f32]>,
        y: MapMut<'_, T>,
        place: Placement,
    ) {
        reference::transpose_forward(x, weights.cout, &weights.iohw, bias, y, place);
    }

    /// Gradient by the input, from the (2H, 2W) part of `dy` at `place`.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn transpose_grad_input<T: Element>(
        &self,
        dy: Map<'_, T>,
        weights: &TransposeWeights,
        dx: MapMut<'_, T>,
        place: Placement,
    ) {
        reference::transpose_grad_input(dy, &weights.iohw, dx, place);
    }

    /// Gradients by the weights, (in, out, 2, 2), and by the bias.
    ///
    /// # Panics
    /// Channels or sizes do not fit.
    pub fn transpose_grad_weight<T: Element>(
        &self,
        x: Source<'_, T>,
        dy: Map<'_, T>,
        place: Placement,
        dw: &mut [f32],
        db: &mut [f32],
    ) {
        reference::transpose_grad_weight(x, dy, place, dw, db);
    }
}
