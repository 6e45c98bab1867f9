//! The U-Net: one definition of the network, its named parameters, and the interpreters that run it.
#![forbid(unsafe_code)]

pub mod atomic;
pub mod backend;
pub mod config;
mod error;
pub mod geometry;
pub mod import;
pub mod init;
mod model;
pub mod options;
pub mod params;
mod pth;
pub mod unet;
pub mod weights;

pub use backend::cpu::{AnyPass, AnyPredictor, AnyTrainer, CpuPredictor, CpuTrainer, Gradients, Pass, Precision, Side};
pub use config::{UNetConfig, Upsampling};
pub use error::ModelError;
pub use model::{NORM_EPS, NORM_MOMENTUM, UNet};
pub use options::{Norm, Options};
pub use params::{ParamKind, ParamSpec, Parameters};
