//! Winograd's minimal filtering F(4×4, 3×3): a quarter of a direct 3×3 convolution's multiplications, in all three passes.
//! Worth it where there are channels enough to outweigh the transforms.

mod forward;
mod grad_weight;
mod read;
mod tiles;
mod transform;
mod weights;
mod write;

pub(super) use forward::run as forward;
pub(super) use grad_weight::{run as grad_weight, working_floats};
pub(super) use weights::pack;

use super::{ConvShape, Direction};
use crate::pack::PanelShape;

/// Fewest channels on either side from which the products outweigh the transforms.
const MIN_CHANNELS: usize = 8;

/// Whether a convolution runs this way.
pub(super) fn suits(shape: ConvShape) -> bool {
    shape.kernel == 3 && shape.cin >= MIN_CHANNELS && shape.cout >= MIN_CHANNELS
}

/// The panels of a convolution's weights in the domain.
pub(super) fn panels(shape: ConvShape, to: Direction, width: usize) -> PanelShape {
    let (depth, cols) = to.sides(shape);
    PanelShape { cols, depth, width, matrices: weights::POINTS }
}
