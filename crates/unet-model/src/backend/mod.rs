//! The interpreters of the network: each implements the operations of [`crate::unet::Backend`] once.

pub mod candle;
pub mod cpu;
