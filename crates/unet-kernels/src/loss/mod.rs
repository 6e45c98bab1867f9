//! Losses from logits, value and gradient in one pass, finite at any finite logit; a NaN gives a NaN.
//!
//! The value of each pixel is worked out in f32 (relative error below 2⁻²⁰, its gradient's absolute error below 2⁻²¹ of
//! scale·weight) and summed in f64 in an order that depends on the length alone: the same bits at any thread count and tier.

mod bce;
pub(crate) mod math;
mod softmax;

/// Pixels that are worked on side by side, and partial sums kept.
const LANES: usize = 16;
/// Values that one task works on.
const CHUNK: usize = 1 << 12;

/// One value for each of the pixels worked on.
type Lanes = [f32; LANES];

/// The first `LANES` values of a slice, or all there are and zeros.
#[inline(always)]
fn load(values: &[f32]) -> Lanes {
    match values.first_chunk() {
        Some(lanes) => *lanes,
        None => {
            let mut lanes = [0.0; LANES];
            lanes[..values.len()].copy_from_slice(values);
            lanes
        }
    }
}
