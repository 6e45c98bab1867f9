//! A U-Net: its configuration and its parameters, together.

use crate::params::{Parameters, param_specs};
use crate::{ModelError, UNetConfig};

/// ε of every batch norm, PyTorch's default.
pub const NORM_EPS: f32 = 1e-5;

/// Share of the batch's statistics in the running ones at each step, PyTorch's default `momentum`.
pub const NORM_MOMENTUM: f32 = 0.1;

/// A U-Net and its parameters. It computes nothing itself: [`CpuTrainer`](crate::CpuTrainer) and
/// [`CpuPredictor`](crate::CpuPredictor) run it on the CPU's kernels.
#[derive(Debug)]
pub struct UNet {
    config: UNetConfig,
    params: Parameters,
}

impl UNet {
    /// A network of the given shape with the given parameters.
    ///
    /// # Errors
    /// The configuration is impossible, or the parameters are another network's.
    pub fn from_parameters(config: UNetConfig, params: Parameters) -> Result<Self, ModelError> {
        config.validate()?;
        let own = param_specs(&config);
        match own.iter().zip(params.specs()).find(|(own, other)| own != other) {
            Some((own, _)) => Err(ModelError::UnknownParameter(own.name.clone())),
            None if own.len() != params.specs().len() => Err(ModelError::UnknownParameter("outc.conv.bias".into())),
            None => Ok(Self { config, params }),
        }
    }

    /// Its shape.
    pub fn config(&self) -> &UNetConfig {
        &self.config
    }

    /// Its parameters.
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// Its parameters, to change.
    pub fn params_mut(&mut self) -> &mut Parameters {
        &mut self.params
    }
}
