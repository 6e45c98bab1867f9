//! What a training step takes, found by planning it.

use unet_kernels::Dims;

use super::finish::Read;
use super::plan::{Op, Plan};
use super::train::INPUT;
use crate::params::param_specs;
use crate::unet::forward;
use crate::{ModelError, UNetConfig};

/// Bytes of activations and their gradients that a training step holds at its peak, for `element` bytes a stored value.
///
/// Parameters, gradients by them, and optimizer state come on top: see [`parameter_bytes`].
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn training_bytes(config: &UNetConfig, dims: Dims, element: usize) -> Result<usize, ModelError> {
    Ok(step_bytes(config, dims, element, false)?.peak)
}

/// As [`training_bytes`], with [`CpuTrainer::checkpoint_activations`](super::CpuTrainer::checkpoint_activations).
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn checkpointed_bytes(config: &UNetConfig, dims: Dims, element: usize) -> Result<usize, ModelError> {
    Ok(step_bytes(config, dims, element, true)?.peak)
}

/// Bytes that the kernels of a training step work in, beside [`training_bytes`]; they are kept from step to step.
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn working_bytes(config: &UNetConfig, dims: Dims) -> Result<usize, ModelError> {
    super::check_input(config, dims, dims.len())?;
    let mut plan = Plan::new(false);
    plan.push(dims, Read::Direct, Op::Input);
    let Ok(_) = forward(config, &mut plan, INPUT);
    Ok(plan.working)
}

/// Bytes of activations' buffers that are kept from a step to the next: all, but with checkpointed activations.
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn resting_bytes(
    config: &UNetConfig,
    dims: Dims,
    element: usize,
    checkpointing: bool,
) -> Result<usize, ModelError> {
    Ok(step_bytes(config, dims, element, checkpointing)?.rest)
}

/// Bytes of activations' buffers that are left when forward passes follow the last step whose tapes are dropped, buffers and all, as those
/// are that take batch norm's statistics anew.
///
/// # Errors
/// The network cannot take an input of these extents.
pub fn recalibrated_bytes(
    config: &UNetConfig,
    dims: Dims,
    element: usize,
    checkpointing: bool,
) -> Result<usize, ModelError> {
    Ok(step_bytes(config, dims, element, checkpointing)?.recalibrated)
}

/// What a step takes at its peak and leaves at its end, and what forward passes after it leave of that.
struct Bytes {
    peak: usize,
    rest: usize,
    recalibrated: usize,
}

fn step_bytes(config: &UNetConfig, dims: Dims, element: usize, checkpointing: bool) -> Result<Bytes, ModelError> {
    super::check_input(config, dims, dims.len())?;
    let mut plan = Plan::new(checkpointing);
    let mut logits = 0;
    // What the first step leaves at rest may not suit the second; from then on nothing is added.
    for _ in 0..2 {
        plan.push(dims, Read::Direct, Op::Input);
        let Ok(len) = forward(config, &mut plan, INPUT);
        plan.backward();
        (logits, plan.sides) = (len, 0);
    }
    let peak = plan.arena.peak() * element + 2 * logits * size_of::<f32>();
    let rest = plan.arena.total() * element;
    // From the second pass on each takes anew what the one before it dropped.
    for _ in 0..2 {
        plan.push(dims, Read::Direct, Op::Input);
        let Ok(_) = forward(config, &mut plan, INPUT);
        plan.forget();
    }
    Ok(Bytes { peak, rest, recalibrated: plan.arena.at_rest() * element })
}

/// Bytes of one f32 copy of all parameters.
pub fn parameter_bytes(config: &UNetConfig) -> usize {
    param_specs(config).iter().map(|s| s.len() * size_of::<f32>()).sum()
}
