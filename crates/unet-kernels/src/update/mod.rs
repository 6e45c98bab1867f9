//! Optimizer updates, one fused pass over parameter, gradient and state each, as PyTorch defines them.
//!
//! Takes a parameter, its gradient and its state as slices of equal length; yields the parameter and the state after the step,
//! in place. Each value depends on its own index alone, and the arithmetic is the same on every tier (no fused multiply-add),
//! so that the bits are too; but for [`Muon`], whose matrix products run as fast as the tier can. Constants that PyTorch computes
//! in f64 are computed in f64 here.

mod adam;
mod elementwise;
mod matrix;
mod muon;
mod rmsprop;
mod schedule_free;
mod sgd;

pub use adam::{Adam, AdamW};
pub use muon::Muon;
pub use rmsprop::RmsProp;
pub use schedule_free::ScheduleFree;
pub use sgd::Sgd;

/// Values that one task works on: 64 KiB of each slice.
const CHUNK: usize = 1 << 14;

/// 1 − x, rounded once.
fn complement(x: f32) -> f32 {
    (1.0 - f64::from(x)) as f32
}
