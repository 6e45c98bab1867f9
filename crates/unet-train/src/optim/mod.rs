//! Optimizers: a rule ([`OptimizerConfig`]) applied to named parameters, with state of the same names ([`Optimizer`]), and an
//! average of the weights ([`Ema`]).

mod ema;
mod optimizer;
mod rule;

pub use ema::Ema;
pub(crate) use ema::{copy_of, recalibrate};
pub(crate) use optimizer::{AverageWeights, state_values, working_values};
pub use optimizer::{Group, Optimizer};
pub use rule::OptimizerConfig;

#[cfg(test)]
mod tests;
