//! The precision that activations are stored in, as a value: [`AnyTrainer`] is a [`CpuTrainer`] of either, [`AnyPredictor`] a
//! [`CpuPredictor`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unet_kernels::{Dims, Kernels, Within, bf16};

use super::{CpuPredictor, CpuTrainer, Gradients, Pass, Side};
use crate::{ModelError, UNet};

/// The number format that activations and their gradients are stored in. Sums are in f32, as are parameters, statistics, logits,
/// gradients by parameters and the optimizer's state; so are all factors, but for convolutions of bf16 maps on a tier that multiplies
/// bf16 ([`unet_kernels::Tier::multiplies_bf16`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bfloat16, the upper half of an f32: half the memory, three significant digits. Needs no scaling of the loss.
    Bf16,
}

/// A name of no precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision '{0}': expected f32 or bf16")]
pub struct UnknownPrecision(String);

impl Precision {
    /// Bytes of a stored value.
    pub const fn bytes(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        match name.trim().to_ascii_lowercase().as_str() {
            "f32" => Ok(Precision::F32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(UnknownPrecision(name.to_owned())),
        }
    }
}

/// A trainer whose precision is chosen at run time.
#[derive(Debug)]
pub enum AnyTrainer {
    /// In f32.
    F32(CpuTrainer<f32>),
    /// In bf16.
    Bf16(CpuTrainer<bf16>),
}

/// A predictor whose precision is chosen at run time.
#[derive(Debug)]
pub enum AnyPredictor {
    /// In f32.
    F32(CpuPredictor<f32>),
    /// In bf16.
    Bf16(CpuPredictor<bf16>),
}

impl AnyPredictor {
    /// As [`CpuPredictor::new`].
    ///
    /// # Errors
    /// The model's parameters are not f32 on the CPU.
    pub fn new(kernels: Kernels, precision: Precision, model: &UNet) -> Result<Self, ModelError> {
        Ok(match precision {
            Precision::F32 => Self::F32(CpuPredictor::new(kernels, model)?),
            Precision::Bf16 => Self::Bf16(CpuPredictor::new(kernels, model)?),
        })
    }

    /// As [`CpuPredictor::run`].
    ///
    /// # Errors
    /// Other channels than the model's, or a height or width below 2^depth.
    pub fn run(&mut self, x: &[f32], dims: Dims) -> Result<&[f32], ModelError> {
        self.run_within(x, dims, None)
    }

    /// As [`CpuPredictor::run_within`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_within(&mut self, x: &[f32], dims: Dims, within: Option<Within>) -> Result<&[f32], ModelError> {
        match self {
            Self::F32(predictor) => predictor.run_within(x, dims, within),
            Self::Bf16(predictor) => predictor.run_within(x, dims, within),
        }
    }

    /// As [`CpuPredictor::first_non_finite`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn first_non_finite(&mut self, x: &[f32], dims: Dims) -> Result<Option<String>, ModelError> {
        match self {
            Self::F32(predictor) => predictor.first_non_finite(x, dims),
            Self::Bf16(predictor) => predictor.first_non_finite(x, dims),
        }
    }
}

/// A forward pass of [`AnyTrainer`] whose backward pass is still to come.
#[derive(Debug)]
pub enum AnyPass<'a> {
    /// In f32.
    F32(Pass<'a, f32>),
    /// In bf16.
    Bf16(Pass<'a, bf16>),
}

impl AnyTrainer {
    /// A trainer with no buffers yet; `checkpointing` as in [`CpuTrainer::checkpoint_activations`].
    pub fn new(kernels: Kernels, precision: Precision, checkpointing: bool) -> Self {
        match precision {
            Precision::F32 => Self::F32(CpuTrainer::new(kernels).checkpoint_activations(checkpointing)),
            Precision::Bf16 => Self::Bf16(CpuTrainer::new(kernels).checkpoint_activations(checkpointing)),
        }
    }

    /// As [`CpuTrainer::set_draw`].
    pub fn set_draw(&mut self, draw: u64) {
        match self {
            Self::F32(trainer) => trainer.set_draw(draw),
            Self::Bf16(trainer) => trainer.set_draw(draw),
        }
    }

    /// As [`CpuTrainer::forward`].
    ///
    /// # Errors
    /// Other channels than the model's, or a height or width below 2^depth.
    pub fn forward(&mut self, model: &mut UNet, x: &[f32], dims: Dims) -> Result<AnyPass<'_>, ModelError> {
        Ok(match self {
            Self::F32(trainer) => AnyPass::F32(trainer.forward(model, x, dims)?),
            Self::Bf16(trainer) => AnyPass::Bf16(trainer.forward(model, x, dims)?),
        })
    }
}

impl AnyPass<'_> {
    /// The logits, (N, H, W, out_channels).
    pub fn logits(&self) -> &[f32] {
        match self {
            Self::F32(pass) => pass.logits(),
            Self::Bf16(pass) => pass.logits(),
        }
    }

    /// Their extents.
    pub fn logits_dims(&self) -> Dims {
        match self {
            Self::F32(pass) => pass.logits_dims(),
            Self::Bf16(pass) => pass.logits_dims(),
        }
    }

    /// As [`Pass::first_non_finite`].
    pub fn first_non_finite(&self) -> Option<&str> {
        match self {
            Self::F32(pass) => pass.first_non_finite(),
            Self::Bf16(pass) => pass.first_non_finite(),
        }
    }

    /// As [`Pass::sides`].
    pub fn sides(&self) -> &[Side] {
        match self {
            Self::F32(pass) => pass.sides(),
            Self::Bf16(pass) => pass.sides(),
        }
    }

    /// As [`Pass::backward_deep`].
    ///
    /// # Errors
    /// A gradient is not as long as its logits.
    pub fn backward_deep(self, dlogits: &[f32], sides: &[Vec<f32>], out: &mut Gradients) -> Result<(), ModelError> {
        match self {
            Self::F32(pass) => pass.backward_deep(dlogits, sides, out),
            Self::Bf16(pass) => pass.backward_deep(dlogits, sides, out),
        }
    }

    /// Computes every parameter's gradient from that of the logits, as [`Pass::backward`].
    ///
    /// # Errors
    /// `dlogits` is not as long as the logits.
    pub fn backward(self, dlogits: &[f32], out: &mut Gradients) -> Result<(), ModelError> {
        match self {
            Self::F32(pass) => pass.backward(dlogits, out),
            Self::Bf16(pass) => pass.backward(dlogits, out),
        }
    }
}
