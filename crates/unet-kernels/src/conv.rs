//! Convolution with stride 1, 3×3 and 1×1: forward, gradient of the input, gradient of the weights.

use crate::{Element, Kernels, Map, MapMut, Source, reference};

/// A convolution's extents: stride 1, square kernel, the same zero padding on all sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Channels in.
    pub cin: usize,
    /// Channels out.
    pub cout: usize,
    /// Side of the kernel, 1 or 3.
    pub kernel: usize,
    /// Zeros around the input on each side.
    pub pad: usize,
}

impl ConvShape {
    /// A convolution whose output is as large as its input.
    pub const fn same(cin: usize, cout: usize, kernel: usize) -> Self {
        Self { cin, cout, kernel, pad: kernel / 2 }
    }

    /// Weights: `cout·cin·kernel²`, laid out OIHW.
    pub const fn weight_len(&self) -> usize {
        self.cin * self.cout * self.kernel * self.kernel
    }

    /// The output's side for an input's side.
    pub const fn out_side(&self, side: usize) -> usize {
        side + 2 * self.pad + 1 - self.kernel
    }
}

/// A convolution's weights as the kernels want them; made from OIHW, renewed after each optimizer step.
#[derive(Clone, Debug)]
pub struct ConvWeights {
    shape: ConvShape,
    oihw: Vec<f32>,
}

impl ConvWeights {
    /// The convolution's extents.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }
}

impl Kernels {
    /// Packs OIHW weights.
    ///
    /// # Panics
    /// `oihw` has not `shape.weight_len()` values.
    pub fn conv_weights(&self, shape: ConvShape, oihw: &[f32]) -> ConvWeights {
        let mut weights = ConvWeights { shape, oihw: Vec::new() };
        self.conv_repack(&mut weights, oihw);
        weights
    }

    /// Packs new values into weights that exist, without allocating.
    ///
    /// # Panics
    /// `oihw` has not `weights.shape().weight_len()` values.
    pub fn conv_repack(&self, weights: &mut ConvWeights, oihw: &[f32]) {
        assert_eq!(oihw.len(), weights.shape.weight_len(), "weights of {:?}", weights.shape);
        weights.oihw.clear();
        weights.oihw.extend_from_slice(oihw);
    }

    /// `y = conv(x) + bias`. The output may have another storage type than the input (logits stay f32).
    ///
    /// # Panics
    /// The channels or sizes of `x`, `y`, `bias` do not fit the weights.
    pub fn conv_forward<T: Element, U: Element>(
        &self,
        x: Source<'_, T>,
        weights: &ConvWeights,
        bias: Option<&[f32]>,
        y: MapMut<'_, U>,
    ) {
        reference::conv_forward(x, weights.shape, &weights.oihw, bias, y);
    }

    /// Gradient of the loss by the convolution's input from that by its output.
    ///
    /// # Panics
    /// The channels or sizes of `dy`, `dx` do not fit the weights.
    pub fn conv_grad_input<T: Element, U: Element>(&self, dy: Map<'_, T>, weights: &ConvWeights, dx: MapMut<'_, U>) {
        reference::conv_grad_input(dy, weights.shape, &weights.oihw, dx);
    }

    /// Gradient by the weights, OIHW: the sum over all pixels of all images.
    ///
    /// # Panics
    /// The channels or sizes of `x`, `dy`, `dw` do not fit the shape.
    pub fn conv_grad_weight<T: Element, U: Element>(
        &self,
        x: Source<'_, T>,
        dy: Map<'_, U>,
        shape: ConvShape,
        dw: &mut [f32],
    ) {
        reference::conv_grad_weight(x, dy, shape, dw);
    }

    /// Gradient by the bias: the sum of `dy` per channel.
    ///
    /// # Panics
    /// `db` has not C values.
    pub fn conv_grad_bias<T: Element>(&self, dy: Map<'_, T>, db: &mut [f32]) {
        reference::channel_sums(dy, db);
    }
}
