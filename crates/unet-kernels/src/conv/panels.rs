//! Panels of a direct convolution's weights: rows are (tap, channel read), columns channels written.

use super::{ConvShape, Direction};
use crate::pack::PanelShape;

/// The panels of a convolution's weights.
pub(super) fn shape(conv: ConvShape, to: Direction, width: usize) -> PanelShape {
    let (read, written) = to.sides(conv);
    PanelShape { cols: written, depth: conv.kernel * conv.kernel * read, width, matrices: 1 }
}

/// Packs OIHW weights; backward, turned by half a turn with in and out exchanged.
pub(super) fn pack(conv: ConvShape, to: Direction, oihw: &[f32], shape: PanelShape, panels: &mut [f32]) {
    let (taps, (read, _)) = (conv.kernel * conv.kernel, to.sides(conv));
    shape.for_each(panels, |col, panel| {
        let lanes = shape.panel_width(col);
        for (k, row) in panel.chunks_mut(lanes).enumerate() {
            let (tap, inner) = (k / read, k % read);
            for (lane, value) in row.iter_mut().enumerate() {
                *value = match (col + lane < shape.cols, to) {
                    (false, _) => 0.0,
                    (_, Direction::Forward) => oihw[((col + lane) * conv.cin + inner) * taps + tap],
                    (_, Direction::Backward) => oihw[(inner * conv.cin + col + lane) * taps + taps - 1 - tap],
                };
            }
        }
    });
}
