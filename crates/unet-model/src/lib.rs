//! The U-Net: one definition of the network, its named parameters, and the interpreters that run it.
#![forbid(unsafe_code)]

pub mod config;
mod error;
pub mod params;
pub mod unet;

pub use config::{UNetConfig, Upsampling};
pub use error::ModelError;
pub use params::{ParamKind, ParamSpec, Parameters};
